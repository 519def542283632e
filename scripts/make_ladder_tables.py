"""Quantizers of the blockwise codec, printed as `edge_sdk/codecs/ladder_table.py`.

Run `python -m scripts.make_ladder_tables` and redirect.

A block of root mean square r, measured in the update's quantization step, gets the uniform
quantizer with a wider zero cell that minimises v + K H / r**2: v is the relative error of the
unbiased estimate, H the entropy in bits, both for the normal distribution, and K = ln 2 / 6 makes
the step of strong blocks exactly one. (|q| is the number of thresholds D (w + k), k = 0, 1, …, at
or below |z|; the estimate is c q with c = 1 / E[z q].)

A rotated block of n coordinates lies on a sphere, so c is taken from a sphere's coordinate, whose
density is proportional to (1 - z**2 / n)**((n - 3) / 2); for it E[z; z > t] has the closed form
used below.
"""

import itertools
import math
import sys
from collections.abc import Callable

import numpy as np

EXPONENTS = (*range(-128, -47, 8), -42, -37, -33, -29, -26, -23, -20, -18, -16, -14, -12, -10)
"""Root mean squares of the levels, in sixteenths of an octave: close where errors are small, so
that rounding a block's size to a level at random adds at most about one percent of its error."""

LAST = {-10: 0.965}
"""Cell of the last level, in the update's steps: it leads over to plain whole steps, so that a
finer step never means fewer bits."""

BLOCKS = (64, 256, 4096)
EXACT = range(-8, 33, 8)
"""Exponents at which the entropy of the plain uniform quantizer of step 1 is tabulated."""

_EXCHANGE = math.log(2) / 6


def tail(t: float) -> float:
    """Probability that a standard normal number exceeds t."""
    return 0.5 * math.erfc(t / math.sqrt(2))


def mean_beyond(t: float) -> float:
    """E[z; z > t] of a standard normal number."""
    return math.exp(-t * t / 2) / math.sqrt(2 * math.pi)


def sphere_mean_beyond(n: int) -> Callable[[float], float]:
    """E[z; z > t] for a coordinate of a random point on the sphere of radius sqrt(n)."""
    log_density = math.lgamma(n / 2) - math.lgamma((n - 1) / 2) - 0.5 * math.log(math.pi * n)
    weight = math.exp(log_density) * n / (n - 1)

    def beyond(t: float) -> float:
        return weight * math.pow(max(1 - t * t / n, 0.0), (n - 1) / 2)

    return beyond


def thresholds(step: float, zero: float) -> list[float]:
    """Positive thresholds that matter to the normal distribution."""
    marks = [step * zero]
    while marks[-1] + step < 9:
        marks.append(marks[-1] + step)
    return marks


def scale(step: float, zero: float, beyond: Callable[[float], float]) -> float:
    """The factor c = 1 / E[z q]."""
    return 1 / (2 * sum(beyond(mark) for mark in thresholds(step, zero)))


def figures(step: float, zero: float) -> tuple[float, float]:
    """Relative error v and entropy H in bits."""
    above = [tail(mark) for mark in thresholds(step, zero)] + [0.0]
    cells = [high - low for high, low in itertools.pairwise(above)]
    square = 2 * sum((k + 1) ** 2 * mass for k, mass in enumerate(cells))
    inner = 1 - 2 * above[0]
    entropy = -inner * math.log2(inner) - 2 * sum(p * math.log2(p) for p in cells if p > 0)
    return scale(step, zero, mean_beyond) ** 2 * square - 1, entropy


def best_quantizer(r: float) -> tuple[float, float]:
    """Step and zero cell of the least v + K H / r**2."""
    best = (math.inf, 0.0, 0.0)
    for zero in np.arange(0.40, 0.501, 0.01):
        for step in np.geomspace(0.8, 7.0, 400):
            v, entropy = figures(float(step), float(zero))
            best = min(best, (v + _EXCHANGE * entropy / r**2, float(step), float(zero)))
    return best[1], best[2]


def row(exponent: int) -> tuple[int, ...]:
    """One level as whole numbers; see the printed documentation."""
    r = 2 ** (exponent / 16)
    step, zero = best_quantizer(r)
    if exponent in LAST:
        step, zero = LAST[exponent] / r, 0.5
    step = round(step * 4096) / 4096
    mark = round(step * zero * 4096)
    zero = mark / 4096 / step
    v, entropy = figures(step, zero)
    scales = [scale(step, zero, sphere_mean_beyond(n)) * r for n in BLOCKS]
    encoder = (round(step * 4096), mark, round(entropy * 4096), round((1 + v) * 4096))
    return (exponent, *(round(c * 2**20) for c in scales), *encoder)


def exact_entropy(exponent: int) -> float:
    """Entropy of round(r z) for a normal z."""
    return figures(2 ** (-exponent / 16), 0.5)[1]


HEAD = '''"""Quantizers of the blockwise codec as integers.

Made by `scripts/make_ladder_tables.py`; do not edit. Columns 0 to 3 of `LEVELS` are part of the
format (`FORMAT.md`, section B.4); the others only serve encoders.
"""

# fmt: off
LEVELS: tuple[tuple[int, ...], ...] = (
    # rms, 1/16 octave | estimate per unit of q in 2**-20 steps, blocks of 64, 256, 4096
    # | quantizer step and first threshold in rms/4096 | entropy, bits/4096 | (1 + v) * 4096
'''


def main() -> None:
    """Print the module."""
    out = sys.stdout.write
    out(HEAD)
    for exponent in EXPONENTS:
        out(f"    ({', '.join(map(str, row(exponent)))}),\n")
    out(")\n\n")
    entropies = [round(exact_entropy(exponent) * 4096) for exponent in EXACT]
    out(f"EXACT_ENTROPY = ({', '.join(map(str, entropies))})\n")
    out('"""Bits/4096 of round(r z), z normal, for r from 2**-0.5 on in half octaves."""\n')
    out("# fmt: on\n")


if __name__ == "__main__":
    main()
