"""EDEN with entropy coding: near the best any scalar quantizer can do, at the rate it was given."""

import hashlib

import numpy as np
import pytest

from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.uniform_table import STEPS
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.testing.codecs import LARGE_CHUNK_BYTES, decode_all
from edge_sdk.values import Place, Vector
from scripts.make_uniform_tables import STEPS as EXPONENTS
from scripts.make_uniform_tables import row
from tests.edge_sdk.codecs.test_blockwise import exactly_known

THEORY = {0.1: 9.931, 0.5: 1.613, 1.0: 0.5345, 2.0: 0.09762, 3.0: 0.02274, 4.0: 0.005591}
"""Error of the optimal entropy-coded uniform quantizer at a rate (`algorithms` table, EDEN)."""


def gaussian(size: int) -> Vector:
    return np.random.default_rng(0).standard_normal(size).astype(np.float32)


def error_of(codec: EdenEntropy, vector: Vector, seed: int) -> float:
    payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
    decoded = decode_all(codec, payloads, len(vector), seed).astype(np.float64)
    return float(np.sum((decoded - vector) ** 2) / np.sum(vector.astype(np.float64) ** 2))


@pytest.mark.parametrize("rate", THEORY)
def test_error_is_near_theory_at_the_same_wire_rate(rate: float) -> None:
    """Headers, scales and the coder's overhead included."""
    errors = [error_of(EdenEntropy(rate), gaussian(1 << 18), seed) for seed in range(2)]
    assert np.mean(errors) < 1.09 * THEORY[rate]


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.5, 1, 2, 4, 8])
@pytest.mark.parametrize("size", [3000, 100_000])
def test_rate_is_total_wire_bytes(size: int, rate: float) -> None:
    vector = gaussian(size)
    wanted = rate * size / 8
    sizes = [
        sum(
            len(payload) + 56
            for payload in EdenEntropy(rate).encode(
                vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES
            )
        )
        for seed in range(3)
    ]
    assert abs(np.mean(sizes) - wanted) <= max(0.02 * wanted, 64)


@pytest.mark.parametrize("rate", [0.25, 1, 3])
@pytest.mark.parametrize("zeros", [1, 20, 39])
def test_the_room_that_blocks_of_zeros_leave_is_spent_on_the_others(
    zeros: int, rate: float
) -> None:
    vector = gaussian(40 * 4096 + 100)
    plain = error_of(EdenEntropy(rate), vector, 1)
    vector[4096 : 4096 * (1 + zeros)] = 0
    wanted = rate * len(vector) / 8
    payloads = EdenEntropy(rate).encode(vector, seed=1, chunk_bytes=LARGE_CHUNK_BYTES)
    made = sum(len(payload) + 56 for payload in payloads)
    most_bits = 1 + 7 * (zeros < 39)  # beyond the finest step there is nothing to spend on
    if rate * 40 / (40 - zeros) < most_bits:
        assert abs(made - wanted) <= max(0.02 * wanted, 64)
    assert error_of(EdenEntropy(rate), vector, 1) < plain


@pytest.mark.parametrize("rate", [0.75, 1, 2])
@pytest.mark.parametrize("size", [9000, 20_000, 150_000])
def test_the_rate_is_kept_where_all_energy_is_in_the_first_third(size: int, rate: float) -> None:
    """Zeros cost nothing, and chunks are as many as their fullest needs."""
    vector = gaussian(size)
    vector[size // 3 :] = 0
    payloads = EdenEntropy(rate).encode(vector, seed=7, chunk_bytes=8000)
    wanted = rate * size / 8
    made = sum(len(payload) + 56 for payload in payloads)
    assert abs(made - wanted) <= max(0.02 * wanted, 64)


@pytest.mark.parametrize("rate", [0.05, 1, 8])
@pytest.mark.parametrize("size", [64, 300, 4096])
def test_the_largest_magnitudes_come_back(size: int, rate: float) -> None:
    codec = EdenEntropy(rate)
    vector = np.full(size, 2.0**109, np.float32)
    payloads = codec.encode(vector, seed=2, chunk_bytes=LARGE_CHUNK_BYTES)
    assert np.isfinite(decode_all(codec, payloads, size, 2)).all()
    with pytest.raises(Misuse, match="magnitude"):
        codec.encode(2 * vector, seed=2, chunk_bytes=LARGE_CHUNK_BYTES)


def test_the_vector_may_be_as_uneven_as_it_likes() -> None:
    spikes = np.zeros(8192, np.float32)
    spikes[[5, 4096]] = (1, 0.5)
    errors = [error_of(EdenEntropy(1.0), spikes, seed) for seed in range(40)]
    assert np.mean(errors) == pytest.approx(0.62, rel=0.1)  # the header takes six percent


def test_bytes_are_the_same_on_every_machine() -> None:
    """Pins what this encoder writes; a change here is a change of every golden file."""
    digest = hashlib.sha256()
    for rate in (0.1, 3.0):
        for payload in EdenEntropy(rate).encode(exactly_known(9001), seed=9, chunk_bytes=2000):
            digest.update(payload)
    assert digest.hexdigest() == "997cf6a7fdaa83d1e5ec4bc553e7e28b669a115631d63b614e3a64fd694560fd"


def test_the_table_is_that_of_the_script() -> None:
    assert tuple(map(row, EXPONENTS)) == STEPS


def test_a_few_bytes_cannot_ask_for_gigabytes() -> None:
    codec = EdenEntropy(1.0)
    (payload,) = codec.encode(np.zeros(100, np.float32), seed=0, chunk_bytes=1000)
    with pytest.raises(Malformed):
        codec.decode(payload, Place(2**31, 0, 1, 0))


@pytest.mark.parametrize("rate", [0.0, 0.04, 8.1])
def test_rates_outside_the_range_are_misuse(rate: float) -> None:
    with pytest.raises(Misuse):
        EdenEntropy(rate)
