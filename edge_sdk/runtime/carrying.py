"""What a device carries from update to update: a residual or an Artemis memory. Pure.

Both live in the coordinates of the whole model, so that they outlast a change of stage, and belong
to one run. They are saved in one file with the update that they led to (`spool`): what a device
carries, and what it has sent, are one fact.

*Error feedback* encodes the update plus the residual. What is saved with it is what would be owed
if nothing of it were counted, so a lost update is kept whole; of counted chunks only what the codec
left out is kept. Of an unbiased code nothing is kept: its error is noise, not something left out.

*Artemis* encodes the update minus the memory, and moves the memory by what was counted.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from edge_sdk.codecs import codec_from_frame
from edge_sdk.codecs.memory import compensate, difference, memory_after, residual_after
from edge_sdk.interfaces import Codec
from edge_sdk.plan import Spans
from edge_sdk.values import Place, Range, Task, Vector
from edge_sdk.wire import unpack


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Carried:
    """A residual or a memory."""

    kind: Literal["error-feedback", "artemis"]
    run: str
    round: int | None = None
    """Whose receipt moved an Artemis memory last; None while it is zero."""
    vector: Vector = dataclasses.field(repr=False)
    """Of the whole model."""

    def fits(self, task: Task, size: int) -> bool:
        """Whether `task` asks for this kind of a model of this size."""
        return (self.kind, self.run, len(self.vector)) == (task.memory, task.run, size)


@dataclasses.dataclass(frozen=True, slots=True)
class ToSend:
    """What to encode, and what to save beside it."""

    vector: Vector
    """In the stage's coordinates."""
    owed: Carried | None
    """What is carried on if nothing of it is counted."""


def before_sending(
    update: Vector, task: Task, carried: Carried | None, *, where: Spans, size: int
) -> ToSend | None:
    """How to send an update.

    Args:
        update: what was learned, in the stage's coordinates.
        task: says what to carry.
        carried: from before.
        where: the stage's coordinates in the whole model.
        size: of the whole model.

    Returns:
        None when the server wants an Artemis memory that is not held here.
    """
    kept = carried if carried is not None and carried.fits(task, size) else None
    if task.memory == "none":
        return ToSend(update, None)
    if task.memory == "error-feedback":
        residual = np.zeros(size, np.float32) if kept is None else kept.vector.copy()
        compensated = compensate(update, where.take(residual))
        where.put(compensated, residual)
        return ToSend(compensated, Carried(kind="error-feedback", run=task.run, vector=residual))
    if task.memory_round is None:
        kept = None
    elif kept is None or kept.round != task.memory_round:
        return None
    if kept is None:
        kept = Carried(kind="artemis", run=task.run, vector=np.zeros(size, np.float32))
    return ToSend(difference(update, where.take(kept.vector)), kept)


def after_receipt(
    owed: Carried,
    task: Task,
    frames: Sequence[bytes],
    *,
    where: Spans,
    counted: Sequence[Range],
) -> Carried:
    """What is carried on once the server has counted the chunks `counted` of an update.

    Args:
        owed: saved with the update.
        task: the update's.
        frames: of the whole update.
        where: its stage's coordinates in the whole model.
        counted: half-open ranges of chunk numbers; none for an update that came too late.
    """
    if not any(first < end for first, end in counted):
        return owed
    part = where.take(owed.vector)
    unpacked = [unpack(frame) for frame in frames]
    codec = codec_from_frame(unpacked[0].codec, unpacked[0].parameter)
    payloads, seed = [frame.payload for frame in unpacked], task.seed
    number: int | None = None
    if owed.kind == "artemis":
        part = memory_after(
            codec,
            part,
            payloads,
            dimension=len(part),
            seed=seed,
            counted=counted,
            speed=task.memory_speed or 1.0,
        )
        number = task.round
    elif codec.unbiased:
        part = _without(codec, part, payloads, seed=seed, counted=counted)
    else:
        part = residual_after(codec, part, payloads, seed=seed, counted=counted)
    vector = owed.vector.copy()
    where.put(part, vector)
    return dataclasses.replace(owed, vector=vector, round=number)


def _without(
    codec: Codec,
    vector: Vector,
    payloads: Sequence[bytes],
    *,
    seed: int,
    counted: Sequence[Range],
) -> Vector:
    """`vector` with zeros where chunks were counted."""
    left = vector.copy()
    for first, end in counted:
        for index in range(first, end):
            place = Place(len(vector), index, len(payloads), seed)
            piece = codec.decode(payloads[index], place)
            piece.where.put(np.zeros_like(piece.values), left)
    return left
