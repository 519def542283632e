"""What the owner lets the federation use: bytes a month, joules a day. Pure.

Calendar months and days of local time. While the clock is not set the period that was last known
goes on, so that a board without a clock of its own gets no second month by a reboot.

Joules count as far as something measures or estimates them: a device without any source of joules
cannot keep a quota of them, and says so (`edge-sdk doctor`).
"""

import dataclasses
from datetime import datetime, timedelta
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.errors import Misuse
from edge_sdk.values import STRICT, Count, Reading


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Usage:
    """What was used in the periods under way; kept over restarts."""

    month: Count = 0
    """Months since the year 0; 0 before the clock was ever set."""
    day: Count = 0
    """Days since 1970; 0 before the clock was ever set."""
    bytes_in_month: Count = 0
    joules_in_day: Annotated[float, Field(ge=0)] = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """Limits; None is no limit.

    Raises:
        Misuse: a limit is negative.
    """

    bytes_per_month: int | None = None
    """HTTP bodies in both directions."""
    joules_per_day: float | None = None
    memory_bytes: int | None = None
    """That the process may hold: a policy then takes no way of training that is expected to need
    more. Nothing enforces it; see `docs/adaptation.md`."""

    def __post_init__(self) -> None:
        if (self.bytes_per_month or 0) < 0 or (self.joules_per_day or 0) < 0:
            raise Misuse("a quota below 0")
        if self.memory_bytes is not None and self.memory_bytes <= 0:
            raise Misuse(f"a memory limit of {self.memory_bytes} bytes")

    @property
    def meters(self) -> bool:
        """Whether what is used has to be counted."""
        return self.bytes_per_month is not None or self.joules_per_day is not None

    def left(self, usage: Usage, now: Reading) -> Reading:
        """`now` with what is left of each quota."""
        size, joules = self.bytes_per_month, self.joules_per_day
        if self.memory_bytes is not None:
            now = dataclasses.replace(now, memory_limit_bytes=self.memory_bytes)
        if size is None and joules is None:
            return now
        usage = at_time(usage, now)
        return dataclasses.replace(
            now,
            bytes_left=None if size is None else max(0, size - usage.bytes_in_month),
            joules_left=None if joules is None else max(0.0, joules - usage.joules_in_day),
        )


def at_time(usage: Usage, now: Reading) -> Usage:
    """`usage` with what belongs to a past month or day forgotten."""
    if now.local_s is None:
        return usage
    moment = datetime(1970, 1, 1) + timedelta(seconds=now.local_s)  # noqa: DTZ001 - local time
    month, day = 12 * moment.year + moment.month - 1, int(now.local_s // 86400)
    return Usage(
        month=month,
        day=day,
        # Before the clock was set, use belongs to the first month and day that are known.
        bytes_in_month=usage.bytes_in_month if usage.month in (0, month) else 0,
        joules_in_day=usage.joules_in_day if usage.day in (0, day) else 0.0,
    )


def used(usage: Usage, before: Reading, after: Reading) -> Usage:
    """`usage` with what was spent between two readings; what a reading lacks counts as nothing."""
    usage = at_time(usage, after)
    return dataclasses.replace(
        usage,
        bytes_in_month=usage.bytes_in_month
        + _grown(before.sent_bytes, after.sent_bytes)
        + _grown(before.received_bytes, after.received_bytes),
        joules_in_day=usage.joules_in_day
        + max(0.0, (after.energy_j or 0.0) - (before.energy_j or 0.0))
        * (before.energy_j is not None and after.energy_j is not None),
    )


def shortfall(now: Reading, *, size_bytes: int, joules: float | None) -> str | None:
    """Why what is left does not pay for a task, as a sentence; None when it does.

    Args:
        now: with what is left of the quotas.
        size_bytes: to download and upload.
        joules: expected; None where they are not known, which only an empty quota objects to.
    """
    if now.bytes_left is not None and size_bytes > now.bytes_left:
        return (
            f"the round needs {size_bytes:,} bytes, and {now.bytes_left:,} are left of the month's"
        )
    if now.joules_left is not None and (joules or 0.0) >= now.joules_left:
        need = "energy" if joules is None else f"{joules:.0f} J"
        return f"the round needs {need}, and {now.joules_left:.0f} J are left of the day's"
    return None


def _grown(before: int | None, after: int | None) -> int:
    return 0 if before is None or after is None else max(0, after - before)
