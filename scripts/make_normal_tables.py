"""Lloyd-Max quantizers of the standard normal distribution, printed as `edge_sdk/codecs/normal.py`.

Run `python -m scripts.make_normal_tables` and redirect. Only the positive half is made: the
quantizers are symmetric and zero is a threshold.

The optimal cell of level c_k lies between the midpoints to its neighbours, and c_k is the mean of
the normal distribution within its cell (Lloyd 1957/1982, Max 1960). Both conditions are solved
together by Newton's method on the levels; plain Lloyd iteration needs millions of steps at 8 bits.
"""

import math
import sys

import numpy as np
from numpy.typing import NDArray

UNITS_PER_SIGMA = 4096
MOST_BITS = 8

Levels = NDArray[np.float64]


def density(x: Levels) -> Levels:
    """Standard normal density."""
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def tail(x: Levels) -> Levels:
    """Probability of exceeding x."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in x])


def edges_of(levels: Levels) -> Levels:
    """Cell borders of positive levels: 0, the midpoints, infinity."""
    return np.concatenate([[0.0], (levels[1:] + levels[:-1]) / 2, [np.inf]])


def lloyd_max(bits: int) -> Levels:
    """The 2**(bits-1) positive levels of the optimal quantizer, ascending."""
    half = 2 ** (bits - 1)
    # Panter and Dite: optimal level density goes as the cube root of the density, sigma sqrt(3).
    levels = np.array([math.sqrt(3) * _normal_quantile((k + 0.5) / half) for k in range(half)])
    for _ in range(100):
        edges = edges_of(levels)
        at_edges, mass = density(edges), tail(edges[:-1]) - tail(edges[1:])
        means = (at_edges[:-1] - at_edges[1:]) / mass
        # d mean_k / d edge: lower edge p(a)(mean-a)/mass, upper edge p(b)(b-mean)/mass.
        lower = at_edges[:-1] * (means - edges[:-1]) / mass
        finite = np.where(np.isinf(edges[1:]), 0.0, edges[1:])
        upper = at_edges[1:] * (finite - means) / mass
        jacobian = np.eye(half)
        for k in range(half):
            if k > 0:
                jacobian[k, k - 1 : k + 1] -= lower[k] / 2
            if k + 1 < half:
                jacobian[k, k : k + 2] -= upper[k] / 2
        step = np.linalg.solve(jacobian, means - levels)
        levels = levels + step
        if np.abs(step).max() < 1e-10:
            return levels
    raise ArithmeticError(f"no convergence at {bits} bits")


def distortion(levels: Levels) -> float:
    """E(Z - Q(Z))**2 of an optimal quantizer: 1 - E Q**2."""
    edges = edges_of(levels)
    return float(1 - 2 * np.sum(levels**2 * (tail(edges[:-1]) - tail(edges[1:]))))


def tables(bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positive levels and positive thresholds in units of sigma / 4096."""
    levels = lloyd_max(bits)
    thresholds = edges_of(levels)[1:-1]
    return _whole(levels), _whole(thresholds)


def _whole(values: Levels) -> tuple[int, ...]:
    return tuple(round(float(value) * UNITS_PER_SIGMA) for value in values)


def _normal_quantile(share: float) -> float:
    """The x > 0 with P(|Z| < x) = share, by bisection."""
    low, high = 0.0, 10.0
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if math.erf(middle / math.sqrt(2)) < share else (low, middle)
    return low


def _lines(name: str, values: tuple[int, ...]) -> str:
    rows = [", ".join(map(str, values[i : i + 12])) for i in range(0, len(values), 12)]
    body = "".join(f"        {row},\n" for row in rows)
    return f"    {name}: (\n{body}    ),\n"


def main() -> None:
    """Print the module."""
    made = {bits: tables(bits) for bits in range(1, MOST_BITS + 1)}
    out = sys.stdout.write
    out('"""Lloyd-Max quantizers of the standard normal distribution as integers.\n\n')
    out("Made by `scripts/make_normal_tables.py`; do not edit. Part of the format (`FORMAT.md`,\n")
    out("section 5.4). Keys are bits; values are the positive half, ascending.\n")
    out('"""\n\n')
    out(f"UNITS_PER_SIGMA = {UNITS_PER_SIGMA}\n")
    out('"""Levels and thresholds are in units of sigma / 4096."""\n\n')
    out("# fmt: off\n")
    for place, name in enumerate(("LEVELS", "THRESHOLDS")):
        out(f"{name}: dict[int, tuple[int, ...]] = {{\n")
        for bits, both in made.items():
            out(_lines(str(bits), both[place]) if both[place] else f"    {bits}: (),\n")
        out("}\n" if place else "}\n\n")
    out("# fmt: on\n")


if __name__ == "__main__":
    main()
