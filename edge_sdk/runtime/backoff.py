"""When to try again. Pure: a delay is a function of the failures so far and a seed.

Full jitter after M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): draw
uniformly between zero and an exponentially growing ceiling. Of the schedules compared there it
spreads a herd of clients best for the least work, and a fleet that lost its server together comes
back spread out.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, slots=True)
class Backoff:
    """A schedule of retry delays."""

    base_s: float = 1.0
    """Ceiling after the first failure."""
    cap_s: float = 300.0
    """Ceiling that no number of failures goes over."""
    spread: float = 0.1
    """Jitter on top of a wait that the server asked for, as a share of that wait."""

    def __post_init__(self) -> None:
        if not 0 < self.base_s <= self.cap_s or self.spread < 0:
            raise ValueError(f"not a schedule: {self}")

    def ceiling_s(self, failures: int) -> float:
        """Longest delay after `failures` (at least 1) failures in a row."""
        # 2**60 seconds is beyond any cap; the bound keeps the power finite after weeks of failing.
        return min(self.cap_s, self.base_s * 2.0 ** min(max(failures, 1) - 1, 60))

    def delay_s(self, failures: int, *, seed: int) -> float:
        """Delay before the next try after `failures` failures in a row; equal arguments, equal."""
        return self.ceiling_s(failures) * _uniform(seed, failures)

    def asked_s(self, retry_after_s: float, *, seed: int, turn: int) -> float:
        """A wait the server asked for, never shorter, spread so that a fleet does not march."""
        return retry_after_s * (1.0 + self.spread * _uniform(seed, turn))


def _uniform(seed: int, index: int) -> float:
    """A number in [0, 1) that belongs to (seed, index)."""
    return float(np.random.Generator(np.random.PCG64([seed, index])).random())
