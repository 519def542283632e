"""How a bit budget is spread over blocks of uneven energy.

Least total error for a number of bits means equal slopes everywhere: one quantization step for the
whole update, strong blocks in whole steps, weaker ones with the quantizer their size asks for, and
those below the first level sent only sometimes (`ladder`). The step is found by bisection on the
*predicted* size: it must not see the size that the random choices really gave, or the estimate
would be biased. Source of the principle: reverse water-filling, Cover & Thomas, section 10.3.3.
"""

import dataclasses
import itertools

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.ladder import (
    BIT_UNIT,
    BLOCK_SIZES,
    ERROR_UNIT,
    EXACT,
    LEVEL_COST,
    OCTAVES,
    PER_OCTAVE,
    SIZES,
    Reals,
    Whole,
    power_of_two,
    tables,
)
from edge_sdk.errors import Misuse
from edge_sdk.values import Vector

FIRST_LEVELS: dict[int, tuple[int, ...]] = {64: (9, 11), 256: (7, 9, 11), 4096: (4, 6, 8)}
"""By block size: the levels that may be the first one sent."""

EXCHANGE = 0.1155
"""Squared error, in steps squared, that one bit more saves: ln 2 / 6."""

_WORTH = 0.97
"""Smaller blocks take more rotation rounds: their error must be below this share to be chosen."""

_STRIDE = 8
"""First stride of the search for a step."""

_FINE = 16
"""Expected numbers of blocks are counted in such parts."""
_SLAB = 1 << 16
_CENTRE = OCTAVES * PER_OCTAVE
_HEADROOM = 22 * PER_OCTAVE
"""The step is never finer than 2**-22 of the strongest block's root mean square."""
_LEAST_STEP = -180 * PER_OCTAVE
_ROOTS = np.array([power_of_two(i, PER_OCTAVE // 2) for i in range(PER_OCTAVE // 2)]) / 2
"""Mantissas, from 1/2 up, at which the grid of squares has its marks."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spread:
    """How many blocks have which root mean square, on the grid of `PER_OCTAVE` steps per octave."""

    first: int
    """Grid place of the first count."""
    counts: Whole
    zeros: int
    """Blocks that are exactly zero."""

    @property
    def blocks(self) -> int:
        """Blocks in all."""
        return self.zeros + int(self.counts.sum())

    @property
    def last(self) -> int:
        """Grid place of the largest root mean square."""
        return self.first + len(self.counts) - 1


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """How an update will be coded."""

    block: int
    """Coordinates of a block."""
    lowest: int
    """First level that is sent."""
    step: int
    """The update's step is 2**(step / PER_OCTAVE)."""
    bits: float
    """Predicted size without what each chunk costs."""
    error: float
    """Predicted squared error of the whole update."""

    @property
    def step_size(self) -> float:
        """The update's step."""
        return power_of_two(self.step, PER_OCTAVE)


def block_energies(vector: Vector) -> dict[int, Reals]:
    """Sum of squares of every block, by block size; the last block may be a part.

    Squares of float32 are exact in float64, and the sums are taken pair by pair in a fixed order.
    """
    small = np.empty(-(-len(vector) // BLOCK_SIZES[0]))
    for start in range(0, len(vector), _SLAB):
        squares = vector[start : start + _SLAB].astype(np.float64)
        np.square(squares, out=squares)
        sums = sum_groups(squares, BLOCK_SIZES[0])
        small[start // BLOCK_SIZES[0] :][: len(sums)] = sums
    energies = {BLOCK_SIZES[0]: small}
    for finer, size in itertools.pairwise(BLOCK_SIZES):
        energies[size] = sum_groups(energies[finer], size // finer)
    return energies


def spread_of(mean_squares: Reals) -> Spread:
    """Count blocks by root mean square, given its square."""
    first, counts, zeros = 0, np.zeros(1, np.int64), 0
    for start in range(0, len(mean_squares), _SLAB):
        part = mean_squares[start : start + _SLAB]
        positive = part[part > 0]
        zeros += len(part) - len(positive)
        if not len(positive):
            continue
        places = _places(positive)
        low = int(places.min())
        found = np.bincount(places - low)
        if counts.any():
            bottom = min(first, low)
            joined = np.zeros(max(first + len(counts), low + len(found)) - bottom, np.int64)
            joined[first - bottom : first - bottom + len(counts)] = counts
            joined[low - bottom : low - bottom + len(found)] += found
            first, counts = bottom, joined
        else:
            first, counts = low, found
    return Spread(first, counts, zeros)


def spreads_of(energies: dict[int, Reals]) -> dict[int, Spread]:
    """Spread of the blocks' root mean squares, by block size."""
    return {n: spread_of(sums / n) for n, sums in energies.items()}


def best_plan(
    spreads: dict[int, Spread], budget_bits: float, *, sizes: tuple[int, ...] = BLOCK_SIZES
) -> Plan:
    """The plan of least predicted error with blocks of these `sizes`.

    Args:
        spreads: by block size.
        budget_bits: for everything but what each chunk costs; what cannot be met is undercut.
        sizes: coordinates that a block may have.
    """
    best: Plan | None = None
    for n in sorted(sizes, reverse=True):  # with the middle one of its first levels
        near = best.step if best else None
        lowest = FIRST_LEVELS[n][len(FIRST_LEVELS[n]) // 2]
        plan = plan_for(spreads[n], n, lowest, budget_bits, near=near)
        if best is None or plan.error < _WORTH * best.error:
            best = plan
    if best is None:
        raise Misuse("no sizes to choose from")
    for lowest in FIRST_LEVELS[best.block]:
        if lowest != best.lowest:
            spread, near = spreads[best.block], best.step
            plan = plan_for(spread, best.block, lowest, budget_bits, near=near)
            best = plan if plan.error < best.error else best
    return best


def plan_for(
    spread: Spread, block: int, lowest: int, budget_bits: float, *, near: int | None = None
) -> Plan:
    """The finest step whose predicted size is within the budget, looked for around `near`."""
    low = max(spread.last - _HEADROOM, _LEAST_STEP)
    high = max(spread.last + _HEADROOM, low)

    def excess(step: int) -> float:
        return predicted_bits(spread, block, lowest, step) - budget_bits

    guess = near if near is not None else _first_guess(spread, block, budget_bits)
    stride = _STRIDE
    over: float | None = None  # excess at low - 1; under: excess at high
    under: float | None = None
    turns = 0
    while low < high:
        guess = min(max(guess, low), high - 1)
        found = excess(guess)
        if found <= 0:
            high, under = guess, found
        else:
            low, over = guess + 1, found
        turns += 1
        if over is None or under is None:  # go on in steps that grow until both sides are known
            guess = high - stride if over is None else low + stride
            stride *= 4
        elif turns % 6 == 0:
            guess = (low + high) // 2
        else:  # the first step at or after where the line between both ends crosses zero
            guess = low - int((high - low + 1) * -over / (over - under) + 1)
    bits = predicted_bits(spread, block, lowest, low)
    return Plan(block, lowest, low, bits, predicted_error(spread, block, lowest, low))


def _first_guess(spread: Spread, block: int, budget_bits: float) -> int:
    """The step for blocks that are all as strong as the strongest, in fine steps."""
    rate = budget_bits / (block * spread.blocks)
    return spread.last + int(PER_OCTAVE * (2 - rate))


def predicted_bits(spread: Spread, block: int, lowest: int, step: int) -> float:
    """Bits of coefficients, presence and levels."""
    table = tables(lowest)
    counts, window, dropped = _window(spread, step)
    coefficients = int(np.dot(counts, table.cost[window])) * block / BIT_UNIT
    raised = counts * table.share[window]
    levels = np.bincount(table.upper[window], raised, minlength=len(SIZES))
    levels += np.bincount(table.lower[window], counts - raised, minlength=len(SIZES))
    levels[0] += spread.zeros + dropped
    return coefficients + _level_bits(levels)


def predicted_error(spread: Spread, block: int, lowest: int, step: int) -> float:
    """Expected squared error of the whole update."""
    counts, window, _ = _window(spread, step)
    units = int(np.dot(counts, tables(lowest).error[window]))
    return units * ERROR_UNIT * block * power_of_two(step, PER_OCTAVE) ** 2


def block_bits(sizes: Reals, levels: NDArray[np.integer], block: int) -> Reals:
    """Expected bits of the coefficients of blocks whose levels are drawn; `sizes` are in steps."""
    costs = np.append(LEVEL_COST[:EXACT], 0)[np.minimum(levels, EXACT)]
    exact = levels >= EXACT
    places = np.minimum(_places(np.square(sizes[exact])) + _CENTRE, 2 * _CENTRE - 1)
    costs[exact] = tables(1).cost[places]
    bits: Reals = costs * (block / BIT_UNIT)
    return bits


def level_bits(levels: NDArray[np.integer]) -> float:
    """As `predicted_bits` expects it of who is sent and at which level, for drawn levels."""
    return _level_bits(np.bincount(levels, minlength=len(SIZES)))


def price(sums: Reals, plan: Plan) -> float:
    """Predicted error of blocks with these energies plus their bits at the plan's exchange rate."""
    spread = spread_of(sums / plan.block)
    bits = predicted_bits(spread, plan.block, plan.lowest, plan.step)
    error = predicted_error(spread, plan.block, plan.lowest, plan.step)
    return error + bits * EXCHANGE * plan.step_size**2


def _places(squares: Reals) -> Whole:
    """Grid places of the roots of positive numbers, rounded down."""
    mantissa, exponent = np.frexp(squares)
    marks = np.searchsorted(_ROOTS, mantissa, side="right") - 1
    marks += (exponent.astype(np.int64) - 1) * len(_ROOTS)
    return marks


def _window(spread: Spread, step: int) -> tuple[Whole, slice, int]:
    """Counts, the table entries that belong to them, and how many blocks are below the table.

    Blocks above it are left out: no plan for these blocks has so fine a step.
    """
    first = spread.first - step + _CENTRE
    below = min(max(-first, 0), len(spread.counts))
    first += below
    counts = spread.counts[below : below + max(2 * _CENTRE - first, 0)]
    return counts, slice(first, first + len(counts)), int(spread.counts[:below].sum())


def _level_bits(levels: NDArray[np.number]) -> float:
    """Entropy of who is sent and at which level, in bits; `levels` counts blocks by level."""
    counts = np.rint(levels * _FINE).astype(np.int64)
    sent = int(counts[1:].sum())
    absent = int(counts[0])
    logs = _log2(np.concatenate([counts, [sent, sent + absent]]))
    members = int(np.dot(counts[1:], logs[1:-2]))
    presence = (sent + absent) * int(logs[-1]) - sent * int(logs[-2]) - absent * int(logs[0])
    return (1.02 * presence + 1.05 * (sent * int(logs[-2]) - members)) / (_FINE * len(_ROOTS))


def _log2(values: Whole) -> Whole:
    """Logarithm rounded down, in 1/64, the same on every machine; 0 for 0."""
    mantissa, exponent = np.frexp(np.maximum(values, 1).astype(np.float64))
    places: Whole = np.searchsorted(_ROOTS, mantissa, side="right") - 1
    return (exponent.astype(np.int64) - 1) * len(_ROOTS) + places


def half_log2(number: float) -> float:
    """Half the logarithm of a positive number, rounded down to 1/128, the same on every machine."""
    return int(_places(np.array([number]))[0]) / PER_OCTAVE


def entropy_bits(numbers: NDArray[np.integer], *, table: int) -> float:
    """Entropy of whole numbers by their own histogram, and `table` bits for each kind of them."""
    counts = np.bincount(numbers - numbers.min())
    counts = counts[counts > 0]
    *each, whole = _log2(np.append(counts, len(numbers))).tolist()
    bits = len(numbers) * int(whole) - int(np.dot(counts, each))
    return bits / len(_ROOTS) + table * len(counts)


def sum_groups(values: Reals, size: int) -> Reals:
    """Sums of each `size` (a power of two) neighbours, halves added in a fixed order."""
    padded = np.zeros(-(-len(values) // size) * size)
    padded[: len(values)] = values
    rows: NDArray[np.float64] = padded.reshape(-1, size)
    while rows.shape[1] > 1:
        half = rows.shape[1] // 2
        rows = rows[:, :half] + rows[:, half:]
    return rows[:, 0].copy()
