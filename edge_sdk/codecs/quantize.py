"""Numbers near N(0, 1) to the nearest level of a Lloyd-Max table and back.

Everything is a whole number of sigma / 4096 (`normal.UNITS_PER_SIGMA`), so encoder and decoder
take no decision that depends on rounding.
"""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.normal import LEVELS, THRESHOLDS

Indices = NDArray[np.uint8]

_FEW = 7
"""Up to so many thresholds comparing with each is faster than a look-up."""


def _cells(thresholds: tuple[int, ...]) -> Indices:
    """Cell of every whole number from 0 up to the last threshold."""
    marks = np.zeros(thresholds[-1] + 1, np.uint8)
    marks[list(thresholds)] = 1
    return np.cumsum(marks, dtype=np.uint8)


_CELLS = {bits: _cells(marks) for bits, marks in THRESHOLDS.items() if len(marks) > _FEW}


def nearest_level(magnitudes: NDArray[np.float32], bits: int) -> Indices:
    """Number of thresholds at or below each magnitude; magnitudes are in units, at least 0."""
    marks = THRESHOLDS[bits]
    if len(marks) > _FEW:
        whole = np.minimum(magnitudes, np.float32(marks[-1])).astype(np.uint16)
        return np.take(_CELLS[bits], whole, mode="clip")
    index = np.zeros(magnitudes.shape, np.uint8)
    for mark in marks:
        index += magnitudes >= np.float32(mark)
    return index


def _signed(levels: tuple[int, ...]) -> NDArray[np.float32]:
    """Level of every code: the sign is the code's highest bit, the rest counts outwards."""
    positive = np.array(levels, np.float32)
    return np.concatenate([positive, -positive])


SIGNED_LEVELS = {bits: _signed(levels) for bits, levels in LEVELS.items()}
"""By bits: float32 of shape (2**bits,), in units, indexed by code."""

MAGNITUDES = {bits: np.array(levels, np.float64) for bits, levels in LEVELS.items()}
"""By bits: float64 of shape (2**(bits-1),), in units, indexed by `nearest_level`."""
