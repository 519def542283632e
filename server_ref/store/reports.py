"""What devices reported of their updates: each one function of a connection."""

import sqlite3
from collections.abc import Mapping

from pydantic import TypeAdapter

from edge_sdk.protocol import dump_json
from edge_sdk.values import Commit, LateCosts

COMMIT = TypeAdapter(Commit)
LATE = TypeAdapter(LateCosts)


def commits(connection: sqlite3.Connection, run: str) -> list[tuple[int, str, int, Commit]]:
    """Round of the task, device, stage and commit of every whole update, in the order counted."""
    rows = connection.execute(
        "SELECT round, device, stage, report FROM updates WHERE run = ? AND report IS NOT NULL"
        " ORDER BY counted_in, position",
        (run,),
    )
    return [(row[0], row[1], row[2], COMMIT.validate_json(row[3])) for row in rows]


def add_late_costs(connection: sqlite3.Connection, device: str, late: LateCosts) -> None:
    """Record costs that a commit could not carry; again is the same."""
    connection.execute(
        "INSERT OR IGNORE INTO late_costs VALUES (?, ?, ?, ?)",
        (late.run, late.round, device, dump_json(late).decode()),
    )


def late_costs(connection: sqlite3.Connection, run: str) -> dict[tuple[int, str], LateCosts]:
    """Late costs by round and device."""
    rows = connection.execute("SELECT round, device, costs FROM late_costs WHERE run = ?", (run,))
    return {(row[0], row[1]): LATE.validate_json(row[2]) for row in rows}


def device_traffic(connection: sqlite3.Connection, run: str) -> dict[str, tuple[int, int]]:
    """Bytes up and down by device."""
    rows = connection.execute(
        "SELECT device, sum(bytes_up), sum(bytes_down) FROM traffic WHERE run = ? GROUP BY device",
        (run,),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def sent_in(connection: sqlite3.Connection, run: str, last: Mapping[str, int]) -> dict[str, int]:
    """Bytes up of each device in the round named for it."""
    found: dict[str, int] = {}
    for device, number in last.items():
        row = connection.execute(
            "SELECT bytes_up FROM traffic WHERE run = ? AND round = ? AND device = ?",
            (run, number, device),
        ).fetchone()
        if row is not None:
            found[device] = row[0]
    return found
