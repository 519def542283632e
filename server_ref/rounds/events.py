"""What may happen to a round, and what a round may ask its owner to do."""

import dataclasses

from server_ref.rounds.state import Label, Refuse


@dataclasses.dataclass(frozen=True, slots=True)
class CheckIn:
    """A device asks for work."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class Chunk:
    """A whole chunk was read from the network; may it be written?"""

    device: str
    index: int
    label: Label
    same: bool | None = None
    """Whether it equals the chunk held under this index; None where none is held."""


@dataclasses.dataclass(frozen=True, slots=True)
class ChunkStored:
    """A chunk that `Store` allowed is on the disk."""

    device: str
    index: int
    label: Label
    same: bool | None = None
    """As in `Chunk`, asked again: another copy may have been quicker."""


@dataclasses.dataclass(frozen=True, slots=True)
class Commit:
    """A device says its update is complete."""

    device: str
    label: Label


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    """The chunks of a device that `Check` named were decoded."""

    device: str
    flaw: Refuse | None = None
    """Why the update cannot be counted; None where it can."""


@dataclasses.dataclass(frozen=True, slots=True)
class Recorded:
    """What `Record` asked for is on the disk."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class NotRecorded:
    """What `Check` or `Record` asked for could not be read or written."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class Decline:
    """A device gives its place back."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Settled:
    """All writes are through and the unfinished updates were decoded."""

    usable: tuple[str, ...] = ()
    """Those that can be counted, in the order in which to count them."""


Event = (
    CheckIn
    | Chunk
    | ChunkStored
    | Commit
    | Checked
    | Recorded
    | NotRecorded
    | Decline
    | Tick
    | Settled
)


# ------------------------------------------------------------------ effects


@dataclasses.dataclass(frozen=True, slots=True)
class Offer:
    """Answer the check-in with the task; `new` means the admission must be recorded first."""

    device: str
    new: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Wait:
    """Answer the check-in, or the decline, with a pause."""

    why: str


@dataclasses.dataclass(frozen=True, slots=True)
class Store:
    """Write the chunk, then say `ChunkStored`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """The chunk is held already: nothing to do."""


@dataclasses.dataclass(frozen=True, slots=True)
class Check:
    """Decode the chunks held of this device, then say `Checked`."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """Write this commit, then say `Recorded` or `NotRecorded`."""

    device: str
    order: int


@dataclasses.dataclass(frozen=True, slots=True)
class Receipted:
    """The update counts: answer with its receipt."""

    device: str


@dataclasses.dataclass(frozen=True, slots=True)
class AwaitEnd:
    """Whether the update counts is known when the round is over: ask again then."""


@dataclasses.dataclass(frozen=True, slots=True)
class Close:
    """Wait for commits under way, then say `Settled`."""

    count_unfinished: bool
    """Whether to decode the `unfinished` updates first, in order to count them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Publish:
    """Make a new version of `Round.counted()`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Abandon:
    """Too few updates: keep the model, begin another round."""


Effect = (
    Offer
    | Wait
    | Store
    | Held
    | Check
    | Record
    | Receipted
    | AwaitEnd
    | Close
    | Publish
    | Abandon
    | Refuse
)
