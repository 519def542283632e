"""What a joule says of itself, and what a source of joules must be able to do.

A reading is a counter: joules since its source was opened. Two readings of one source make an
`Energy`, with the method that found it and how far it may be off. Absence is None, never zero.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from edge_sdk.values import EnergyMethod as Method

Scope = Literal["device", "module", "package"]
"""What drew it. `device`: everything behind the supply's meter. `module`: a computer-on-module
without the board that carries it. `package`: processor and memory."""

MAX_MISSED_SHARE = 0.1
"""Longest part of a phase that may have gone unseen; with more, the phase has no figure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """One source of joules, as it describes itself."""

    source: str
    """Name of the reader: `hwmon`, `pmic`, `rapl`, `battery` or `estimate`."""
    method: Method
    scope: Scope
    uncertainty: float
    """Half-width of the interval the true figure lies in, as a share of the figure."""
    detail: str
    """A phrase for people: which chip, rail, zone or table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """Joules so far. Only differences mean anything."""

    at_s: float
    """Monotonic clock, seconds; of the last look at the source, up to which the joules count."""
    joules: float
    """Drawn since the source was opened, as far as it was seen."""
    missed_s: float = 0.0
    """Seconds since the source was opened for which nothing was seen, e.g. while charging."""
    resolution_j: float = 0.0
    """Step of the counter, or what passes between two samples: error of a difference, absolute."""
    sampling_cpu_s: float = 0.0
    """CPU seconds that looking has cost so far, where a thread has to look again and again."""
    about: About


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Joules of one phase."""

    joules: float
    uncertainty_j: float
    """The true figure is expected within `joules ± uncertainty_j`."""
    seconds: float
    missed_s: float
    sampling_cpu_s: float
    """CPU seconds spent on finding this figure; 0 where nothing runs for it."""
    method: Method
    scope: Scope
    source: str


def energy_between(before: EnergyReading | None, after: EnergyReading | None) -> Energy | None:
    """What was drawn from one reading to the other.

    None when either is missing, they are of different sources, the counter ran backwards, or more
    than `MAX_MISSED_SHARE` of the time went unseen. What went unseen below that is not made up; it
    widens the uncertainty by as much as it would have drawn at the mean power.
    """
    if before is None or after is None or before.about != after.about:
        return None
    seconds, joules = after.at_s - before.at_s, after.joules - before.joules
    missed_s = max(0.0, after.missed_s - before.missed_s)
    if seconds < 0 or joules < 0 or missed_s > MAX_MISSED_SHARE * seconds:
        return None
    unseen_j = joules * missed_s / (seconds - missed_s) if missed_s > 0 else 0.0
    about = after.about
    return Energy(
        joules=joules,
        uncertainty_j=about.uncertainty * joules + after.resolution_j + unseen_j,
        seconds=seconds,
        missed_s=missed_s,
        sampling_cpu_s=max(0.0, after.sampling_cpu_s - before.sampling_cpu_s),
        method=about.method,
        scope=about.scope,
        source=about.source,
    )


class EnergyReader(Protocol):
    """A source of joules."""

    @property
    def about(self) -> About:
        """What it is and how far its figures may be off."""
        ...

    def read(self) -> EnergyReading | None:
        """Joules so far; None when it cannot tell now. Never raises, never runs backwards."""
        ...

    def close(self) -> None:
        """Stop whatever runs for it; `read` gives None afterwards or the last figure for ever."""
        ...


class PowerSource(Protocol):
    """A source of watts; `sampler.SampledEnergy` makes a source of joules of it."""

    @property
    def about(self) -> About:
        """What it is; its method is `integrated`."""
        ...

    @property
    def interval_s(self) -> float:
        """How often it is worth asking."""
        ...

    def power_w(self) -> float | None:
        """Watts drawn now, never negative; None when it cannot tell. Never raises."""
        ...
