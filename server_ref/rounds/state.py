"""The state of one round: frozen values."""

import dataclasses
import math
from collections.abc import Mapping
from enum import StrEnum

from edge_sdk.errors import Reason
from edge_sdk.values import Range


class Phase(StrEnum):
    """Where a round is in its life. The values are those of `RoundSummary.state`."""

    OPEN = "open"
    CLOSING = "closing"
    PUBLISHED = "published"
    ABANDONED = "abandoned"


class Standing(StrEnum):
    """Where a device is within a round."""

    ADMITTED = "admitted"
    """Holds a place; chunks may have arrived."""
    CHECKING = "checking"
    """Asked to commit; its chunks are being decoded."""
    RECORDING = "recording"
    """Checked; its commit is on the way to the disk."""
    COMMITTED = "committed"
    """Counts."""
    PARTIAL = "partial"
    """Counts for the chunks that had arrived at the deadline."""
    DROPPED = "dropped"
    """Its update was unusable; it takes no further part in this round."""
    DECLINED = "declined"
    """Gave its place back; it takes no further part in this round."""


COUNTED = frozenset({Standing.COMMITTED, Standing.PARTIAL})
GONE = frozenset({Standing.DROPPED, Standing.DECLINED})
"""Their places are free for others."""
EXPECTED = frozenset({Standing.ADMITTED, Standing.CHECKING, Standing.RECORDING})
"""Their updates may still come."""

MOST_STALENESS = 1000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """When a round admits, closes and publishes."""

    cohort: int
    """Committed updates that close the round."""
    min_updates: int
    """Fewest counted updates that make a new version."""
    deadline_s: float
    """From the first admission until the round closes in any case."""
    over_selection: float = 1.0
    """Places per wanted update; above 1 the slowest are left behind."""
    max_staleness: int | None = None
    """None: everybody trains from the round's version. Else the round is a buffer (see `buffer`)
    that also takes updates trained from up to so many versions before."""

    def __post_init__(self) -> None:
        if not 1 <= self.min_updates <= self.cohort:
            raise ValueError(f"min_updates {self.min_updates} not in 1..cohort {self.cohort}")
        if not (self.deadline_s > 0 and 1 <= self.over_selection <= 100):
            raise ValueError("deadline must be positive, over_selection between 1 and 100")
        if self.max_staleness is not None and not 0 <= self.max_staleness <= MOST_STALENESS:
            raise ValueError(f"staleness {self.max_staleness} is not 0 to {MOST_STALENESS}")

    @property
    def places(self) -> int:
        """Devices that may hold a place at once."""
        return math.ceil(self.cohort * self.over_selection)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What all chunks of one update, and its commit, must agree on."""

    count: int
    """Chunks in the whole update."""
    examples: int
    """Weight."""
    codec: str
    stage: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class Refuse:
    """Answer no."""

    reason: Reason
    detail: str


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The task that a device works on still, of an earlier round than the one it counts in."""

    round: int
    """Its frames and its commit name this one."""
    version: int
    """The model it trains from."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """One device's place in the round."""

    standing: Standing = Standing.ADMITTED
    label: Label | None = None
    """Of the first chunk held; None before."""
    held: int = 0
    """Chunks durably held: bit `i` is chunk `i`."""
    order: int | None = None
    """Position among the counted updates, which is the order of summation."""
    flaw: Refuse | None = None
    """Why the update was dropped, or can no longer come."""
    origin: Origin | None = None
    """None: it works on this round's own task."""
    place_until_s: float = math.inf
    """Until then nobody else may have its place; only buffers take places back."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """State of one round; made by `open_round` and `step` only."""

    number: int
    model_version: int
    rules: Rules
    phase: Phase = Phase.OPEN
    admits_from_s: float | None = None
    """Nobody is admitted before, on the caller's clock; None is at once."""
    deadline_at_s: float | None = None
    """On the caller's clock; None before the first admission."""
    members: Mapping[str, Member] = dataclasses.field(default_factory=dict)
    """By device id."""
    next_order: int = 0

    def counted(self) -> list[tuple[str, Member]]:
        """Devices whose updates count, in the order of summation."""
        members = [(d, m) for d, m in self.members.items() if m.standing in COUNTED]
        return sorted(members, key=lambda pair: pair[1].order or 0)

    def is_declined(self) -> bool:
        """Whether everybody who came gave the place back: nothing failed, nobody had the means."""
        return bool(self.members) and all(
            member.standing is Standing.DECLINED for member in self.members.values()
        )

    def staleness(self, member: Member) -> int:
        """Versions published since the one that a member trains from."""
        return 0 if member.origin is None else self.model_version - member.origin.version

    def standing_count(self, *standings: Standing) -> int:
        """Members in one of `standings`."""
        return sum(member.standing in standings for member in self.members.values())


def ranges(held: int) -> tuple[Range, ...]:
    """Half-open ranges of the bits set in `held`, rising."""
    found: list[Range] = []
    position = 0
    while held:
        zeros = (held & -held).bit_length() - 1
        held >>= zeros
        ones = (~held & (held + 1)).bit_length() - 1
        found.append((position + zeros, position + zeros + ones))
        held >>= ones
        position += zeros + ones
    return tuple(found)


def bits(held: tuple[Range, ...]) -> int:
    """The integer whose `ranges` are `held`."""
    return sum(((1 << end - first) - 1) << first for first, end in held)
