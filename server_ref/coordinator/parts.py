"""What the rest of this room works with."""

import asyncio
import dataclasses
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from edge_sdk.errors import Refused
from edge_sdk.plan import Plan
from edge_sdk.values import Commit, Evaluation, Vector
from edge_sdk.values.operating import Event, EventKind
from server_ref.coordinator.identity import new_token
from server_ref.coordinator.ledger import Ledger
from server_ref.coordinator.news import News
from server_ref.coordinator.publishing import Library
from server_ref.coordinator.traffic import TrafficCounter
from server_ref.settings import Settings
from server_ref.store import Change, ChunkLog, Database, Folder, Sync, records
from server_ref.store.records import RunRow, UpdateRow

T = TypeVar("T")

Evaluate = Callable[[Vector, int], Evaluation]
"""Measures a stage of exact weights of the whole model; runs in a thread."""


class OpenLog(Protocol):
    """Opens the log of a round's chunks."""

    def __call__(self, path: Path, *, sync: Sync) -> ChunkLog:
        """See `ChunkLog`."""
        ...


def _tell_nobody(_line: str) -> None:
    """For servers without a terminal."""


@dataclasses.dataclass(frozen=True, slots=True)
class Surroundings:
    """What the run takes from outside, so that tests can put something else there."""

    now_s: Callable[[], float] = time.monotonic
    wall_s: Callable[[], float] = time.time
    """For people, and for when join tokens expire; nothing else is decided by it."""
    sync: Sync = os.fsync
    new_token: Callable[[], str] = new_token
    tell: Callable[[str], None] = _tell_nobody
    """Shows the operator a line."""
    open_database: Callable[[Path], Database] = Database
    open_log: "OpenLog" = ChunkLog


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RunParts:
    """One run's folder, database, settings and counters."""

    folder: Folder
    database: Database
    settings: Settings
    plan: Plan
    run: RunRow
    outside: Surroundings
    evaluate: Evaluate | None
    library: Library
    traffic: TrafficCounter
    news: News = dataclasses.field(default_factory=News)
    ledger: Ledger = dataclasses.field(default_factory=Ledger)
    recording: asyncio.Lock = dataclasses.field(default_factory=asyncio.Lock)
    """Held while counts are on their way to the database: then they are neither here nor there."""

    def tell(
        self, kind: EventKind, *, number: int | None = None, device: str | None = None, text: str
    ) -> None:
        """Tell whoever listens that something happened."""
        at = self.outside.wall_s()
        self.news.tell(Event(kind=kind, at=at, round=number, device=device, text=text[:200]))

    def counted(
        self, number: int, update: UpdateRow, commit: Commit, done: "asyncio.Future[None]"
    ) -> None:
        """Take a commit into the books once it is recorded."""
        if done.cancelled() or done.exception() is not None:
            return
        self.ledger.add(number, update.device, commit, stage=update.stage)
        text = f"{commit.examples} examples, {commit.codec}"
        self.tell("commit", number=number, device=update.device, text=text)

    def read(self, query: Change[T]) -> T:
        """See `Database.read`."""
        return self.database.read(query)

    async def write(self, change: Change[T]) -> T:
        """See `Database.write`; goes on when the caller is cancelled."""
        return await asyncio.shield(asyncio.wrap_future(self.database.write(change)))

    async def record_traffic(self) -> None:
        """Write the bytes counted so far down.

        Raises:
            Refused: `storage`; the counts are kept for the next time.
        """
        async with self.recording:
            counts = self.traffic.drain()
            try:
                await self.write(lambda c: records.add_traffic(c, self.run.run, counts))
            except Refused:
                self.traffic.put_back(counts)
                raise
