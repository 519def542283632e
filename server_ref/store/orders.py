"""What the operator ordered of a run: each one function of a connection."""

import sqlite3
from typing import Literal, cast

Mode = Literal["running", "paused", "stopped"]


def set_mode(connection: sqlite3.Connection, run: str, mode: Mode) -> None:
    """Record how the run goes on from here, over restarts too."""
    connection.execute(
        "INSERT INTO run_modes VALUES (?, ?) ON CONFLICT DO UPDATE SET mode = excluded.mode",
        (run, mode),
    )


def mode_of(connection: sqlite3.Connection, run: str) -> Mode:
    """How the run goes on; `running` where nothing was ordered."""
    query = "SELECT mode FROM run_modes WHERE run = ?"
    found = connection.execute(query, (run,)).fetchone()
    return "running" if found is None else cast("Mode", found[0])


def add_rollback(
    connection: sqlite3.Connection, run: str, version: int, *, source: int, at: float
) -> None:
    """Record that `version` has the weights of `source`, because the operator went back."""
    connection.execute("INSERT INTO rollbacks VALUES (?, ?, ?, ?)", (run, version, source, at))


def rollbacks(connection: sqlite3.Connection, run: str) -> dict[int, int]:
    """Versions that are older ones again, and which."""
    query = "SELECT version, source FROM rollbacks WHERE run = ?"
    return {row[0]: row[1] for row in connection.execute(query, (run,))}
