"""Join tokens and devices: changes and queries, each one function of a connection."""

import dataclasses
import sqlite3
from collections.abc import Callable, Mapping

from pydantic import TypeAdapter

from edge_sdk.errors import Reason, Refused
from edge_sdk.protocol import dump_json
from edge_sdk.values import Facts

FACTS = TypeAdapter(Facts)


def add_join_token(
    connection: sqlite3.Connection,
    token_hash: str,
    *,
    uses: int,
    expires_at: float,
    label: str = "",
) -> None:
    """Let `uses` devices join until `expires_at`."""
    connection.execute(
        "INSERT INTO join_tokens (hash, uses, uses_left, expires_at, label) VALUES (?, ?, ?, ?, ?)",
        (token_hash, uses, uses, expires_at, label),
    )


def enrol_device(
    connection: sqlite3.Connection,
    *,
    join_hash: str,
    attempt_hash: str | None,
    name: Callable[[int], str],
    token_hash: str,
    facts: Facts,
    at: float,
) -> str:
    """Use a join token once and record the device, both or neither; its id.

    An `attempt_hash` that made a device before gives that device, whose token is replaced; the join
    token's uses are left alone, but it may not have expired.

    `name` gives the id of the device that is the n-th to join.

    Raises:
        Refused: `unauthorised` when the token is unknown, used up, withdrawn or expired; which is
            not told.
            `revoked` when the attempt's device was withdrawn.
    """
    known = _renew_device(connection, join_hash, attempt_hash, token_hash, at)
    if known is not None:
        return known
    used = connection.execute(
        "UPDATE join_tokens SET uses_left = uses_left - 1"
        " WHERE hash = ? AND uses_left > 0 AND expires_at > ? AND NOT revoked",
        (join_hash, at),
    )
    if used.rowcount != 1:
        raise Refused(Reason.UNAUTHORISED, "join token unknown, used up, withdrawn or expired")
    device = name(int(connection.execute("SELECT count(*) FROM devices").fetchone()[0]))
    connection.execute(
        "INSERT INTO devices (device, token_hash, facts, enrolled_at, attempt_hash)"
        " VALUES (?, ?, ?, ?, ?)",
        (device, token_hash, dump_json(facts).decode(), at, attempt_hash),
    )
    return device


def _renew_device(
    connection: sqlite3.Connection,
    join_hash: str,
    attempt_hash: str | None,
    token_hash: str,
    at: float,
) -> str | None:
    """The device that this attempt made before, with its new token; None when there is none."""
    found = connection.execute(
        "SELECT device, revoked FROM devices WHERE attempt_hash = ? AND EXISTS"
        " (SELECT 1 FROM join_tokens WHERE hash = ? AND expires_at > ? AND NOT revoked)",
        (attempt_hash, join_hash, at),
    ).fetchone()
    if found is None:
        return None
    if found[1]:
        raise Refused(Reason.REVOKED, "the operator withdrew this device")
    device = str(found[0])
    connection.execute(
        "UPDATE devices SET token_hash = ?, next_token_hash = NULL WHERE device = ?",
        (token_hash, device),
    )
    return device


def device_names(connection: sqlite3.Connection) -> dict[str, str]:
    """What every device calls itself, by id, in the order of enrolment."""
    rows = connection.execute("SELECT device, facts FROM devices ORDER BY enrolled_at, device")
    return {row[0]: FACTS.validate_json(row[1]).name for row in rows}


def devices(connection: sqlite3.Connection) -> list[tuple[str, str | None, str, bool]]:
    """Token hash, next token's hash, device and whether it is revoked, of every device."""
    rows = connection.execute("SELECT token_hash, next_token_hash, device, revoked FROM devices")
    return [(row[0], row[1], row[2], bool(row[3])) for row in rows]


def revoke_device(connection: sqlite3.Connection, device: str) -> None:
    """Withdraw a device."""
    connection.execute(
        "UPDATE devices SET revoked = 1, next_token_hash = NULL WHERE device = ?", (device,)
    )


# ------------------------------------------------------------------ by the operator's command


@dataclasses.dataclass(frozen=True, slots=True)
class TokenRow:
    """A join token as recorded."""

    hash: str
    label: str
    uses: int
    uses_left: int
    expires_at: float
    revoked: bool


def join_tokens(connection: sqlite3.Connection) -> list[TokenRow]:
    """Every join token, by the time it expires."""
    rows = connection.execute(
        "SELECT hash, label, uses, uses_left, expires_at, revoked FROM join_tokens"
        " ORDER BY expires_at, hash"
    )
    return [TokenRow(r[0], r[1], r[2], r[3], r[4], bool(r[5])) for r in rows]


def revoke_token(connection: sqlite3.Connection, beginning: str) -> None:
    """Let nobody join any more by the tokens whose hash begins so.

    Raises:
        Refused: `not-found`.
    """
    changed = connection.execute(
        "UPDATE join_tokens SET revoked = 1 WHERE substr(hash, 1, ?) = ?",
        (len(beginning), beginning),
    )
    if not changed.rowcount:
        raise Refused(Reason.NOT_FOUND, "no such join token")


@dataclasses.dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device as recorded."""

    device: str
    facts: Facts
    enrolled_at: float
    revoked: bool
    seen_at: float | None
    forgotten: bool


def device_rows(connection: sqlite3.Connection) -> list[DeviceRow]:
    """Every device, in the order of enrolment."""
    rows = connection.execute(
        "SELECT device, facts, enrolled_at, revoked, seen_at, forgotten FROM devices"
        " ORDER BY enrolled_at, device"
    )
    return [
        DeviceRow(r[0], FACTS.validate_json(r[1]), r[2], bool(r[3]), r[4], bool(r[5])) for r in rows
    ]


def forget_device(connection: sqlite3.Connection, device: str) -> None:
    """Withdraw a device and erase what names it: facts, tokens, reports. Its id stays.

    The figures of its counted updates are part of versions that were published: they stay too.
    """
    connection.execute(
        "UPDATE devices SET revoked = 1, forgotten = 1, facts = ?, token_hash = ?,"
        " next_token_hash = NULL, attempt_hash = NULL, seen_at = NULL WHERE device = ?",
        (dump_json(Facts()).decode(), f"forgotten {device}", device),
    )
    connection.execute("UPDATE updates SET report = NULL WHERE device = ?", (device,))


def offer_token(connection: sqlite3.Connection, device: str, token_hash: str) -> None:
    """Take a fresh token beside the device's own, until it is first used."""
    connection.execute(
        "UPDATE devices SET next_token_hash = ? WHERE device = ?", (token_hash, device)
    )


def promote_token(connection: sqlite3.Connection, device: str, token_hash: str) -> None:
    """The fresh token was used: the one before is worth nothing from now on."""
    connection.execute(
        "UPDATE devices SET token_hash = next_token_hash, next_token_hash = NULL"
        " WHERE device = ? AND next_token_hash = ?",
        (device, token_hash),
    )


def mark_seen(connection: sqlite3.Connection, seen: Mapping[str, float]) -> None:
    """Record when devices made their latest call."""
    connection.executemany(
        "UPDATE devices SET seen_at = ? WHERE device = ? AND NOT forgotten",
        [(at, device) for device, at in seen.items()],
    )
