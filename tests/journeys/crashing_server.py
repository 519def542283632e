"""`python -m server_ref`, but it kills itself with SIGKILL at one chosen moment.

    python crashing_server.py POINT TRACE [server_ref arguments …]

Moments are the starts and ends of every fsync and of every transaction that writes, numbered from 1
in the order in which they come. `POINT` 0 never dies. Each moment's name is appended to `TRACE`, so
that a run which never dies tells how many there are. Nothing in the server knows of this.
"""

import os
import runpy
import signal
import sqlite3
import sys
import threading
from pathlib import Path
from typing import Any

_fsync = os.fsync
_connect = sqlite3.connect


class Moments:
    """Counts moments, and ends the process at one of them."""

    def __init__(self, fatal: int, trace: Path) -> None:
        self._fatal = fatal
        self._trace = trace.open("a", buffering=1)
        self._lock = threading.Lock()
        self._count = 0

    def pass_by(self, name: str) -> None:
        """One more moment."""
        with self._lock:
            self._count += 1
            self._trace.write(f"{name}\n")
            if self._count == self._fatal:
                os.kill(os.getpid(), signal.SIGKILL)


def install(moments: Moments) -> None:
    """Put the moments around the system's fsync and around SQLite's transactions."""

    def fsync(descriptor: int) -> None:
        moments.pass_by("before fsync")
        _fsync(descriptor)
        moments.pass_by("after fsync")

    class Connection(sqlite3.Connection):
        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            moments.pass_by("before transaction")
            cursor = super().execute(sql, *parameters)
            moments.pass_by("after transaction")
            return cursor

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        return _connect(*arguments, factory=Connection, **options)

    os.fsync = fsync  # type: ignore[assignment]  # nobody here gives it a file object
    sqlite3.connect = connect  # type: ignore[assignment]  # same call, other class


if __name__ == "__main__":
    install(Moments(int(sys.argv[1]), Path(sys.argv[2])))
    sys.argv = ["server_ref", *sys.argv[3:]]
    runpy.run_module("server_ref", run_name="__main__")
