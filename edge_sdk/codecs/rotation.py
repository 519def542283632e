"""Random rotation of blocks by sign flips and Hadamard matrices, exact on every machine.

A block of n = a * 64 coordinates, n one of 64, 256, 1024, 4096, is turned by H_n / sqrt(n) as two
small matrix products: as an a x 64 matrix X it becomes H_a X H_64 (H_n is the Kronecker product).
Each product is divided by the root of its size, a power of two, and rounded to whole numbers.

Why whole numbers: while a block's Euclidean norm stays within `MOST_NORM`, no sum of the products
ever needs more than the 24 bits of float32 (a partial sum is at most sqrt(64) times the norm), so
every order of summation, fused or not, on any BLAS and CPU, gives the same bits. The rounding
costs about 1e-9 of the energy per product; see FORMAT.md, section 5.3.

One round is not a random rotation: on (1, .5, 0, …) the same error comes back whatever the signs,
and no averaging removes it. Two rounds with fresh signs cure blocks of 4096; the smaller the block,
the fewer different rotations there are, and nearly equal spikes such as (1, .95, 0, …) need more
(measured in `tests/edge_sdk/codecs/test_bias.py`).
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.signs import flip_signs

Rows = NDArray[np.float32]
"""Blocks of one size, shape (blocks, n), C-contiguous float32 holding whole numbers."""

BLOCK_SIZES = (4096, 1024, 256, 64)
"""Powers of four, so that every square root is a power of two."""

EXTRA_ROUNDS = {4096: 0, 1024: 1, 256: 1, 64: 2}
"""Rounds that a block takes beyond the codec's, except in the one-round mode of the paper."""

MOST_NORM = 2.0**21
"""Largest Euclidean norm of a block for which the rotation is exact."""

_COLUMNS = 64


def _hadamard(n: int) -> NDArray[np.float32]:
    """Sylvester's Hadamard matrix of size n, divided by sqrt(n): its own inverse."""
    matrix: NDArray[np.float32] = np.ones((1, 1), np.float32)
    while len(matrix) < n:
        matrix = np.block([[matrix, matrix], [matrix, -matrix]])
    matrix *= np.float32(n**-0.5)
    return matrix


_MATRICES = {n: _hadamard(n) for n in (1, 4, 16, 64)}


def rounds_of(size: int, rounds: int) -> int:
    """Rounds for a block of `size` under a codec of `rounds` rounds."""
    return rounds if rounds == 1 else rounds + EXTRA_ROUNDS[size]


def rotate(rows: Rows, keys: tuple[int, ...], *, first: int) -> Rows:
    """Turn every row: for each key one round of sign flips, then Hadamard.

    Args:
        rows: overwritten; whole numbers, each row's norm at most `MOST_NORM` minus 2**8.
        keys: sign stream of each round.
        first: number of the rows' first element in the sign streams, a multiple of 64.
    """
    for key in keys:
        flip_signs(rows, key, first=first)
        rows = _turn(rows)
    return rows


def rotate_back(rows: Rows, keys: tuple[int, ...], *, first: int) -> Rows:
    """Undo `rotate` up to its rounding; same arguments, `rows` is overwritten."""
    for key in reversed(keys):
        rows = _turn(rows)
        flip_signs(rows, key, first=first)
    return rows


def _turn(rows: Rows) -> Rows:
    """H_n / sqrt(n) on every row, rounded to whole numbers after each of the two products."""
    squares = rows.reshape(len(rows), -1, _COLUMNS)
    height = squares.shape[1]
    turned: Rows = np.matmul(squares, _MATRICES[_COLUMNS])
    np.rint(turned, out=turned)
    if height > 1:
        turned = np.matmul(_MATRICES[height], turned)
        np.rint(turned, out=turned)
    return turned.reshape(rows.shape)
