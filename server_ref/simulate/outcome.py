"""What a simulation found, as plain data."""

import dataclasses
import json
from collections.abc import Sequence
from typing import Literal

from edge_sdk.values.summaries import RoundSummary

Ending = Literal["counted", "late", "gave-up", "sat-out", "open"]
"""`counted`: the server gave a receipt. `late`: the round closed before the update was there.
`gave-up`: the task was begun and there was nothing to send, most often for want of time.
`sat-out`: the policy declined before anything was downloaded. `open`: the run ended first."""

MISSED: frozenset[Ending] = frozenset({"late", "gave-up"})


@dataclasses.dataclass(slots=True, kw_only=True)
class Participation:
    """One device in one round."""

    round: int
    device: int
    group: str
    began_s: float
    """Since the start of the run."""
    deadline_at_s: float
    """When the round was to close, as the task said."""
    ended_s: float = 0.0
    ending: Ending = "open"
    stage: int = 0
    codec: str = ""
    dimension: int | None = None
    """Parameters of the stage that was trained; None when nothing was sent."""
    update_bytes: int | None = None
    """All frames, headers included."""
    energy_j: float = 0.0
    """From the answer to the check-in until the end."""
    why: str = ""

    @property
    def bits(self) -> float | None:
        """Bits of the update for each parameter; None when nothing was sent."""
        if not self.dimension or self.update_bytes is None:
            return None
        return 8 * self.update_bytes / self.dimension


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """One round that is over, and what the fleet had spent by then."""

    round: RoundSummary
    at_s: float
    """When it was over, since the start of the run."""
    energy_j: float
    """Of all devices so far, while awake for the federation."""
    radio_j: float
    """Part of it that radios drew."""
    wire_bytes: int
    """Both ways so far, with HTTP and TCP headers and what was sent again."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A whole run."""

    name: str
    seed: int
    devices: int
    dimension: int
    """Parameters of the whole model."""
    target_accuracy: float | None
    reached: bool
    """Whether a version reached the target; False without one."""
    seconds: float
    """Virtual."""
    rounds: tuple[RoundRecord, ...]
    participations: tuple[Participation, ...]

    @property
    def accuracy(self) -> float | None:
        """Of the last version that was measured."""
        measured = [r.round.accuracy for r in self.rounds if r.round.accuracy is not None]
        return measured[-1] if measured else None

    @property
    def energy_j(self) -> float:
        """Joules of the fleet up to the last round's end."""
        return self.rounds[-1].energy_j if self.rounds else 0.0

    @property
    def bytes_up(self) -> int:
        """HTTP bodies from devices."""
        return sum(record.round.bytes_up for record in self.rounds)

    @property
    def bytes_down(self) -> int:
        """HTTP bodies to devices."""
        return sum(record.round.bytes_down for record in self.rounds)

    def count(self, *endings: Ending) -> int:
        """Participations that ended in one of these ways."""
        return sum(one.ending in endings for one in self.participations)

    @property
    def missed(self) -> int:
        """Tasks begun whose update was not there in time."""
        return self.count(*MISSED)

    def mean_bits(self, of: Sequence[Participation] | None = None) -> float | None:
        """Bits per parameter of the updates sent; None when none was."""
        sent = [one.bits for one in (self.participations if of is None else of)]
        known = [bits for bits in sent if bits is not None]
        return sum(known) / len(known) if known else None


def dump_outcome(outcome: Outcome) -> str:
    """The outcome as JSON: equal outcomes give equal text."""
    plain = dataclasses.asdict(outcome)
    for one, made in zip(plain["participations"], outcome.participations, strict=True):
        one["bits"] = made.bits
    plain |= {
        "accuracy": outcome.accuracy,
        "bytes_up": outcome.bytes_up,
        "bytes_down": outcome.bytes_down,
        "energy_j": outcome.energy_j,
        "missed": outcome.missed,
    }
    return json.dumps(plain, sort_keys=True, indent=1) + "\n"
