"""The automatic choice follows its rules and its predictions hold."""

import numpy as np
import pytest

from edge_sdk.codecs.auto import (
    Auto,
    admitted_ids,
    auto_from_spec,
    candidates,
    canonical_spec,
    choose,
)
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.codecs.table import FramedCodec, codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.values import Layout, Parameter, Place, Vector

ROOM = 65_480
LAYOUT = Layout((Parameter("w", (128, 160)), Parameter("b", (160,))))


def normal(size: int) -> Vector:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def nearly_low_rank() -> Vector:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((128, 2)) @ rng.standard_normal((2, 160))
    matrix += 0.05 * rng.standard_normal(matrix.shape)
    return np.concatenate([matrix.reshape(-1), np.zeros(160)]).astype(np.float32)


def error_of(codec: FramedCodec, vector: Vector) -> float:
    errors = []
    for seed in range(5):
        payloads = codec.encode(vector, seed=seed, chunk_bytes=ROOM)
        out = np.zeros(len(vector))
        for index, payload in enumerate(payloads):
            place = Place(len(vector), index, len(payloads), seed)
            piece = codec_from_frame(*frame_ids(codec)).decode(payload, place)
            piece.where.put(piece.values, out)
        errors.append(np.sum((out - vector) ** 2) / np.sum(vector.astype(np.float64) ** 2))
    return float(np.mean(errors))


@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0])
def test_the_predicted_error_is_near_the_real_one(rate: float) -> None:
    for vector, layout in ((normal(30_000), None), (nearly_low_rank(), LAYOUT)):
        chosen = choose(vector, rate=rate, chunk_bytes=ROOM, updates=100, layout=layout)
        assert chosen.vnmse is not None
        assert chosen.vnmse == pytest.approx(error_of(chosen.codec, vector), rel=0.25)


def test_low_rank_updates_are_seen() -> None:
    vector = nearly_low_rank()
    with_layout = choose(vector, rate=1.0, chunk_bytes=ROOM, layout=LAYOUT)
    without = choose(vector, rate=1.0, chunk_bytes=ROOM)
    assert isinstance(with_layout.codec, LowRank)
    assert isinstance(without.codec, Blockwise)
    assert (with_layout.vnmse or 0) < (without.vnmse or 0) / 5
    flat = choose(normal(LAYOUT.size), rate=1.0, chunk_bytes=ROOM, layout=LAYOUT)
    assert isinstance(flat.codec, Blockwise)


def test_overwhelming_noise_goes_to_feedback_where_the_device_can() -> None:
    vector = normal(30_000)  # error over 60 at 0.02 bits
    alone = choose(vector, rate=0.02, chunk_bytes=ROOM, updates=1, keeps_residual=True)
    assert alone.codec == DeadZone(0.02)
    assert alone.feedback
    assert alone.vnmse is None
    many = choose(vector, rate=0.02, chunk_bytes=ROOM, updates=10, keeps_residual=True)
    forgetful = choose(vector, rate=0.02, chunk_bytes=ROOM, updates=1)
    for chosen in (many, forgetful):
        assert chosen.codec == Blockwise(0.02)
        assert not chosen.feedback


@pytest.mark.parametrize(
    ("rate", "codec"), [(40, Float32()), (20, Float16()), (12, Blockwise(8.0)), (8, Blockwise(8.0))]
)
def test_plain_numbers_where_they_fit(rate: float, codec: FramedCodec) -> None:
    assert choose(normal(2000), rate=rate, chunk_bytes=ROOM).codec == codec


def test_zeros_have_no_error() -> None:
    assert choose(np.zeros(500, np.float32), rate=0.1, chunk_bytes=ROOM).vnmse == 0


def test_nonsense_is_misuse() -> None:
    vector = normal(100)
    for rate, updates in ((0.001, 1), (float("nan"), 1), (1.0, 0)):
        with pytest.raises(Misuse):
            choose(vector, rate=rate, chunk_bytes=ROOM, updates=updates)
    with pytest.raises(Misuse):
        choose(vector, rate=1.0, chunk_bytes=ROOM, layout=LAYOUT)
    with pytest.raises(Misuse):
        choose(np.full(10, np.nan, np.float32), rate=1.0, chunk_bytes=ROOM)


def test_the_spec_of_the_choice_is_no_codec() -> None:
    assert auto_from_spec("auto:rate=0.50") == Auto(0.5)
    assert canonical_spec("auto:rate=0.50") == "auto:rate=0.5"
    assert canonical_spec("blockwise:rate=0.50") == "blockwise:rate=0.5"
    assert auto_from_spec("eden:bits=2") is None
    with pytest.raises(Unsupported):
        codec_from_spec("auto:rate=0.5")  # an older release leaves the offer alone


@pytest.mark.parametrize("spec", ["auto", "auto:rate=x", "auto:rate=0", "auto:rate=1,bits=2"])
def test_unknown_choices_are_unsupported(spec: str) -> None:
    for read in (auto_from_spec, canonical_spec, admitted_ids):
        with pytest.raises(Unsupported):
            read(spec)
    with pytest.raises(Misuse):
        auto_from_spec("AUTO")


@pytest.mark.parametrize("rate", [0.01, 0.1, 1.0, 7.9, 12.0, 20.0, 40.0])
def test_whatever_is_chosen_was_announced(rate: float) -> None:
    offered = admitted_ids(Auto(rate).spec)
    for updates in (1, 1000):
        for keeps_residual in (False, True):
            codec = choose(
                nearly_low_rank(),
                rate=rate,
                chunk_bytes=ROOM,
                updates=updates,
                keeps_residual=keeps_residual,
                layout=LAYOUT,
            ).codec
            assert frame_ids(codec) in offered
            assert codec.spec in candidates(rate)
    assert admitted_ids("eden:bits=2") == {frame_ids(codec_from_spec("eden:bits=2"))}
