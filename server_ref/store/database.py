"""SQLite with one writer. A change is a function of a connection: whole or not at all.

One thread owns the writing connection. It runs all changes that queued meanwhile inside one
transaction, each in a savepoint of its own, and answers them after the one commit: a group commit,
like the chunk log's. A change that raises is undone alone. WAL with `synchronous=FULL`: what was
answered survives a power cut.
"""

import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Generic, TypeVar

from edge_sdk.errors import Reason, Refused
from server_ref.store.files import storage_refusal
from server_ref.store.migrations import migrate

T = TypeVar("T")
Connection = sqlite3.Connection
Change = Callable[[Connection], T]

log = logging.getLogger(__name__)


class _Queued(Generic[T]):
    """One change and the promise of its result."""

    __slots__ = ("_change", "_outcome", "done")

    def __init__(self, change: Change[T]) -> None:
        self._change = change
        self.done: Future[T] = Future()
        self._outcome: Callable[[], None] | None = None

    def run(self, connection: sqlite3.Connection) -> None:
        """Carry the change out in a savepoint and keep the outcome for later."""
        connection.execute("SAVEPOINT change")
        try:
            result = self._change(connection)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - handed to whoever asked for the change
            connection.execute("ROLLBACK TO change")
            raised = error
            self._outcome = lambda: self.done.set_exception(raised)
        else:
            self._outcome = lambda: self.done.set_result(result)
        connection.execute("RELEASE change")

    def tell(self) -> None:
        """Answer, now that the transaction is committed."""
        if self._outcome is not None:
            self._outcome()


class Database:
    """One SQLite file. `write` and `read` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the database and bring it to this release's form.

        Raises:
            Misuse: it was written by a newer release.
            Refused: `storage`.
        """
        try:
            self._writer = _connect(path)
            migrate(self._writer)
            self._reader = _connect(path)
            self._reader.execute("PRAGMA query_only=ON")
        except sqlite3.Error as error:
            raise storage_refusal(error) from error
        self._reading = threading.Lock()
        self._closed = False
        self._queue: queue.SimpleQueue[_Queued[object] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write_groups, name="database", daemon=True)
        self._thread.start()

    def write(self, change: Change[T]) -> "Future[T]":
        """Queue a change; the result comes when it is durable, or what it raised.

        A failing disk is `Refused(storage)`.
        """
        queued = _Queued(change)
        self._queue.put(queued)  # type: ignore[arg-type]  # _Queued is only ever run and told
        return queued.done

    def read(self, query: Change[T]) -> T:
        """The answer of a query to what is committed, in the calling thread.

        Raises:
            Refused: `storage`; `busy` once the database is closed.
        """
        with self._reading:
            if self._closed:
                raise Refused(Reason.BUSY, "the server is stopping", retry_after_s=5.0)
            try:
                return query(self._reader)
            except sqlite3.OperationalError as error:
                raise storage_refusal(error) from error

    def close(self) -> None:
        """Finish what is queued and close the file."""
        self._queue.put(None)
        self._thread.join()
        with self._reading:  # SQLite crashes when a connection is closed under a running query
            self._closed = True
            self._reader.close()
        self._writer.close()

    def _write_groups(self) -> None:
        while (first := self._queue.get()) is not None:
            group: list[_Queued[object]] = [first]
            last = False
            while not last and not self._queue.empty():
                item = self._queue.get()
                if item is None:
                    last = True
                else:
                    group.append(item)
            self._write(group)
            if last:
                return

    def _write(self, group: list[_Queued[object]]) -> None:
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for item in group:
                item.run(self._writer)
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            log.error("cannot write the database: %s", error)  # noqa: TRY400 - the line says all
            with contextlib.suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
            for item in group:
                item.done.set_exception(storage_refusal(error))
        else:
            for item in group:
                item.tell()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection
