"""What device and server say on a split session's connection; see `protocol.split`."""

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values.scalars import STRICT, CodecSpec, Count, Seed


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitBegin:
    """Begin or go on: the device's first message."""

    kind: Literal["begin"] = "begin"
    attempt: Seed
    """Drawn by the device when it begins to train for a round."""
    answered: Count = 0
    """Batch messages of this attempt whose answer has come."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitReady:
    """How the session goes on."""

    kind: Literal["ready"] = "ready"
    held: Count
    """Batch messages the server has worked in: as many as were answered, or one more."""
    activations: CodecSpec
    """What the device sends at the first cut."""
    gradients: CodecSpec
    """Everything else."""
    correction: Annotated[float, Field(ge=0, le=1e6)]
    """FedLite's lambda, for both sides."""
    most_bytes: Count
    """Largest batch message taken."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitEnd:
    """No more batches."""

    kind: Literal["end"] = "end"
    messages: Count
    """Batch messages of this attempt."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitEnded:
    """The server's half is durable and waits for the device's commit."""

    kind: Literal["ended"] = "ended"
    batches: Count
    examples: Count
    loss: float | None = None
    """Mean over the examples."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class SplitOffer:
    """What the split way of a task costs the device, against training whole; in a `Task`."""

    parameters: Count
    """Numbers that an update of the device's parts carries."""
    download_bytes: Count | None = None
    """Model bytes the device would have to fetch for its parts; None where that is not known."""
    batch_up_bytes: Count
    """Sent for a batch of the task's size: activations and targets, or gradients at a second cut.
    At most, where that depends on the activations."""
    batch_down_bytes: Count
    batch_messages: Annotated[int, Field(ge=1, le=2)] = 1
    """Sent for a batch, each waiting for its answer."""
    working_bytes: Count
    """Estimate of the memory that training the device's parts takes beyond the program's."""
    full_working_bytes: Count
    """Estimate of the same for training whole."""
