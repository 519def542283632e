"""What updates state of their own error is near the truth, and never more than a claim."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.codecs.raw import Float32
from edge_sdk.codecs.stated import error_code, error_of, error_of_levels, stated_error
from edge_sdk.codecs.table import codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.interfaces import Codec
from edge_sdk.testing.codecs import decode_all
from edge_sdk.values import Vector

ROOM = 4000


@given(st.floats(2.0**-20, 2.0**11.75))
def test_a_code_is_within_five_percent(error: float) -> None:
    assert error_of(error_code(error)) == pytest.approx(error, rel=0.046)


def test_codes_at_the_ends() -> None:
    assert [error_code(error) for error in (0.0, 1e-9, 1e9)] == [0, 0, 255]
    assert error_of(0) == 0
    assert [error_code(error_of(code)) for code in range(256)] == list(range(256))


def uneven(size: int) -> Vector:
    rng = np.random.default_rng(size)
    scales = np.exp(rng.standard_normal(-(-size // 64))).repeat(64)[:size]
    return (scales * rng.standard_normal(size)).astype(np.float32)


def errors_of(codec: Codec, vector: Vector, *, seeds: int) -> tuple[float, float]:
    """Mean of the real and of the stated errors; every chunk states the same."""
    reader = codec_from_frame(*frame_ids(codec))
    real, stated = [], []
    for seed in range(seeds):
        payloads = codec.encode(vector, seed=seed, chunk_bytes=ROOM)
        out = decode_all(reader, payloads, len(vector), seed).astype(np.float64)
        real.append(float(np.sum((out - vector) ** 2) / np.sum(np.square(vector, dtype=float))))
        (each,) = {stated_error(reader, [payload]) for payload in payloads}
        assert each is not None
        stated.append(each)
    return float(np.mean(real)), float(np.mean(stated))


@pytest.mark.parametrize("rate", [0.1, 1.0, 4.0])
@pytest.mark.parametrize("low_rank", [False, True])
def test_the_stated_error_is_near_the_real_one(low_rank: bool, rate: float) -> None:
    codec = LowRank(rate, (Matrix(100, 150, 200),)) if low_rank else Blockwise(rate)
    real, stated = errors_of(codec, uneven(40_000), seeds=6)
    assert stated == pytest.approx(real, rel=0.15)


@pytest.mark.parametrize("spec", ["eden:bits=1", "eden:bits=4", "eden:rate=0.1", "eden:rate=1.5"])
def test_eden_states_the_error_of_its_levels(spec: str) -> None:
    real, stated = errors_of(codec_from_spec(spec), uneven(40_960), seeds=1)
    assert stated == pytest.approx(real, rel=0.2)
    assert error_of_levels(1.0) == pytest.approx(np.pi / 2 - 1, rel=1e-6)


@pytest.mark.parametrize(
    "spec",
    [
        *(f"eden-entropy:rate={rate}" for rate in (0.1, 1, 4, 6)),
        *(f"dithered:rate={rate}" for rate in (0.75, 2, 6)),
    ],
)
def test_rounders_state_the_error_of_their_step(spec: str) -> None:
    """Also where some blocks are zero, and in every chunk alike."""
    vector = uneven(40_960)
    vector[8192:20_000] = 0
    real, stated = errors_of(codec_from_spec(spec), vector, seeds=4)
    assert stated == pytest.approx(real, rel=0.15)


def test_numbers_sent_as_they_are_have_no_error() -> None:
    assert stated_error(Float32(), Float32().encode(uneven(70), seed=0, chunk_bytes=ROOM)) == 0.0


@pytest.mark.parametrize("spec", ["blockwise:rate=0.1", "eden-entropy:rate=0.1", "dithered:rate=2"])
def test_zeros_state_no_error(spec: str) -> None:
    codec = codec_from_spec(spec)
    payloads = codec.encode(np.zeros(500, np.float32), seed=1, chunk_bytes=ROOM)
    assert stated_error(codec, payloads) == 0


SILENT: Codec = Qsgd()
"""A codec that says nothing of its error."""


def test_who_cannot_tell_says_none_and_biased_codes_say_zero() -> None:
    assert stated_error(SILENT, [b"abcd"]) is None
    assert stated_error(DeadZone(1.0), [b"abcd"]) == 0
    assert stated_error(Blockwise(1.0), []) is None
    assert stated_error(Blockwise(1.0), [b"", b"abc"]) is None, "not even a head"
