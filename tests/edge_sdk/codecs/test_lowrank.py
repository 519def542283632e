"""Low-rank parts: found where they are, left out where they are not, unbiased either way."""

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.lowrank_factors import (
    Component,
    Matrix,
    find_component,
    read_parts,
    write_parts,
)
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.testing.codecs import LARGE_CHUNK_BYTES, decode_all
from edge_sdk.values import Layout, Parameter, Place, Vector
from tests.edge_sdk.codecs.test_blockwise import exactly_known

MATRICES = (Matrix(100, 128, 90), Matrix(100 + 128 * 90, 60, 64))
SIZE = MATRICES[-1].end + 200


def structured(seed: int = 0) -> Vector:
    """Two matrices of rank 2 and 1 with noise of a tenth of their size, and some single values."""
    rng = np.random.default_rng(seed)
    vector = 0.1 * rng.standard_normal(SIZE)
    for matrix, rank in zip(MATRICES, (2, 1), strict=True):
        sides = (
            rng.standard_normal((matrix.rows, rank)),
            rng.standard_normal((rank, matrix.columns)),
        )
        vector[matrix.first : matrix.end] += (sides[0] @ sides[1]).reshape(-1)
    return vector.astype(np.float32)


def error_of(codec: Codec, vector: Vector, seed: int = 0) -> float:
    payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
    decoded = decode_all(codec, payloads, len(vector), seed).astype(np.float64)
    return float(np.sum((decoded - vector) ** 2) / np.sum(vector.astype(np.float64) ** 2))


def wire_bytes(codec: Codec, vector: Vector, chunk_bytes: int) -> int:
    payloads = codec.encode(vector, seed=3, chunk_bytes=chunk_bytes)
    assert max(map(len, payloads)) <= chunk_bytes
    return sum(len(payload) + 56 for payload in payloads)


@pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
def test_structure_cuts_the_error(rate: float) -> None:
    vector = structured()
    assert error_of(LowRank(rate, MATRICES), vector) < error_of(Blockwise(rate), vector) / 3


@pytest.mark.parametrize("rate", [0.1, 1.0])
def test_without_structure_nothing_is_lost(rate: float) -> None:
    vector = np.random.default_rng(1).standard_normal(SIZE).astype(np.float32)
    errors = [error_of(LowRank(rate, MATRICES), vector, seed) for seed in range(6)]
    plain = [error_of(Blockwise(rate), vector, seed) for seed in range(6)]
    assert np.mean(errors) < 1.1 * np.mean(plain)


@pytest.mark.parametrize("rate", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("chunk_bytes", [456, LARGE_CHUNK_BYTES])
def test_rate_is_total_wire_bytes(rate: float, chunk_bytes: int) -> None:
    vector = structured()
    wanted = rate * SIZE / 8
    size = wire_bytes(LowRank(rate, MATRICES), vector, chunk_bytes)
    assert abs(size - wanted) <= max(0.05 * wanted, 64)


def test_mean_over_seeds_is_the_vector() -> None:
    vector = structured()
    codec = LowRank(0.5, MATRICES)
    total: NDArray[np.float64] = np.zeros(SIZE)
    errors = []
    for seed in range(100):
        payloads = codec.encode(vector, seed=seed, chunk_bytes=LARGE_CHUNK_BYTES)
        decoded = decode_all(codec, payloads, SIZE, seed)
        errors.append(np.sum((decoded - vector) ** 2, dtype=np.float64))
        total += decoded
    bias = float(np.sum((total / 100 - vector) ** 2))
    assert bias <= 1.1 * np.mean(errors) / 100


def test_every_chunk_has_components_of_its_own() -> None:
    vector = structured()
    codec = LowRank(2.0, MATRICES)
    payloads = codec.encode(vector, seed=0, chunk_bytes=1500)
    assert len(payloads) > 1
    for index in reversed(range(len(payloads))):
        piece = codec.decode(payloads[index], Place(SIZE, index, len(payloads), 0))
        own = piece.where.take(vector)
        assert np.sum((piece.values - own) ** 2) < 0.3 * np.sum(own**2)


def test_forecast_is_close() -> None:
    vector = structured()
    codec = LowRank(1.0, MATRICES)
    forecast = codec.forecast(vector, chunk_bytes=LARGE_CHUNK_BYTES)
    errors = [error_of(codec, vector, seed) for seed in range(5)]
    assert forecast.error == pytest.approx(np.mean(errors), rel=0.3)
    assert forecast.wire_bytes == pytest.approx(
        wire_bytes(codec, vector, LARGE_CHUNK_BYTES), rel=0.05
    )


def test_bytes_are_the_same_on_every_machine() -> None:
    """Pins what this encoder writes; a change here is a change of every golden file."""
    vector = exactly_known(SIZE)
    rng = np.random.default_rng(1)
    sides = rng.integers(-99, 100, MATRICES[0].rows), rng.integers(-99, 100, MATRICES[0].columns)
    MATRICES[0].of(vector)[...] += np.multiply.outer(*sides)
    digest = hashlib.sha256()
    for rate in (0.3, 3.0):
        for payload in LowRank(rate, MATRICES).encode(vector, seed=9, chunk_bytes=2000):
            digest.update(payload)
    assert digest.hexdigest() == "cb0091ecc6f840ff8c0fd396cbd5f48dc057526db1f9e435ee5edd69c5eaf067"


def test_matrices_of_a_layout() -> None:
    layout = Layout(
        (
            Parameter("conv", (8, 3, 5, 5)),
            Parameter("bias", (8,)),
            Parameter("dense", (10, 200)),
            Parameter("scalar", ()),
        )
    )
    assert matrices_of(layout) == (Matrix(0, 8, 75), Matrix(608, 10, 200))


def test_matrices_that_do_not_fit_are_misuse() -> None:
    with pytest.raises(Misuse):
        LowRank(1.0, (Matrix(0, 10, 10), Matrix(99, 10, 10)))
    with pytest.raises(Misuse):
        LowRank(1.0, (Matrix(0, 10, 10),)).encode(np.ones(99, np.float32), seed=0, chunk_bytes=999)
    with pytest.raises(Misuse):
        Matrix(0, 0, 3)


@pytest.mark.parametrize("scale", [1e-18, 1.0, 1e27])
def test_a_component_is_found_at_any_scale(scale: float) -> None:
    rng = np.random.default_rng(4)
    matrix = (scale * np.multiply.outer(rng.standard_normal(40), rng.standard_normal(30))).astype(
        np.float32
    )
    component = find_component(matrix)
    assert component is not None
    left = (matrix - component.product()) / np.float32(scale)
    assert float(np.mean(left**2)) < 0.001


@pytest.mark.parametrize("value", [0.0, 1e-30])
def test_nothing_is_found_in_next_to_nothing(value: float) -> None:
    assert find_component(np.full((5, 6), value, np.float32)) is None


def test_parts_come_back_and_must_fit() -> None:
    component = Component(np.array([1, -2], np.int32), np.array([3, 0, -5], np.int32), 0x3F80)
    writer = BitWriter()
    write_parts(writer, [(Matrix(4, 2, 3), [component])])
    data = writer.to_bytes()
    ((place, (again,)),) = read_parts(BitReader(data), 10)
    assert place == Matrix(4, 2, 3)
    assert np.array_equal(again.product(), component.product())
    with pytest.raises(Malformed):
        read_parts(BitReader(data), 9)
    with pytest.raises(Malformed):
        read_parts(BitReader(data[:-2]), 10)
