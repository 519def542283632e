"""Promise: a change is whole or not at all, and what was answered is on the disk."""

import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edge_sdk.errors import Misuse, Reason, Refused
from edge_sdk.protocol import dump_json
from edge_sdk.values import Facts
from server_ref.settings import Settings
from server_ref.store import Connection, Database, identities, records
from server_ref.store.migrations import MIGRATIONS


def names(connection: Connection) -> list[str]:
    rows = connection.execute("SELECT device FROM devices ORDER BY device")
    return [row[0] for row in rows]


def enrol(join: str, device: str) -> Callable[[Connection], str]:
    def change(connection: Connection) -> str:
        return identities.enrol_device(
            connection,
            join_hash=join,
            attempt_hash=None,
            name=lambda count: f"{device}{count}",
            token_hash=f"hash of {device}",
            facts=Facts(),
            at=1.0,
        )

    return change


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite3"


def test_changes_survive_and_migrations_run_once(path: Path) -> None:
    for start in range(2):
        database = Database(path)
        if start == 0:
            database.write(
                lambda c: identities.add_join_token(c, "j", uses=1, expires_at=9)
            ).result()
            database.write(enrol("j", "a")).result()
        assert database.read(names) == ["a0"]
        applied = database.read(
            lambda c: c.execute("SELECT count(*) FROM migrations").fetchone()[0]
        )
        assert applied == len(MIGRATIONS)
        database.close()


def test_a_folder_of_the_first_form_is_brought_up_to_date(path: Path) -> None:
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT) STRICT")
    old.executescript(MIGRATIONS[0][1])
    old.execute("INSERT INTO migrations VALUES (0, ?)", (MIGRATIONS[0][0],))
    old.execute("INSERT INTO devices VALUES ('a0', 'hash', '{}', 1.0, 0)")
    old.execute("INSERT INTO runs VALUES ('r', 'p', 1, 1.0)")
    terms = Settings(plan=path).terms()
    for number, loss in ((1, 0.5), (2, None)):
        row = (
            "r",
            number,
            "published",
            number - 1,
            dump_json(terms).decode(),
            1.0,
            2.0,
            loss,
            None,
        )
        old.execute("INSERT INTO rounds VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    old.close()
    database = Database(path)
    assert database.read(names) == ["a0"]
    found = database.read(lambda c: records.rounds(c, "r"))
    assert [(row.measured, row.closing) for row in found] == [(True, None), (False, None)]
    database.close()


def test_updates_and_late_costs_of_older_folders_are_kept(path: Path) -> None:
    before = next(n for n, (name, _) in enumerate(MIGRATIONS) if name.startswith("updates that"))
    old = sqlite3.connect(path, isolation_level=None)
    old.execute("CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT) STRICT")
    for number, (name, statements) in enumerate(MIGRATIONS[:before]):
        old.executescript(statements)
        old.execute("INSERT INTO migrations VALUES (?, ?)", (number, name))
    old.execute(
        "INSERT INTO devices (device, token_hash, facts, enrolled_at) VALUES ('a','h','{}',1)"
    )
    old.execute("INSERT INTO runs VALUES ('r', 'p', 1, 1.0)")
    old.execute(
        "INSERT INTO rounds (run, round, state, model_version, terms, opened_at)"
        " VALUES ('r', 1, 'open', 0, '{}', 1.0)"
    )
    old.execute("INSERT INTO admissions (run, round, device) VALUES ('r', 1, 'a')")
    old.execute("INSERT INTO updates VALUES ('r', 1, 'a', 0, 0, '[[0,2]]', 2, 9, 'sign', NULL, 0)")
    old.execute("INSERT INTO late_costs VALUES ('r', 1, 'a', '{}')")
    old.close()
    database = Database(path)
    (update,) = database.read(lambda c: records.updates(c, "r", 1))
    assert (update.device, update.chunks, update.examples, update.origin) == (
        "a",
        ((0, 2),),
        9,
        None,
    )
    late = database.read(lambda c: c.execute("SELECT device FROM late_costs").fetchall())
    assert [row[0] for row in late] == ["a"]
    assert database.read(lambda c: c.execute("PRAGMA foreign_key_check").fetchall()) == []
    database.close()


def test_a_change_that_raises_is_undone_alone(path: Path) -> None:
    database = Database(path)
    database.write(lambda c: identities.add_join_token(c, "j", uses=3, expires_at=9)).result()
    good = database.write(enrol("j", "a"))
    same_token = database.write(enrol("j", "a"))
    also_good = database.write(enrol("j", "b"))
    assert (good.result(), also_good.result()) == ("a0", "b1")
    with pytest.raises(sqlite3.IntegrityError):
        same_token.result()
    left = database.read(lambda c: c.execute("SELECT uses_left FROM join_tokens").fetchone()[0])
    assert left == 1
    database.close()


def test_a_join_token_admits_as_many_as_it_says_until_it_expires(path: Path) -> None:
    database = Database(path)
    database.write(lambda c: identities.add_join_token(c, "one", uses=1, expires_at=9)).result()
    database.write(lambda c: identities.add_join_token(c, "old", uses=9, expires_at=1.0)).result()
    database.write(enrol("one", "a")).result()
    for join in ("one", "old", "unknown"):
        with pytest.raises(Refused) as refused:
            database.write(enrol(join, "b")).result()
        assert refused.value.reason is Reason.UNAUTHORISED
    assert database.read(names) == ["a0"]
    database.close()


def test_reading_cannot_write(path: Path) -> None:
    database = Database(path)
    with pytest.raises(Refused) as refused:
        database.read(lambda c: c.execute("DELETE FROM devices"))
    assert refused.value.reason is Reason.STORAGE
    database.close()


def test_a_database_of_a_newer_release_is_left_alone(path: Path) -> None:
    database = Database(path)
    database.write(lambda c: c.execute("INSERT INTO migrations VALUES (99, 'from the future')"))
    database.close()
    with pytest.raises(Misuse, match="newer"):
        Database(path)


def test_a_file_that_is_no_database_is_a_storage_refusal(path: Path) -> None:
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(Refused) as refused:
        Database(path)
    assert refused.value.reason is Reason.STORAGE


def test_a_full_disk_refuses_and_leaves_what_was_there(path: Path) -> None:
    database = Database(path)
    database.write(lambda c: identities.add_join_token(c, "j", uses=3, expires_at=9)).result()
    pages = database.read(lambda c: c.execute("PRAGMA page_count").fetchone()[0])
    database.write(lambda c: c.execute(f"PRAGMA max_page_count={pages}")).result()
    with pytest.raises(Refused) as refused:
        database.write(
            lambda c: c.execute("INSERT INTO migrations VALUES (9, ?)", ("x" * 10**6,))
        ).result()
    assert refused.value.reason is Reason.STORAGE
    database.write(lambda c: c.execute("PRAGMA max_page_count=1000000")).result()
    assert database.write(enrol("j", "a")).result() == "a0"
    database.close()


def test_closing_waits_for_a_query_and_refuses_later_ones(path: Path) -> None:
    database = Database(path)
    under_way, may_go_on = threading.Event(), threading.Event()

    def slow(connection: Connection) -> int:
        cursor = connection.execute("SELECT 1 UNION ALL SELECT 2")
        under_way.set()
        may_go_on.wait(10)
        return sum(row[0] for row in cursor)

    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(database.read, slow)
        under_way.wait(10)
        closing = pool.submit(database.close)
        assert not closing.done()
        may_go_on.set()
        assert reading.result() == 3
        closing.result()
    with pytest.raises(Refused) as refused:
        database.read(names)
    assert refused.value.reason is Reason.BUSY
