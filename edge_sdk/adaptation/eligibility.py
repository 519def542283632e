"""When this device may work at all: the owner's conditions. Pure.

Looked at before asking for work, after a task came and again and again while training. What the
machine cannot tell counts against it only where being wrong would cost the owner something:

================= =============================================================================
condition         what is not known counts as
================= =============================================================================
`only_charging`   fine without a battery (a board on its supply); else as not charging
`battery_floor`   fine: there is no battery, or its gauge is silent
`hottest_c`       fine
`unmetered`       fine over Ethernet; else as metered
`hours`           outside them, until the clock is set
`most_load`       fine
================= =============================================================================
"""

from dataclasses import dataclass

from edge_sdk.errors import Misuse
from edge_sdk.values import Reading

DAY_S = 86400.0

Hours = tuple[float, float]
"""Local hours from, up to; `(22, 6)` goes over midnight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Eligibility:
    """Conditions under which a device works; the initial value asks for no more than its health.

    Raises:
        Misuse: a number is out of its range.
    """

    only_charging: bool = False
    """Work while power comes from outside only."""
    battery_floor: float = 0.0
    """Charge below which a device that does not charge rests, as a share of full."""
    hottest_c: float = 85.0
    """Temperature of the processor above which it rests."""
    allow_throttled: bool = True
    """Work on while the processor is held back; False rests until it is not."""
    unmetered: bool = False
    """Work over links that cost nothing only."""
    hours: Hours | None = None
    """Work at these hours of the day only."""
    most_load: float | None = None
    """Runnable threads for each core above which others need the machine."""

    def __post_init__(self) -> None:
        if not 0 <= self.battery_floor <= 1:
            raise Misuse(f"a battery floor of {self.battery_floor}, not 0 to 1")
        if self.hours is not None and not all(0 <= hour <= 24 for hour in self.hours):
            raise Misuse(f"hours {self.hours}, not 0 to 24")
        if self.most_load is not None and not self.most_load > 0:
            raise Misuse(f"a load of {self.most_load}")

    def objection(self, now: Reading, *, training: bool = False) -> str | None:
        """Why the device should rest, as a sentence; None when it may work.

        Args:
            now: the latest look.
            training: work is under way: the load is then mostly its own and is not looked at.
        """
        return (
            self._power(now)
            or self._heat(now)
            or self._link(now)
            or self._hour(now)
            or (None if training else self._load(now))
        )

    def _power(self, now: Reading) -> str | None:
        on_supply = now.charging is True or (now.charging is None and now.battery is None)
        if self.only_charging and not on_supply:
            return "it is not charging"
        if on_supply or now.battery is None or now.battery >= self.battery_floor:
            return None
        return f"its battery is at {now.battery:.0%}, below {self.battery_floor:.0%}"

    def _heat(self, now: Reading) -> str | None:
        if now.temperature_c is not None and now.temperature_c > self.hottest_c:
            return f"it is at {now.temperature_c:.0f} degrees C, above {self.hottest_c:.0f}"
        if now.throttled and not self.allow_throttled:
            return f"its processor is held back: {', '.join(now.throttled)}"
        return None

    def _link(self, now: Reading) -> str | None:
        if not self.unmetered or now.metered is False:
            return None
        if now.metered is None:
            if now.link == "ethernet":
                return None
            return "whether its link is metered cannot be told"
        return "its link is metered"

    def _hour(self, now: Reading) -> str | None:
        if self.hours is None:
            return None
        if now.local_s is None:
            return "its clock is not set, so the hour is not known"
        begin, end = self.hours
        hour = now.local_s % DAY_S / 3600
        inside = begin <= hour < end if begin <= end else hour >= begin or hour < end
        return None if inside else f"it works from {begin:g} to {end:g} o'clock only"

    def _load(self, now: Reading) -> str | None:
        if self.most_load is None or now.load is None or now.load <= self.most_load:
            return None
        return f"its load is {now.load:.1f} for each core, above {self.most_load:g}"
