"""Every codec of the table keeps the contract and can be named by text and by frame."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest

from edge_sdk.codecs import SPECS, codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.codecs.raw import Float32
from edge_sdk.codecs.table import TABLE
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.testing.codecs import check_codec
from edge_sdk.values import Piece, Place, Vector

MORE = ("eden:bits=1,rounds=3", "eden:bits=4,rounds=1")


@pytest.mark.parametrize("spec", [*SPECS, *MORE])
def test_codec_keeps_the_contract(spec: str) -> None:
    check_codec(codec_from_spec(spec))


@pytest.mark.parametrize("spec", [*SPECS, *MORE])
def test_spec_and_frame_name_the_same_codec(spec: str) -> None:
    codec = codec_from_spec(spec)
    assert codec.spec == spec
    assert frame_ids(codec_from_frame(*frame_ids(codec))) == frame_ids(codec)


def test_names_and_wire_ids_are_given_once() -> None:
    assert len({row.name for row in TABLE}) == len(TABLE)
    assert len({row.wire_id for row in TABLE}) == len(TABLE)
    assert all(1 <= row.wire_id <= 255 for row in TABLE)


@pytest.mark.parametrize(
    "spec", ["", "EDEN:bits=2", "eden:", "eden bits=2", "eden:bits=2,bits=2", "a" * 40]
)
def test_text_that_is_no_spec_is_misuse(spec: str) -> None:
    with pytest.raises(Misuse):
        codec_from_spec(spec)


@pytest.mark.parametrize(
    "spec",
    ["zip", "eden", "eden:bits=0", "eden:bits=9", "eden:bits=x", "eden:bits=2,x=1", "float32:a=1"],
)
def test_unknown_codecs_and_parameters_are_unsupported(spec: str) -> None:
    with pytest.raises(Unsupported):
        codec_from_spec(spec)


@pytest.mark.parametrize("ids", [(0, 0), (255, 0), (1, 1), (2, 0), (2, 0x29), (2, 0x42), (3, 16)])
def test_unknown_frame_ids_are_unsupported(ids: tuple[int, int]) -> None:
    with pytest.raises(Unsupported):
        codec_from_frame(*ids)


@dataclasses.dataclass(frozen=True)
class Broken:
    """A float32 codec that breaks one promise."""

    fault: str
    spec: str = "float32"
    unbiased: bool = True

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> Sequence[bytes]:
        if self.fault == "takes NaN":
            vector = np.nan_to_num(vector)
        if self.fault == "biased":
            vector = vector * np.float32(0.9)
        if self.fault == "drops a chunk":
            return Float32().encode(vector, seed=seed, chunk_bytes=chunk_bytes)[:1]
        payloads = Float32().encode(vector, seed=seed, chunk_bytes=chunk_bytes)
        return [p + b"." for p in payloads] if self.fault == "too large" else payloads

    def decode(self, payload: bytes, place: Place) -> Piece:
        if self.fault == "raises" and len(payload) % 4:
            raise ValueError(payload)
        return Float32().decode(payload, place)


@pytest.mark.parametrize("fault", ["takes NaN", "biased", "drops a chunk", "too large", "raises"])
def test_the_check_notices_a_broken_promise(fault: str) -> None:
    check_codec(Broken(fault="none"))
    with pytest.raises(AssertionError, match="broken promise"):
        check_codec(Broken(fault=fault))


def test_a_codec_of_your_own_has_no_wire_id() -> None:
    with pytest.raises(Misuse):
        frame_ids(Broken(fault="none", spec="mine"))
