"""Coefficients of rotated blocks: what is sent of a block besides its level.

Blocks are worked on in rows of float32 whole numbers (`rotation`), so both directions give the same
bits on every machine. FORMAT.md, section B.6.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.eden import to_whole_numbers
from edge_sdk.codecs.ladder import ESTIMATES, EXACT, NORMAL, QUANTIZERS, SIZES, Reals
from edge_sdk.codecs.rotation import Rows, rotate, rotate_back, rounds_of
from edge_sdk.codecs.signs import stream_key
from edge_sdk.codecs.symbols import MOST_MAGNITUDE, Coefficients
from edge_sdk.errors import Corrupt

_ROUNDS = 2
_MOST_VALUE = 2.0**127
_PURPOSE = 0x4B4C4F42
"""`BLOK`: keeps the sign streams apart from other uses of the same seed."""

Levels = NDArray[np.integer]


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """The rotation of one chunk's blocks."""

    block: int
    """Coordinates of a block."""
    keys: tuple[int, ...]

    @classmethod
    def of(cls, block: int, *, seed: int, index: int) -> "Turn":
        """The rotation of chunk `index` of the update with this seed."""
        low, high = seed & 0xFFFFFFFF, seed >> 32
        turns = range(rounds_of(block, _ROUNDS))
        return cls(block, tuple(stream_key(_PURPOSE, low, high, index, turn) for turn in turns))


def quantize_blocks(
    rows: Rows, rms: NDArray[np.float64], levels: Levels, step: float, turn: Turn, *, first: int
) -> Coefficients:
    """Coefficients of sent blocks, flat.

    Args:
        rows: one block each, overwritten.
        rms: root mean square of each row's block, above 0.
        levels: of each row, 1 or more.
        step: the update's.
        turn: the chunk's rotation.
        first: how many sent blocks of the chunk come before these.
    """
    normal = levels <= NORMAL
    cell, threshold = QUANTIZERS[np.where(normal, levels, 1)].T
    # A block raised to the first exact level is smaller than that level and is scaled up to it.
    unit = np.where(normal, rms * cell, np.minimum(step, rms / SIZES[EXACT]))
    offset = np.where(normal, 1 - threshold / cell, 0.5)
    return quantize_rows(rows, unit, offset, turn.keys, first=first * turn.block)


def rebuild_blocks(
    coefficients: Coefficients, levels: Levels, step: float, turn: Turn, *, first: int
) -> Rows:
    """Values of sent blocks, one row each; arguments as for `quantize_blocks`.

    Raises:
        Corrupt: a value might not be a float32.
    """
    rows = coefficients.reshape(-1, turn.block)
    scales = ESTIMATES[turn.block][levels] * step
    return rebuild_rows(rows, scales, turn.keys, first=first * turn.block)


def quantize_rows(
    rows: Rows, unit: Reals, offset: Reals, keys: tuple[int, ...], *, first: int
) -> Coefficients:
    """Rotate, then floor(|y| / unit + offset) with the sign of y, flat.

    Args:
        rows: overwritten.
        unit: of each row, above 0.
        offset: of each row, 0 to 1.
        keys: sign stream of each rotation round.
        first: number of the rows' first element in the sign streams.
    """
    exponents = to_whole_numbers(rows)[:, 0]
    turned = rotate(rows, keys, first=first)
    size = np.abs(turned)
    size *= np.ldexp(1 / unit, exponents).astype(np.float32)[:, np.newaxis]
    size += offset.astype(np.float32)[:, np.newaxis]
    np.minimum(size, np.float32(MOST_MAGNITUDE), out=size)
    np.copysign(size, turned, out=size)
    return size.astype(np.int32).reshape(-1)  # cuts towards zero


def rebuild_rows(
    coefficients: Coefficients, scales: Reals, keys: tuple[int, ...], *, first: int
) -> Rows:
    """Rotate rows of coefficients back and multiply each with its scale.

    Raises:
        Corrupt: a value might not be a float32.
    """
    rows: Rows = coefficients.astype(np.float32)
    exponents = to_whole_numbers(rows)[:, 0]
    rows = rotate_back(rows, keys, first=first)
    factors = np.ldexp(scales, exponents)
    if factors.max(initial=0) * 2.0**21 > _MOST_VALUE:  # norms are below 2**21
        raise Corrupt("a value is too large for float32")
    rows *= factors.astype(np.float32)[:, np.newaxis]
    rows += np.float32(0)  # -0.0 becomes 0.0: the sign of a zero sum depends on the BLAS
    return rows
