"""Promise: the mean is the mean, over what arrived; snapshots and seeds are the same every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs import codec_from_spec
from edge_sdk.errors import Malformed, Reason, Refused
from edge_sdk.values import Coordinates, Piece
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, unpack
from server_ref.aggregate import WeightedSum, decode_checked, move, norm, norm_limit
from server_ref.coordinator.limits import most_chunks, most_update_bytes, pause_s
from server_ref.downlink import derive_seed, pack_snapshot
from tests.server_ref.serving import unpack_snapshot

RUN = "0123456789abcdef"


def piece(first: int, values: list[float]) -> Piece:
    return Piece(Coordinates.span(first, len(values)), np.array(values, np.float32))


def test_each_coordinate_is_the_mean_over_the_chunks_that_cover_it() -> None:
    total = WeightedSum(5)
    total.add([piece(0, [1, 1]), piece(2, [4])], 1)
    total.add([piece(1, [5, 8])], 3)
    assert total.mean().tolist() == [1, 4, 7, 0, 0]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 2**32 - 1), st.integers(0, 2**32)), min_size=1, max_size=6)
)
def test_the_mean_of_whole_updates_is_the_weighted_mean(updates: list[tuple[int, int]]) -> None:
    total, vectors = WeightedSum(50), []
    for weight, seed in updates:
        vector = np.random.Generator(np.random.PCG64(seed)).standard_normal(50).astype(np.float32)
        vectors.append(vector)
        total.add([Piece(Coordinates.span(0, 50), vector)], weight)
    weights = np.array([weight for weight, _ in updates], np.float64)
    expected = np.average(np.array(vectors, np.float64), axis=0, weights=weights)
    assert np.allclose(total.mean(), expected, rtol=1e-12, atol=1e-12)


def test_interleaved_coordinates_are_summed_where_they_belong() -> None:
    total = WeightedSum(6)
    where = Coordinates(first=1, run=1, step=2, size=3)
    total.add([Piece(where, np.array([1, 2, 3], np.float32))], 2)
    assert total.mean().tolist() == [0, 1, 0, 2, 0, 3]


def test_moving_rounds_once() -> None:
    weights = np.array([1.0, 1e8], np.float32)
    moved = move(weights, np.array([2.0**-25, 3.0]))
    assert moved.dtype == np.float32
    assert moved.tolist() == [np.float32(1 + 2.0**-25), np.float32(1e8 + 3)]


def _frame(payload: bytes, *, dimension: int = 2) -> Frame:
    return Frame(
        kind=Kind.UPDATE, codec=1, parameter=0, index=0, count=1, run=RUN, number=1,
        examples=1, seed=0, dimension=dimension, payload=payload,
    )  # fmt: skip


def test_updates_longer_than_the_limit_are_refused_and_broken_ones_too() -> None:
    good = np.array([3, 4], "<f4").tobytes()
    assert len(decode_checked([_frame(good)], longest=5.0)) == 1
    with pytest.raises(Refused) as refused:
        decode_checked([_frame(good)], longest=4.9)
    assert refused.value.reason is Reason.NOT_FINITE
    for bad, reason in (
        (good[:-1], Reason.MALFORMED),
        (good + b"x", Reason.MALFORMED),
        (np.array([np.nan, 1], "<f4").tobytes(), Reason.NOT_FINITE),
    ):
        with pytest.raises(Refused) as refused:
            decode_checked([_frame(bad)], longest=5.0)
        assert refused.value.reason is reason


def test_norms_do_not_overflow() -> None:
    huge = np.full(4, 3e38, np.float32)
    assert norm(huge) == pytest.approx(6e38, rel=1e-6)
    assert norm_limit(np.zeros(3, np.float32)) == 10.0


@pytest.mark.parametrize(
    ("codec", "error"), [("float32", 0), ("float16", 1e-3), ("eden:bits=8", 0.02)]
)
def test_a_snapshot_is_the_same_bytes_each_time_and_decodes(codec: str, error: float) -> None:
    weights = np.random.Generator(np.random.PCG64(1)).standard_normal(5000).astype(np.float32)
    data = pack_snapshot(weights, run=RUN, version=3, codec=codec, seed=9)
    assert data == pack_snapshot(weights, run=RUN, version=3, codec=codec, seed=9)
    held = unpack_snapshot(data, dimension=5000)
    assert norm(held - weights) <= error * norm(weights)


def test_large_models_are_cut_into_frames_that_anyone_can_read() -> None:
    weights = np.arange(600_000, dtype=np.float32)
    data = pack_snapshot(weights, run=RUN, version=0, codec="float32", seed=0)
    assert np.array_equal(unpack_snapshot(data, dimension=600_000), weights)
    with pytest.raises(Malformed):
        unpack_snapshot(data[: len(data) // 2], dimension=600_000)
    with pytest.raises(Malformed):
        unpack_snapshot(b"", dimension=600_000)
    with pytest.raises(Malformed):
        unpack_snapshot(data, dimension=599_999)


def test_seeds_differ_by_every_word_and_cross_json() -> None:
    seeds = {derive_seed(r, w, n) for r in range(5) for w in ("a", "b") for n in range(5)}
    assert len(seeds) == 50
    assert max(seeds) < 2**53
    assert derive_seed(1, "a", 2) == derive_seed(1, "a", 2)


@pytest.mark.parametrize("codec", ["float32", "float16", "eden:bits=1", "eden:bits=8"])
@pytest.mark.parametrize("dimension", [1, 1000, 100_000])
def test_honest_updates_fit_the_limits_at_the_finest_cut(codec: str, dimension: int) -> None:
    vector = np.ones(dimension, np.float32)
    finest = 4200 if codec.startswith("eden") else 512 - HEADER_BYTES
    payloads = codec_from_spec(codec).encode(vector, seed=1, chunk_bytes=finest)
    assert len(payloads) <= most_chunks(dimension)
    size = sum(len(payload) + HEADER_BYTES for payload in payloads)
    assert size <= most_update_bytes(dimension, len(payloads))


@given(
    recent=st.lists(st.floats(0, 1e5), max_size=5),
    elapsed=st.floats(0, 1e5),
    remaining=st.none() | st.floats(0, 1e6),
    attempt=st.integers(0, 1000),
)
def test_pauses_are_bounded_and_spread(
    recent: list[float], elapsed: float, remaining: float | None, attempt: int
) -> None:
    pauses = {
        pause_s(
            pace_s=5, recent_s=recent, elapsed_s=elapsed, remaining_s=remaining,
            device=device, attempt=attempt,
        )
        for device in "abcd"
    }  # fmt: skip
    assert len(pauses) == 4
    assert all(0.4 < pause <= 5400 for pause in pauses)
    if remaining is not None:
        assert max(pauses) <= 1.5 * max(remaining, 1.0)


def test_a_frame_read_back_from_the_snapshot_says_what_it_is() -> None:
    data = pack_snapshot(np.ones(3, np.float32), run=RUN, version=4, codec="float32", seed=2)
    frame = unpack(data)
    assert (frame.kind, frame.run, frame.number, frame.examples) == (Kind.SNAPSHOT, RUN, 4, 0)
