"""The trained update on disk before it is sent, and how it is delivered.

One file holds task, commit, frames and what the device carries on (`carrying`) as one fact: it is
there whole or not at all. It is written before the first byte goes out; after the receipt came in
it is removed, or holds only what is carried on from there. So whatever happens between
(a power cut, a lost answer, a server restart) delivery starts again by asking what the server
holds. The server counts an update once, by run, round and device, so asking again is safe.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass as checked_dataclass

from edge_sdk.errors import Corrupt, Malformed, Reason, Refused, Unreachable
from edge_sdk.interfaces import Transport
from edge_sdk.plan import Spans
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.runtime.carrying import Carried, after_receipt
from edge_sdk.runtime.records import (
    MAX_HEADER_BYTES,
    load_record,
    remove_durably,
    save_record,
    set_aside,
)
from edge_sdk.values import STRICT, Commit, Count, Progress, Range, Receipt, RunId, Task

_log = logging.getLogger(__name__)

FINAL_REFUSALS = frozenset(
    {
        Reason.ROUND_CLOSED,
        Reason.NOT_ADMITTED,
        Reason.STALE_MODEL,
        Reason.MISMATCH,
        Reason.NOT_FINITE,
        Reason.TOO_LARGE,
        Reason.CONFLICT,
        Reason.NOT_FOUND,
    }
)
"""Refusals after which this update will never be taken.

`malformed` is not one: a body that stalled on a poor link may end in it. Such an update is sent
again until its round closes.
"""

FRUITLESS_REFUSALS = frozenset(
    {Reason.MISMATCH, Reason.NOT_FINITE, Reason.TOO_LARGE, Reason.CONFLICT}
)
"""Of these, the ones while the round goes on: training for it again would end the same way."""

KEPT_REFUSALS = frozenset({Reason.ROUND_CLOSED, Reason.NOT_ADMITTED, Reason.STALE_MODEL})
"""Of these, the ones of an update that is good in itself: where residuals are kept, it goes into
them."""

NOWHERE = Spans(())


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedUpdate:
    """An update ready to be sent."""

    task: Task
    commit: Commit
    frames: tuple[bytes, ...] = dataclasses.field(repr=False)
    """Chunk i is frame i."""
    owed: Carried | None = None
    """What the device carries on if nothing of this is counted."""
    where: Spans = NOWHERE
    """The update's coordinates in what is carried."""


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _CarriedHeader:
    kind: Literal["error-feedback", "artemis"]
    run: RunId
    round: Count | None
    size: Count


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _UpdateHeader:
    task: Task
    commit: Commit
    frame_bytes: tuple[Count, ...]
    where: tuple[tuple[Count, Count], ...]


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Header:
    update: _UpdateHeader | None
    carried: _CarriedHeader | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Kept:
    update: TrainedUpdate | None = None
    carried: Carried | None = None


class Spool:
    """The one place of the one update that may be under way.

    Args:
        path: the file; its folder is made when the first update is saved.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def save(self, update: TrainedUpdate) -> None:
        """Make `update` survive a power cut; any earlier one is replaced.

        Raises:
            Unavailable: the disk is full or read-only.
        """
        self._save(_Kept(update, update.owed))

    def load(self) -> TrainedUpdate | None:
        """The update under way, if any. A file that cannot be read is set aside, and said so."""
        return self._load().update

    def carried(self) -> Carried | None:
        """What the device carries from update to update, if anything."""
        return self._load().carried

    def settle(self, update: TrainedUpdate, counted: Sequence[Range]) -> None:
        """Forget an update of which these chunks were counted, durably; carry the rest on."""
        carried = update.owed
        if carried is not None:
            carried = after_receipt(
                carried, update.task, update.frames, where=update.where, counted=counted
            )
        self._save(_Kept(None, carried))

    def drop(self, update: TrainedUpdate) -> None:
        """Forget an update that cannot be used, durably.

        A residual goes with it: sent again, it would be refused again. A memory did not move.
        """
        owed = update.owed
        self._save(_Kept(None, owed if owed is not None and owed.kind == "artemis" else None))

    def clear(self) -> None:
        """Forget the update and what is carried, durably."""
        remove_durably(self._path)

    def _save(self, kept: _Kept) -> None:
        if kept == _Kept():
            remove_durably(self._path)
            return
        update, carried = kept.update, kept.carried
        header = _Header(
            update=None
            if update is None
            else _UpdateHeader(
                task=update.task,
                commit=update.commit,
                frame_bytes=tuple(map(len, update.frames)),
                where=update.where.runs,
            ),
            carried=None
            if carried is None
            else _CarriedHeader(
                kind=carried.kind, run=carried.run, round=carried.round, size=len(carried.vector)
            ),
        )
        body = [] if update is None else list(update.frames)
        body += [] if carried is None else [carried.vector.astype("<f4").tobytes()]
        save_record(self._path, dump_json(header), body)

    def _load(self) -> _Kept:
        try:
            record = load_record(self._path)
            return _Kept() if record is None else _parsed(record.header, record.body)
        except Malformed as error:
            aside = set_aside(self._path)
            _log.warning("spooled update unreadable (%s); set aside as %s", error, aside.name)
            return _Kept()


def _parsed(header: bytes, body: bytes) -> _Kept:
    fields = load_json(_Header, header, limit=MAX_HEADER_BYTES)
    update, kept = fields.update, fields.carried
    sizes = () if update is None else update.frame_bytes
    size = sum(sizes) + (0 if kept is None else 4 * kept.size)
    if size != len(body) or (update is not None and len(sizes) != update.commit.chunks):
        raise Corrupt("frames of another size or number than its header says")
    frames: list[bytes] = []
    start = 0
    for part in sizes:
        frames.append(body[start : start + part])
        start += part
    carried: Carried | None = None
    if kept is not None:
        vector = np.frombuffer(body, "<f4", offset=start).astype(np.float32)
        carried = Carried(kind=kept.kind, run=kept.run, round=kept.round, vector=vector)
    if update is None:
        return _Kept(None, carried)
    where = Spans(update.where)
    if kept is not None and any(first + size > kept.size for first, size in where.runs):
        raise Corrupt("the update reaches beyond what is carried")
    return _Kept(TrainedUpdate(update.task, update.commit, tuple(frames), carried, where), carried)


def missing_chunks(count: int, held: Sequence[Range]) -> list[int]:
    """Which of the chunks 0 up to `count - 1` lie in none of the half-open ranges `held`."""
    lacking = np.ones(count, np.bool_)
    for first, end in held:
        lacking[first : min(end, count)] = False
    return [int(index) for index in np.flatnonzero(lacking)]


async def deliver(transport: Transport, update: TrainedUpdate, *, first_try: bool) -> Receipt:
    """Send what the server lacks of `update` and close it.

    A round that closed meanwhile may have counted what had arrived: the server is asked once more.

    Args:
        transport: to the server.
        update: what to send.
        first_try: nothing of it was sent yet, so there is no need to ask what the server holds.

    Raises:
        Unreachable: try again later; what arrived is held.
        Refused: by the server; see `FINAL_REFUSALS`.
        Malformed: the server's answer is not what the protocol says.
    """
    try:
        return await _deliver(transport, update, first_try=first_try)
    except Refused as refusal:
        if refusal.reason is not Reason.ROUND_CLOSED:
            raise
        progress = await transport.progress(update.task)
        if progress.receipt is None:
            raise
        return progress.receipt


async def _deliver(transport: Transport, update: TrainedUpdate, *, first_try: bool) -> Receipt:
    progress = Progress() if first_try else await transport.progress(update.task)
    lacking = missing_chunks(len(update.frames), progress.held)
    if progress.receipt is None and lacking:
        progress = await transport.upload(update.task, [update.frames[i] for i in lacking])
        lacking = missing_chunks(len(update.frames), progress.held)
    if progress.receipt is not None:
        return progress.receipt
    if lacking:
        raise Unreachable(f"the server lacks {len(lacking)} of {len(update.frames)} chunks")
    return await transport.commit(update.task, update.commit)
