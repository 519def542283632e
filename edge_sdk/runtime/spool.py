"""The trained update on disk before it is sent, and how it is delivered.

One file holds task, commit and frames as one fact: it is there whole or not at all. It is written
before the first byte goes out and removed after the receipt came in, so whatever happens between
(a power cut, a lost answer, a server restart) delivery starts again by asking what the server
holds. The server counts an update once, by run, round and device, so asking again is safe.
"""

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic.dataclasses import dataclass as checked_dataclass

from edge_sdk.errors import Corrupt, Malformed, Reason, Unreachable
from edge_sdk.interfaces import Transport
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.runtime.records import (
    MAX_HEADER_BYTES,
    load_record,
    remove_durably,
    save_record,
    set_aside,
)
from edge_sdk.values import STRICT, Commit, Count, Progress, Range, Receipt, Task

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


@dataclasses.dataclass(frozen=True, slots=True)
class TrainedUpdate:
    """An update ready to be sent."""

    task: Task
    commit: Commit
    frames: tuple[bytes, ...] = dataclasses.field(repr=False)
    """Chunk i is frame i."""


@checked_dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Header:
    task: Task
    commit: Commit
    frame_bytes: tuple[Count, ...]


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
        header = _Header(
            task=update.task,
            commit=update.commit,
            frame_bytes=tuple(map(len, update.frames)),
        )
        save_record(self._path, dump_json(header), update.frames)

    def load(self) -> TrainedUpdate | None:
        """The update under way, if any. A file that cannot be read is set aside, and said so."""
        try:
            record = load_record(self._path)
            return None if record is None else _parsed(record.header, record.body)
        except Malformed as error:
            aside = set_aside(self._path)
            _log.warning("spooled update unreadable (%s); set aside as %s", error, aside.name)
            return None

    def clear(self) -> None:
        """Forget the update, durably."""
        remove_durably(self._path)


def _parsed(header: bytes, body: bytes) -> TrainedUpdate:
    fields = load_json(_Header, header, limit=MAX_HEADER_BYTES)
    if sum(fields.frame_bytes) != len(body) or len(fields.frame_bytes) != fields.commit.chunks:
        raise Corrupt("frames of another size or number than its header says")
    frames: list[bytes] = []
    start = 0
    for size in fields.frame_bytes:
        frames.append(body[start : start + size])
        start += size
    return TrainedUpdate(fields.task, fields.commit, tuple(frames))


def missing_chunks(count: int, held: Sequence[Range]) -> list[int]:
    """Which of the chunks 0 up to `count - 1` lie in none of the half-open ranges `held`."""
    lacking = np.ones(count, np.bool_)
    for first, end in held:
        lacking[first : min(end, count)] = False
    return [int(index) for index in np.flatnonzero(lacking)]


async def deliver(transport: Transport, update: TrainedUpdate, *, first_try: bool) -> Receipt:
    """Send what the server lacks of `update` and close it.

    Args:
        transport: to the server.
        update: what to send.
        first_try: nothing of it was sent yet, so there is no need to ask what the server holds.

    Raises:
        Unreachable: try again later; what arrived is held.
        Refused: by the server; see `FINAL_REFUSALS`.
        Malformed: the server's answer is not what the protocol says.
    """
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
