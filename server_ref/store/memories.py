"""Artemis memories: one row for each device that has one; its vector is a file."""

import dataclasses
import sqlite3
from collections.abc import Iterable

from pydantic import TypeAdapter

SEGMENTS = TypeAdapter(tuple[int, ...])


@dataclasses.dataclass(frozen=True, slots=True)
class MemoryRow:
    """A device's memory as recorded."""

    device: str
    round: int
    """That moved it last; part of its file's name."""
    weight: float
    segments: tuple[int, ...]
    sha256: str


def memories(connection: sqlite3.Connection, run: str) -> dict[str, MemoryRow]:
    """Every memory that is not zero, by device."""
    rows = connection.execute(
        "SELECT device, round, weight, segments, sha256 FROM memories WHERE run = ?"
        " ORDER BY device",
        (run,),
    )
    return {r[0]: MemoryRow(r[0], r[1], r[2], SEGMENTS.validate_json(r[3]), r[4]) for r in rows}


def memory_round(connection: sqlite3.Connection, run: str, device: str) -> int | None:
    """The round that moved a device's memory last; None where it is zero."""
    row = connection.execute(
        "SELECT round FROM memories WHERE run = ? AND device = ?", (run, device)
    ).fetchone()
    return None if row is None else int(row[0])


def put_memories(connection: sqlite3.Connection, run: str, moved: Iterable[MemoryRow]) -> None:
    """Record memories whose files are durable."""
    connection.executemany(
        "INSERT OR REPLACE INTO memories VALUES (?, ?, ?, ?, ?, ?)",
        [
            (run, one.device, one.round, one.weight, SEGMENTS.dump_json(one.segments).decode(),
             one.sha256)
            for one in moved
        ],
    )  # fmt: skip


def drop_memories(connection: sqlite3.Connection, run: str, devices: Iterable[str]) -> None:
    """Their memories are zero again."""
    connection.executemany(
        "DELETE FROM memories WHERE run = ? AND device = ?", [(run, one) for one in devices]
    )


def give_memory(
    connection: sqlite3.Connection, run: str, number: int, device: str, base: int | None
) -> None:
    """Record which memory an admitted device was told to go on from."""
    connection.execute(
        "UPDATE admissions SET memory_round = ? WHERE run = ? AND round = ? AND device = ?",
        (base, run, number, device),
    )


def given_memories(connection: sqlite3.Connection, run: str, number: int) -> dict[str, int]:
    """What `give_memory` recorded, by device; those that begin at zero are not in it."""
    rows = connection.execute(
        "SELECT device, memory_round FROM admissions"
        " WHERE run = ? AND round = ? AND memory_round IS NOT NULL",
        (run, number),
    )
    return {row[0]: row[1] for row in rows}


def count_fleet(connection: sqlite3.Connection, run: str, number: int) -> None:
    """Fix for a round that closes how many devices there are."""
    connection.execute(
        "UPDATE rounds SET fleet = (SELECT count(*) FROM devices WHERE NOT revoked)"
        " WHERE run = ? AND round = ? AND fleet IS NULL",
        (run, number),
    )


def fleet_of(connection: sqlite3.Connection, run: str, number: int) -> int:
    """What `count_fleet` fixed; 0 where it has not."""
    row = connection.execute(
        "SELECT fleet FROM rounds WHERE run = ? AND round = ?", (run, number)
    ).fetchone()
    return int(row[0] or 0)


def withdrawn(connection: sqlite3.Connection) -> set[str]:
    """Devices that were revoked or forgotten: their memories go with them."""
    return {row[0] for row in connection.execute("SELECT device FROM devices WHERE revoked")}
