"""Power readings to joules. Pure: real timestamps go in, joules come out.

The trapezoid rule joins neighbouring samples with a straight line. A pause longer than `max_gap_s`
(the machine slept, the meter was unplugged, the sampler was starved) is not joined: nobody knows
what was drawn, so it counts as missed time and adds no joules.
"""

import math
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Integral:
    """Everything the integrator knows; the initial value has seen nothing."""

    joules: float = 0.0
    covered_s: float = 0.0
    """Seconds that the joules stand for."""
    missed_s: float = 0.0
    """Seconds in gaps."""
    samples: int = 0
    last_at_s: float | None = None
    last_w: float = 0.0


def add_sample(
    integral: Integral, at_s: float, power_w: float | None, *, max_gap_s: float
) -> Integral:
    """The integral after one more sample, taken at `at_s` on a monotonic clock.

    A sample without a usable figure (None, negative, NaN, infinite) is no sample: a single failed
    read is bridged by its neighbours, a long row of them becomes a gap. A clock that ran backwards
    means that another one is in use now; integration starts anew from there.
    """
    if power_w is None or not math.isfinite(power_w) or power_w < 0 or not math.isfinite(at_s):
        return integral
    here = replace(integral, samples=integral.samples + 1, last_at_s=at_s, last_w=power_w)
    if integral.last_at_s is None:
        return here
    step_s = at_s - integral.last_at_s
    if step_s <= 0:
        return here if step_s < 0 else integral
    if step_s > max_gap_s:
        return replace(here, missed_s=integral.missed_s + step_s)
    return replace(
        here,
        joules=integral.joules + 0.5 * (integral.last_w + power_w) * step_s,
        covered_s=integral.covered_s + step_s,
    )
