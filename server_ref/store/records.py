"""Changes and queries: each one function of a connection. Run ids and rounds are checked before."""

import dataclasses
import sqlite3
from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import TypeAdapter

from edge_sdk.protocol import dump_json
from edge_sdk.values import Commit, Evaluation, Range, Receipt
from server_ref.downlink import Contents
from server_ref.settings import Terms

RANGES = TypeAdapter(tuple[Range, ...])
TERMS = TypeAdapter(Terms)
FILES = TypeAdapter(dict[str, str])
CONTENTS = TypeAdapter(Contents)


@dataclasses.dataclass(frozen=True, slots=True)
class RunRow:
    """The run a state folder belongs to."""

    run: str
    plan: str
    seed: int


@dataclasses.dataclass(frozen=True, slots=True)
class RoundRow:
    """A round as recorded."""

    number: int
    state: Literal["open", "published", "abandoned"]
    model_version: int
    terms: Terms
    opened_at: float
    closed_at: float | None
    loss: float | None
    accuracy: float | None
    measured: bool
    """Whether figures were sought; there are none where that failed."""
    closing: bool | None
    """Whether unfinished updates count, once the round has begun to close; None before."""


@dataclasses.dataclass(frozen=True, slots=True)
class UpdateRow:
    """A counted update."""

    device: str
    position: int
    """Order of summation."""
    partial: bool
    chunks: tuple[Range, ...]
    chunk_count: int
    examples: int
    codec: str
    stage: int = 0
    origin: int | None = None
    """Round whose task it answers, where that is an earlier one than it counts in."""


@dataclasses.dataclass(frozen=True, slots=True)
class VersionRow:
    """A published version; the files beside the database hold its content."""

    version: int
    round: int | None
    weights_sha256: str
    frames_sha256: str
    files: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """SHA-256 of further files, by name."""
    contents: Contents | None = None
    """Where segments stand; None where the one segment is the whole file of frames."""


@dataclasses.dataclass(frozen=True, slots=True)
class Traffic:
    """HTTP body bytes of one device in one round."""

    round: int
    device: str
    bytes_up: int
    bytes_down: int


# ------------------------------------------------------------------ the run


def find_run(connection: sqlite3.Connection) -> RunRow | None:
    """The one run of this state folder."""
    row = connection.execute("SELECT run, plan, seed FROM runs").fetchone()
    return None if row is None else RunRow(*row)


def begin_run(connection: sqlite3.Connection, run: RunRow, first: VersionRow, at: float) -> None:
    """Record a new run and its version 0."""
    connection.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", (run.run, run.plan, run.seed, at))
    add_version(connection, run.run, first)


# ------------------------------------------------------------------ rounds


def open_round(
    connection: sqlite3.Connection,
    run: str,
    *,
    number: int,
    model_version: int,
    terms: Terms,
    at: float,
) -> None:
    """Record a new open round."""
    connection.execute(
        "INSERT INTO rounds (run, round, state, model_version, terms, opened_at)"
        " VALUES (?, ?, 'open', ?, ?, ?)",
        (run, number, model_version, dump_json(terms).decode(), at),
    )


def mark_closing(
    connection: sqlite3.Connection, run: str, number: int, *, count_unfinished: bool
) -> None:
    """Record that a round takes nothing more, before anything of it is published."""
    connection.execute(
        "UPDATE rounds SET closing = ? WHERE run = ? AND round = ?",
        (count_unfinished, run, number),
    )


def close_round(
    connection: sqlite3.Connection,
    run: str,
    number: int,
    *,
    state: Literal["published", "abandoned"],
    at: float,
) -> None:
    """Record the end of an open round."""
    changed = connection.execute(
        "UPDATE rounds SET state = ?, closed_at = ? WHERE run = ? AND round = ? AND state = 'open'",
        (state, at, run, number),
    )
    if changed.rowcount != 1:
        raise ValueError(f"round {number} is not open")


def rounds(connection: sqlite3.Connection, run: str) -> list[RoundRow]:
    """Every round, oldest first."""
    rows = connection.execute(
        "SELECT round, state, model_version, terms, opened_at, closed_at, loss, accuracy,"
        " measured, closing FROM rounds WHERE run = ? ORDER BY round",
        (run,),
    )
    return [_round(row) for row in rows]


def _round(row: sqlite3.Row) -> RoundRow:
    return RoundRow(
        number=row[0],
        state=row[1],
        model_version=row[2],
        terms=TERMS.validate_json(row[3]),
        opened_at=row[4],
        closed_at=row[5],
        loss=row[6],
        accuracy=row[7],
        measured=bool(row[8]),
        closing=None if row[9] is None else bool(row[9]),
    )


def add_admission(
    connection: sqlite3.Connection, run: str, number: int, device: str, *, small: bool = False
) -> None:
    """Record that a device holds a place, `small` where it may train less; again is the same."""
    connection.execute(
        "INSERT OR IGNORE INTO admissions (run, round, device, small) VALUES (?, ?, ?, ?)",
        (run, number, device, small),
    )


def small_places(connection: sqlite3.Connection, run: str, number: int) -> set[str]:
    """Devices that were let in to train a smaller stage if they want."""
    rows = connection.execute(
        "SELECT device FROM admissions WHERE run = ? AND round = ? AND small", (run, number)
    )
    return {row[0] for row in rows}


def last_trained(connection: sqlite3.Connection, run: str, number: int, device: str) -> int | None:
    """The stage a device trained in the last round before `number` that let it in.

    None where it was never let in, or nothing of it counted.
    """
    row = connection.execute(
        "SELECT u.stage FROM admissions a LEFT JOIN updates u USING (run, round, device)"
        " WHERE a.run = ? AND a.device = ? AND a.round < ? ORDER BY a.round DESC LIMIT 1",
        (run, device, number),
    ).fetchone()
    return None if row is None or row[0] is None else int(row[0])


def decline_place(connection: sqlite3.Connection, run: str, number: int, device: str) -> None:
    """Record that a device gave its place back; again is the same."""
    connection.execute(
        "UPDATE admissions SET declined = 1 WHERE run = ? AND round = ? AND device = ?",
        (run, number, device),
    )


def admissions(connection: sqlite3.Connection, run: str, number: int) -> dict[str, bool]:
    """Devices that were admitted, and whether they hold their place still.

    A place is lost by declining, or with the device itself unless its update counts already.
    """
    rows = connection.execute(
        "SELECT a.device, a.declined OR (d.revoked AND u.device IS NULL)"
        " FROM admissions a JOIN devices d USING (device)"
        " LEFT JOIN updates u USING (run, round, device) WHERE a.run = ? AND a.round = ?",
        (run, number),
    )
    return {row[0]: not row[1] for row in rows}


def add_update(
    connection: sqlite3.Connection, run: str, number: int, update: UpdateRow, commit: Commit | None
) -> None:
    """Record that an update counts in a round: from here on its receipt is fixed."""
    connection.execute(
        "INSERT INTO updates VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            number if update.origin is None else update.origin,
            update.device,
            update.position,
            update.partial,
            RANGES.dump_json(update.chunks).decode(),
            update.chunk_count,
            update.examples,
            update.codec,
            None if commit is None else dump_json(commit).decode(),
            update.stage,
            number,
        ),
    )


def updates(connection: sqlite3.Connection, run: str, number: int) -> list[UpdateRow]:
    """Updates that count in a round, in the order of summation."""
    rows = connection.execute(
        f"{_UPDATES} WHERE run = ? AND counted_in = ? ORDER BY position", (run, number)
    )
    return [_update(row) for row in rows]


def counted_before(
    connection: sqlite3.Connection, run: str, number: int, *, since: int
) -> set[tuple[str, int]]:
    """Device and round of every task since `since` whose update counts in a round before."""
    rows = connection.execute(
        "SELECT device, round FROM updates WHERE run = ? AND round >= ? AND counted_in < ?",
        (run, since, number),
    )
    return {(row[0], row[1]) for row in rows}


def update_of(
    connection: sqlite3.Connection, run: str, number: int, device: str
) -> UpdateRow | None:
    """One device's counted update for the task of a round."""
    row = connection.execute(
        f"{_UPDATES} WHERE run = ? AND round = ? AND device = ?", (run, number, device)
    ).fetchone()
    return None if row is None else _update(row)


def receipt_for(run: str, number: int, update: UpdateRow) -> Receipt:
    """The receipt of a counted update: always the same."""
    return Receipt(run=run, round=number, chunks=update.chunks, examples=update.examples)


_UPDATES = (
    "SELECT device, position, partial, chunks, chunk_count, examples, codec, stage,"
    " nullif(round, counted_in) FROM updates"
)


def _update(row: sqlite3.Row) -> UpdateRow:
    chunks = RANGES.validate_json(row[3])
    return UpdateRow(row[0], row[1], bool(row[2]), chunks, *row[4:])


# ------------------------------------------------------------------ versions and figures


def add_version(connection: sqlite3.Connection, run: str, version: VersionRow) -> None:
    """Record a published version whose files are already durable."""
    contents = version.contents
    connection.execute(
        "INSERT INTO versions (run, version, round, weights_sha256, frames_sha256, files, contents)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            run,
            version.version,
            version.round,
            version.weights_sha256,
            version.frames_sha256,
            FILES.dump_json(dict(version.files)).decode(),
            None if contents is None else CONTENTS.dump_json(contents).decode(),
        ),
    )


def version(connection: sqlite3.Connection, run: str, number: int) -> VersionRow | None:
    """One published version whose files are kept."""
    query = f"{_VERSIONS} AND version = ?"
    row = connection.execute(query, (run, number)).fetchone()
    return None if row is None else _version(row)


def versions(connection: sqlite3.Connection, run: str) -> list[VersionRow]:
    """Every version whose files are kept, oldest first."""
    rows = connection.execute(f"{_VERSIONS} ORDER BY version", (run,))
    return [_version(row) for row in rows]


def drop_versions(connection: sqlite3.Connection, run: str, *, before: int) -> None:
    """The files of versions below `before` are about to be removed."""
    connection.execute("UPDATE versions SET kept = 0 WHERE run = ? AND version < ?", (run, before))


_VERSIONS = (
    "SELECT version, round, weights_sha256, frames_sha256, files, contents FROM versions"
    " WHERE run = ? AND kept"
)


def _version(row: sqlite3.Row) -> VersionRow:
    contents = None if row[5] is None else CONTENTS.validate_json(row[5])
    return VersionRow(
        version=row[0],
        round=row[1],
        weights_sha256=row[2],
        frames_sha256=row[3],
        files=FILES.validate_json(row[4]),
        contents=contents,
    )


def last_version(connection: sqlite3.Connection, run: str) -> int:
    """Number of the newest published version."""
    query = "SELECT max(version) FROM versions WHERE run = ?"
    return int(connection.execute(query, (run,)).fetchone()[0])


def add_evaluation(
    connection: sqlite3.Connection, run: str, number: int, evaluation: Evaluation | None
) -> None:
    """Record how good the version is that a round made; None where that cannot be told."""
    figures = (None, None) if evaluation is None else (evaluation.loss, evaluation.accuracy)
    connection.execute(
        "UPDATE rounds SET loss = ?, accuracy = ?, measured = 1 WHERE run = ? AND round = ?",
        (*figures, run, number),
    )


def add_traffic(connection: sqlite3.Connection, run: str, counts: Iterable[Traffic]) -> None:
    """Add bytes to what is recorded."""
    connection.executemany(
        "INSERT INTO traffic VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
        " bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down",
        [(run, *dataclasses.astuple(count)) for count in counts],
    )


def round_traffic(connection: sqlite3.Connection, run: str) -> dict[int, tuple[int, int]]:
    """Bytes up and down by round."""
    rows = connection.execute(
        "SELECT round, sum(bytes_up), sum(bytes_down) FROM traffic WHERE run = ? GROUP BY round",
        (run,),
    )
    return {row[0]: (row[1], row[2]) for row in rows}


@dataclasses.dataclass(frozen=True, slots=True)
class Tally:
    """Devices and examples of one round."""

    admitted: int = 0
    committed: int = 0
    partial: int = 0
    examples: int = 0


def tallies(connection: sqlite3.Connection, run: str) -> dict[int, Tally]:
    """How many devices were let in, and how many updates counted, by round."""
    rows = connection.execute(
        "SELECT round, sum(admitted), sum(whole), sum(part), sum(examples) FROM ("
        "SELECT round, 1 AS admitted, 0 AS whole, 0 AS part, 0 AS examples FROM admissions"
        " WHERE run = ? AND NOT declined UNION ALL"
        " SELECT counted_in, 0, partial = 0, partial = 1, examples FROM updates WHERE run = ?"
        ") GROUP BY round",
        (run, run),
    )
    return {row[0]: Tally(*row[1:]) for row in rows}
