"""EDEN's promises: error, exact zeros, chunks that stand alone, every size and magnitude."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edge_sdk.codecs import Eden
from edge_sdk.codecs.blocks import Tiling
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.testing.codecs import LARGE_CHUNK_BYTES, decode_all
from edge_sdk.values import Place, Vector

THEORY = {
    1: 0.570796,
    2: 0.133121,
    3: 0.035784,
    4: 0.0095921,
    5: 0.0025110,
    6: 0.00064466,
    7: 0.00016350,
    8: 0.000041187,
}
"""D / (1 - D) of the Lloyd-Max quantizers."""


def error(codec: Eden, vector: Vector, seed: int) -> float:
    """|decoded - vector|**2 / |vector|**2 for one seed."""
    payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
    decoded = decode_all(codec, payloads, len(vector), seed).astype(np.float64)
    return float(np.sum((decoded - vector) ** 2) / np.sum(vector.astype(np.float64) ** 2))


@pytest.mark.parametrize("bits", range(1, 9))
def test_error_on_normal_values_is_the_theory_within_two_percent(bits: int) -> None:
    rng = np.random.default_rng(bits)
    errors = [error(Eden(bits), rng.standard_normal(8192).astype(np.float32), s) for s in range(60)]
    assert abs(np.mean(errors) / THEORY[bits] - 1) < 0.02


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_error_does_not_depend_on_what_the_vector_looks_like(bits: int) -> None:
    rng = np.random.default_rng(bits)
    spikes = np.zeros(8192, np.float32)
    spikes[rng.choice(8192, 300, replace=False)] = rng.standard_normal(300)
    heavy = rng.lognormal(0, 2, 8192).astype(np.float32)
    for vector in (spikes, heavy):
        mean = np.mean([error(Eden(bits), vector, seed) for seed in range(60)])
        assert abs(mean / THEORY[bits] - 1) < 0.04


@pytest.mark.parametrize("size", [1, 5, 64, 100, 777, 1024, 3000, 4095])
def test_small_vectors_have_no_more_error_than_large_ones(size: int) -> None:
    vector = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    mean = np.mean([error(Eden(2), vector, seed) for seed in range(100)])
    assert mean < THEORY[2] * 1.05


@pytest.mark.parametrize("bits", [1, 4])
def test_wire_bits_are_the_rate_plus_one_scale_per_block(bits: int) -> None:
    vector = np.ones(100 * 4096, np.float32)
    payloads = Eden(bits).encode(vector, seed=0, chunk_bytes=LARGE_CHUNK_BYTES)
    assert sum(map(len, payloads)) == len(vector) * bits // 8 + 100 * 4 + len(payloads) * 4


def test_a_missing_chunk_leaves_the_others_as_they_are() -> None:
    vector = np.random.default_rng(0).standard_normal(50_000).astype(np.float32)
    payloads = Eden(2).encode(vector, seed=3, chunk_bytes=3000)
    whole = decode_all(Eden(2), payloads, len(vector), 3)
    alone = Eden(2).decode(payloads[2], Place(len(vector), 2, len(payloads), 3))
    assert np.array_equal(alone.where.take(whole), alone.values)
    covered = sum(
        Eden(2).decode(p, Place(len(vector), i, len(payloads), 3)).where.size
        for i, p in enumerate(payloads)
    )
    assert covered == len(vector)


def test_a_zero_block_comes_back_as_positive_zeros() -> None:
    vector = np.random.default_rng(0).standard_normal(3 * 4096).astype(np.float32)
    vector[4096:8192] = -0.0
    payloads = Eden(2).encode(vector, seed=1, chunk_bytes=LARGE_CHUNK_BYTES)
    decoded = decode_all(Eden(2), payloads, len(vector), 1)
    assert decoded[4096:8192].tobytes() == bytes(4 * 4096)


@pytest.mark.parametrize("exponent", [-120, -60, 0, 60, 99])
def test_scaling_by_a_power_of_two_scales_the_result(exponent: int) -> None:
    vector = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    scaled = np.ldexp(vector, exponent)
    base = decode_all(Eden(3), Eden(3).encode(vector, seed=1, chunk_bytes=9000), 5000, 1)
    other = decode_all(Eden(3), Eden(3).encode(scaled, seed=1, chunk_bytes=9000), 5000, 1)
    assert np.allclose(other, np.ldexp(base, exponent), rtol=1e-6, atol=2.0**-149)


def test_subnormal_values_keep_their_size() -> None:
    vector = (np.random.default_rng(0).standard_normal(4096) * 1e-40).astype(np.float32)
    assert error(Eden(4), vector, 0) < 0.011


def test_magnitudes_that_could_overflow_are_misuse() -> None:
    Eden(1).encode(np.full(4096, 2.0**110, np.float32), seed=0, chunk_bytes=4096)
    with pytest.raises(Misuse):
        Eden(1).encode(np.full(4096, 2.0**111, np.float32), seed=0, chunk_bytes=4096)


def test_seeds_and_chunks_have_different_signs() -> None:
    vector = np.tile(np.random.default_rng(0).standard_normal(4096).astype(np.float32), 2)
    one, other = Eden(1).encode(vector, seed=0, chunk_bytes=600)
    (third, _) = Eden(1).encode(vector, seed=2**40, chunk_bytes=600)
    planes = [np.unpackbits(np.frombuffer(p[8:], np.uint8)) for p in (one, other, third)]
    for left, right in itertools.combinations(planes, 2):
        # 4096 fair coins agree in half of the cases; six standard deviations.
        assert abs(float(np.mean(left == right)) - 0.5) < 6 * 0.5 / 4096**0.5


def test_a_chunk_too_small_for_any_block_is_misuse() -> None:
    assert Eden(8).encode(np.ones(70, np.float32), seed=0, chunk_bytes=72)
    with pytest.raises(Misuse):
        Eden(8).encode(np.ones(70, np.float32), seed=0, chunk_bytes=71)


def test_more_chunks_than_a_header_counts_is_misuse() -> None:
    with pytest.raises(Misuse):
        Eden(8).encode(np.ones(64 * 65_536, np.float32), seed=0, chunk_bytes=80)


@given(
    vector=arrays.arrays(
        np.float32,
        st.integers(1, 400),
        elements=st.floats(-(2.0**110), 2.0**110, width=32, allow_subnormal=True),
    ),
    bits=st.integers(1, 8),
    seed=st.integers(0, 2**53 - 1),
    chunk_bytes=st.integers(72, 700),
)
@settings(max_examples=200)
def test_any_finite_vector_comes_back_near_itself(
    vector: Vector, bits: int, seed: int, chunk_bytes: int
) -> None:
    payloads = Eden(bits).encode(vector, seed=seed, chunk_bytes=chunk_bytes)
    assert all(len(payload) <= chunk_bytes for payload in payloads)
    decoded = decode_all(Eden(bits), payloads, len(vector), seed).astype(np.float64)
    assert np.isfinite(decoded).all()
    # The scale makes the projection of the decoded on the true block exact, whatever the signs,
    # so the error is orthogonal to the block and its size is bounded by the worst scale.
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    assert float(np.linalg.norm(decoded - vector)) <= 10 * norm + 1e-40


@given(payload=st.binary(max_size=300), bits=st.integers(1, 8), dimension=st.integers(1, 3000))
def test_any_bytes_are_a_piece_or_malformed(payload: bytes, bits: int, dimension: int) -> None:
    try:
        piece = Eden(bits).decode(payload, Place(dimension, 0, 1, 0))
    except Malformed:
        return
    assert np.isfinite(piece.values).all()


@given(
    dimension=st.integers(1, 20_000),
    largest=st.sampled_from([64, 256, 1024, 4096]),
    most=st.integers(64, 9000),
    data=st.data(),
)
def test_blocks_tile_the_vector(
    dimension: int, largest: int, most: int, data: st.DataObject
) -> None:
    tiling = Tiling(dimension, largest)
    first = data.draw(st.integers(0, tiling.blocks - 1))
    end = data.draw(st.integers(first + 1, tiling.blocks))
    runs = [list(tiling.runs(a, b, most=most)) for a, b in ((0, first), (first, end))]
    place = runs[0][-1].end if runs[0] else 0
    block = position = 0
    for run in runs[1]:
        assert (run.first, run.block, run.position) == (place, block, position)
        assert run.width - 64 < run.end - run.first <= run.width
        assert run.size <= largest
        assert run.width <= max(most, run.size)
        place, block, position = run.end, block + run.blocks, position + run.width
    assert block == end - first
    where, width = tiling.widths(first, end)
    assert (where.first, where.end, width) == (runs[1][0].first, place, position)
    if end == tiling.blocks:
        assert place == dimension
