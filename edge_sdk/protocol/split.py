"""Split learning's session: a WebSocket on which batches go up and gradients come back.

The device opens `SPLIT` with its token and speaks first. Text messages are the JSON below, binary
ones are batch messages (`FORMAT.md`, section P.1); every message of the device has one answer, and
it sends the next only when that has come.

======================= ==================================================================
device                  server
======================= ==================================================================
`SplitBegin`            `SplitReady`, then, where it holds one message more than the device
                        has answers, the answer of that message again
batch message           batch message
`SplitEnd`              `SplitEnded`, then it closes
======================= ==================================================================

A refusal is a `Refusal` as text, after which the server closes. What was answered is durable: after
a broken connection, or a server that died, the device begins again with the same `attempt` and goes
on with its next batch. Another attempt begins from nothing.

The device's own parts travel as an ordinary update whose frames carry stage 254
(`plan.split.DEVICE_PARTS`), their parameters in the plan's order. Its commit counts both halves.
"""

from typing import Annotated, Literal

from pydantic import Field, TypeAdapter
from pydantic.dataclasses import dataclass

from edge_sdk.values import STRICT, CodecSpec, Count, Refusal, Seed

SPLIT = "/v1/runs/{run}/rounds/{round}/split"
"""WebSocket of one device in one round."""

MAX_SPLIT_TEXT_BYTES = 4096
"""Largest text message."""


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


SPLIT_ASK: TypeAdapter[SplitBegin | SplitEnd] = TypeAdapter(SplitBegin | SplitEnd)
"""Reads text from a device."""

SPLIT_ANSWER: TypeAdapter[SplitReady | SplitEnded | Refusal] = TypeAdapter(
    SplitReady | SplitEnded | Refusal
)
"""Reads text from a server."""
