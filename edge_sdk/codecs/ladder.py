"""Levels of the blockwise codec: which sizes of blocks it knows, and what each costs and loses.

A block's size is the root mean square of its coordinates in units of the update's step. Level 0 is
"not sent". Levels 1 to `NORMAL` stand for fixed sizes with a quantizer each (`ladder_table`). From
level `EXACT` on a level only says in which half octave the block's size lies; its coefficients are
whole steps, so no size is needed to read them.

Everything here is the same on every machine: whole numbers, and float64 results of operations that
IEEE 754 defines to the last bit (roots, products, comparisons), never of a logarithm.
"""

import dataclasses
import functools

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.ladder_table import EXACT_ENTROPY, LEVELS

PER_OCTAVE = 128
"""Steps per octave of the grid on which sizes are counted and the update's step is chosen."""

OCTAVES = 24
"""How far sizes are followed below and above the update's step."""

BLOCK_SIZES = (64, 256, 4096)
"""Coordinates of a block; a payload names one by its place here."""

NORMAL = len(LEVELS)
"""Levels with a size and a quantizer of their own."""

EXACT = NORMAL + 1
"""First level whose coefficients are whole steps."""

_HALF_OCTAVE = 8
_MOST_EXPONENT = 16 * OCTAVES

Reals = NDArray[np.float64]
Whole = NDArray[np.int64]
Levels = NDArray[np.uint8]

ERROR_UNIT = 2.0**-30
"""Unit of `Tables.error`."""

BIT_UNIT = 4096
"""Units of `Tables.cost` per bit."""


def power_of_two(numerator: int, denominator: int) -> float:
    """2**(numerator / denominator), the denominator itself a power of two, by square roots."""
    whole, part = divmod(numerator, denominator)
    value, root = 1.0, 2.0
    while denominator > 1:
        denominator //= 2
        root = float(np.sqrt(root))
        if part >= denominator:
            value *= root
            part -= denominator
    return float(np.ldexp(value, whole))


_EXPONENTS = [row[0] for row in LEVELS]
_EXPONENTS += list(range(-_HALF_OCTAVE, _MOST_EXPONENT + 1, _HALF_OCTAVE))

SIZES: Reals = np.array([0.0] + [power_of_two(e, 16) for e in _EXPONENTS])
"""Size by level; from `EXACT` on the lower end of the level's half octave."""

MOST_LEVEL = len(SIZES) - 1

ESTIMATES: dict[int, Reals] = {
    n: np.array([0.0] + [row[1 + place] for row in LEVELS] + [2.0**20] * (MOST_LEVEL - NORMAL))
    * 2.0**-20
    for place, n in enumerate(BLOCK_SIZES)
}
"""By block size and level: what one unit of a coefficient stands for, in steps."""

QUANTIZERS: Reals = np.array([(0.0, 0.0)] + [(row[4] / 4096, row[5] / 4096) for row in LEVELS])
"""By level up to `NORMAL`: width of a cell and first threshold, in root mean squares."""

_OVERHEAD = 1.008
"""What the entropy coders need beyond the entropy, as measured."""

_ENTROPY: Reals = np.array([0.0] + [row[6] for row in LEVELS] + [EXACT_ENTROPY[0]])
LEVEL_COST: Whole = np.rint(_ENTROPY * _OVERHEAD).astype(np.int64)
"""By level up to `NORMAL`: bits per coordinate, in 1/`BIT_UNIT`."""

_MOMENT: Reals = np.array([0.0] + [row[7] / 4096 for row in LEVELS]) * SIZES[:EXACT] ** 2
_MOMENT = np.append(_MOMENT, SIZES[EXACT] ** 2 + 1 / 12)
"""By level up to `EXACT`: expected square of the estimate, in steps squared."""


@dataclasses.dataclass(frozen=True)
class Tables:
    """What a block of each size on the grid costs and loses, if `lowest` is the first level sent.

    Entry i belongs to size 2**((i - OCTAVES * PER_OCTAVE) / PER_OCTAVE).
    """

    cost: Whole
    """Expected bits per coordinate, in 1/`BIT_UNIT`."""
    error: Whole
    """Expected squared error per coordinate in steps squared, in `ERROR_UNIT`."""
    lower: Levels
    """Level at or below the size; 0 where it is below `lowest`."""
    upper: Levels
    """Level that the block is raised to at random."""
    share: Reals
    """Probability that it is."""


@functools.cache
def tables(lowest: int) -> Tables:
    """Made once per first level."""
    sizes = np.array(
        [power_of_two(i, PER_OCTAVE) for i in range(-OCTAVES * PER_OCTAVE, OCTAVES * PER_OCTAVE)]
    )
    lower, upper, share = neighbours(sizes, lowest)
    low, high = np.minimum(lower, EXACT), np.minimum(upper, EXACT)
    cost = (1 - share) * _ENTROPY[low] + share * _ENTROPY[high]
    error = (1 - share) * _MOMENT[low] + share * _MOMENT[high] - sizes**2
    exact = sizes >= SIZES[EXACT]
    cost[exact] = _exact_entropy(int(exact.sum()))
    error[exact] = 1 / 12
    return Tables(
        cost=np.rint(cost * _OVERHEAD).astype(np.int64),
        error=np.rint(error / ERROR_UNIT).astype(np.int64),
        lower=lower,
        upper=upper,
        share=share,
    )


def neighbours(sizes: Reals, lowest: int) -> tuple[Levels, Levels, Reals]:
    """Levels around each size and the probability of the upper one that keeps the mean exact.

    From `SIZES[EXACT]` on both are the level that holds the size and the probability is 0.
    """
    level = (np.searchsorted(SIZES, sizes, side="right") - 1).astype(np.uint8)
    lower = np.where(level < lowest, 0, level)
    upper = np.where(level < lowest, lowest, np.minimum(level + 1, EXACT))
    exact = level >= EXACT
    upper[exact] = level[exact]
    gap = SIZES[upper] - SIZES[lower]
    share = np.divide(sizes - SIZES[lower], gap, out=np.zeros(len(sizes)), where=gap > 0)
    return lower, upper, share


def _exact_entropy(count: int) -> Reals:
    """Entropy from size `SIZES[EXACT]` on: tabulated at half octaves, then one bit per octave."""
    half = PER_OCTAVE // 2
    places = np.arange(count)
    index = np.minimum(places // half, len(EXACT_ENTROPY) - 2)
    knots = np.array(EXACT_ENTROPY, np.float64)
    slope = (knots[index + 1] - knots[index]) / half
    beyond = places >= half * (len(EXACT_ENTROPY) - 1)
    slope[beyond] = BIT_UNIT / PER_OCTAVE
    base = np.where(beyond, knots[-1] - half * (len(EXACT_ENTROPY) - 1) * slope, knots[index])
    within = np.where(beyond, places, places - index * half)
    return np.asarray(base + within * slope)
