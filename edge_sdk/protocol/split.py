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

from pydantic import TypeAdapter

from edge_sdk.values import Refusal
from edge_sdk.values.splitting import SplitBegin, SplitEnd, SplitEnded, SplitReady

SPLIT = "/v1/runs/{run}/rounds/{round}/split"
"""WebSocket of one device in one round."""

MAX_SPLIT_TEXT_BYTES = 4096
"""Largest text message."""


SPLIT_ASK: TypeAdapter[SplitBegin | SplitEnd] = TypeAdapter(SplitBegin | SplitEnd)
"""Reads text from a device."""

SPLIT_ANSWER: TypeAdapter[SplitReady | SplitEnded | Refusal] = TypeAdapter(
    SplitReady | SplitEnded | Refusal
)
"""Reads text from a server."""
