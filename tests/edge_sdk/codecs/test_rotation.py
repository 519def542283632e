"""The rotation is orthogonal, undoes itself, and gives the same bits in any order of summation."""

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.codecs import rotation
from edge_sdk.codecs.eden import Eden, to_whole_numbers
from edge_sdk.codecs.rotation import BLOCK_SIZES, MOST_NORM, Rows, rotate, rotate_back
from edge_sdk.codecs.signs import stream_key
from edge_sdk.values import Place

KEYS = (stream_key(1), stream_key(2), stream_key(3))


def whole_rows(size: int, seed: int = 0) -> Rows:
    """Rows whose norm is close to the largest that is exact, from flat to one spike."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((6, size))
    rows[1] = 1
    rows[2] = rng.standard_t(1, size)
    rows[3] = 0
    rows[3, 5] = 1
    rows[4, 8:] = 0
    rows *= (MOST_NORM - 2**8) / np.linalg.norm(rows, axis=1, keepdims=True)
    whole = np.rint(rows).astype(np.float32)
    assert np.linalg.norm(whole.astype(np.float64), axis=1).max() < MOST_NORM
    return whole


def sylvester(n: int) -> NDArray[np.float64]:
    matrix = np.ones((1, 1))
    while len(matrix) < n:
        matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_turn_is_the_hadamard_matrix(size: int) -> None:
    rows = whole_rows(size)
    exact = rows.astype(np.float64) @ sylvester(size) / size**0.5
    # Two roundings of at most one half, the first of them spread by the second product.
    assert np.abs(rotation._turn(rows) - exact).max() <= 0.5 + 4.0
    assert np.sqrt(np.mean((rotation._turn(rows) - exact) ** 2)) < 0.5


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_back_undoes_forth_up_to_rounding(size: int) -> None:
    rows = whole_rows(size)
    back = rotate_back(rotate(rows.copy(), KEYS, first=640), KEYS, first=640)
    assert np.sqrt(np.mean((back - rows) ** 2)) < 1.2
    assert np.abs(np.linalg.norm(back, axis=1) / MOST_NORM - 1).max() < 1e-3


@pytest.mark.parametrize("size", BLOCK_SIZES)
def test_every_order_of_summation_gives_the_same_bits(size: int) -> None:
    rows = whole_rows(size)
    expected = rotation._turn(rows)
    for seed in range(3):
        order = np.random.default_rng(seed)
        assert np.array_equal(_turn_in_order(rows, order), expected)


def _turn_in_order(rows: Rows, order: np.random.Generator) -> Rows:
    """`_turn` with float32 sums taken one term at a time in a shuffled order."""
    squares = rows.reshape(len(rows), -1, 64)
    height = squares.shape[1]
    right, left = rotation._MATRICES[64], rotation._MATRICES[height]
    turned = np.zeros_like(squares)
    for k in order.permutation(64):
        turned += squares[:, :, k : k + 1] * right[k]
    turned = np.rint(turned)
    if height > 1:
        second = np.zeros_like(turned)
        for k in order.permutation(height):
            second += left[:, k : k + 1] * turned[:, k : k + 1, :]
        turned = np.rint(second)
    return turned.reshape(rows.shape)


def test_codec_bytes_and_values_do_not_depend_on_the_order_of_summation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(3)
    vector = rng.standard_t(2, 3 * 4096 + 1024 + 300).astype(np.float32)
    codec = Eden(4)

    def both() -> tuple[list[bytes], list[bytes]]:
        payloads = codec.encode(vector, seed=8, chunk_bytes=9000)
        pieces = [
            codec.decode(p, Place(len(vector), i, len(payloads), 8)).values.tobytes()
            for i, p in enumerate(payloads)
        ]
        return payloads, pieces

    blas = both()
    monkeypatch.setattr(rotation, "_turn", lambda rows: _turn_in_order(rows, rng))
    assert both() == blas


@pytest.mark.parametrize("size", BLOCK_SIZES)
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-10, 1.0, 1e30])
def test_rows_become_whole_numbers_of_a_norm_that_keeps_sums_exact(size: int, scale: float) -> None:
    rng = np.random.default_rng(4)
    rows = rng.standard_normal((40, size)) * 10 ** rng.uniform(-1, 0, (40, 1))
    rows[::4] = 0
    rows[::4, 3] = rng.uniform(0.1, 1, 10)
    rows[1::4] = rng.uniform(0.1, 1, (10, 1))
    original = (rows * scale).astype(np.float32)
    whole = original.copy()
    exponents = to_whole_numbers(whole)
    assert np.array_equal(whole, np.rint(whole))
    norms = np.linalg.norm(whole.astype(np.float64), axis=1)
    filled = original.any(axis=1)
    assert norms[filled].min() >= 2**17.5
    assert norms.max() <= 2**20.5
    back = whole.astype(np.float64) * 2.0**exponents
    assert np.abs(back - original).max() <= np.ldexp(0.5, exponents.max())


def test_a_row_of_zeros_stays_zero() -> None:
    rows = np.zeros((2, 64), np.float32)
    to_whole_numbers(rows)
    assert not rows.any()
