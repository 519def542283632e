"""The number that EDEN multiplies a rotated block's levels with: three aims, one payload.

For a block x, rotated to y and rounded to q: |x|**2 / <y, q> makes the mean over rotations exact
(Vargaftik et al., arXiv 2108.08842); <y, q> / |q|**2 makes the error of one message least, a
contraction (the same authors' DRIVE, arXiv 2105.08339, at 1 bit); |x| / |q| keeps the norm, their
geometric mean. A decoder multiplies and need not know which.
"""

import enum

import numpy as np
from numpy.typing import NDArray

Column = NDArray[np.float64]
"""One number per block, shape (blocks, 1)."""


class Scale(enum.StrEnum):
    """What a scale is chosen for."""

    UNBIASED = "unbiased"
    """The mean over seeds is the vector: for averages over devices."""
    MSE = "mse"
    """Least squared error of one message, always below 1 of the norm: for single receivers."""
    NORM = "norm"
    """The decoded block is as long as the block."""


def scales_of(scale: Scale, energy: Column, overlap: Column, squares: Column) -> Column:
    """Scales for |x|**2, <y, q> and |q|**2 of each block; 0 for blocks of zeros.

    Every step is one correctly rounded binary64 operation, the same on every machine.
    """
    if scale is Scale.NORM:
        return np.sqrt(_over(energy, squares))
    above, below = (energy, overlap) if scale is Scale.UNBIASED else (overlap, squares)
    return _over(above, below)


def _over(above: Column, below: Column) -> Column:
    """Quotients, 0 where there is nothing above or below."""
    return np.divide(above, below, out=np.zeros_like(above), where=(above > 0) & (below > 0))
