"""Lengths of counted updates: what later rounds clip by."""

import dataclasses
import sqlite3
from collections.abc import Iterable


@dataclasses.dataclass(frozen=True, slots=True)
class LengthRow:
    """One counted update."""

    round: int
    position: int
    length: float
    """Euclidean, before clipping."""
    examples: int


def add_lengths(connection: sqlite3.Connection, run: str, rows: Iterable[LengthRow]) -> None:
    """Record a round's."""
    connection.executemany(
        "INSERT INTO lengths VALUES (?, ?, ?, ?, ?)",
        [(run, *dataclasses.astuple(row)) for row in rows],
    )


def recent_lengths(connection: sqlite3.Connection, run: str, most: int) -> list[LengthRow]:
    """The latest, oldest first."""
    rows = connection.execute(
        "SELECT round, position, length, examples FROM lengths WHERE run = ?"
        " ORDER BY round DESC, position DESC LIMIT ?",
        (run, most),
    )
    return [LengthRow(*row) for row in rows][::-1]
