"""The schema as ordered steps; each is applied once, and recorded in the same transaction."""

import sqlite3

from edge_sdk.errors import Misuse

FIRST = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY,
    plan TEXT NOT NULL,                 -- SHA-256 of the bundle
    seed INTEGER NOT NULL,              -- every random choice of the run derives from it
    created_at REAL NOT NULL            -- wall clock, for people
) STRICT, WITHOUT ROWID;

CREATE TABLE join_tokens (
    hash TEXT PRIMARY KEY,              -- SHA-256 of the token
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    expires_at REAL NOT NULL            -- wall clock
) STRICT, WITHOUT ROWID;

CREATE TABLE devices (
    device TEXT PRIMARY KEY,
    token_hash TEXT NOT NULL UNIQUE,    -- SHA-256 of the token
    facts TEXT NOT NULL,                -- JSON, as the device said
    enrolled_at REAL NOT NULL,
    revoked INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE rounds (
    run TEXT NOT NULL REFERENCES runs,
    round INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'published', 'abandoned')),
    model_version INTEGER NOT NULL,     -- trained from
    terms TEXT NOT NULL,                -- JSON, fixed when the round opened
    opened_at REAL NOT NULL,
    closed_at REAL,
    loss REAL,                          -- of the version the round made
    accuracy REAL,
    PRIMARY KEY (run, round)
) STRICT, WITHOUT ROWID;

CREATE TABLE admissions (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL REFERENCES devices,
    PRIMARY KEY (run, round, device),
    FOREIGN KEY (run, round) REFERENCES rounds
) STRICT, WITHOUT ROWID;

CREATE TABLE updates (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL,
    position INTEGER NOT NULL,          -- order of summation
    partial INTEGER NOT NULL,
    chunks TEXT NOT NULL,               -- JSON ranges of the chunks counted
    chunk_count INTEGER NOT NULL,
    examples INTEGER NOT NULL,
    codec TEXT NOT NULL,
    report TEXT,                        -- JSON of the commit; none for a partial update
    PRIMARY KEY (run, round, device),
    UNIQUE (run, round, position),
    FOREIGN KEY (run, round, device) REFERENCES admissions
) STRICT, WITHOUT ROWID;

CREATE TABLE versions (
    run TEXT NOT NULL REFERENCES runs,
    version INTEGER NOT NULL,
    round INTEGER,                      -- that made it; none for the plan's own weights
    weights_sha256 TEXT NOT NULL,
    frames_sha256 TEXT NOT NULL,
    PRIMARY KEY (run, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE traffic (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL,
    bytes_up INTEGER NOT NULL,
    bytes_down INTEGER NOT NULL,
    PRIMARY KEY (run, round, device)
) STRICT, WITHOUT ROWID;
"""

SECOND = """
-- attempt_hash: of the join token and the device's own secret
-- measured: 1 also where measuring failed
-- closing: 1 while a round closes and counts unfinished updates, 0 while it closes without
ALTER TABLE devices ADD COLUMN attempt_hash TEXT;
CREATE UNIQUE INDEX devices_by_attempt ON devices (attempt_hash);
ALTER TABLE admissions ADD COLUMN declined INTEGER NOT NULL DEFAULT 0;
ALTER TABLE rounds ADD COLUMN measured INTEGER NOT NULL DEFAULT 0;
UPDATE rounds SET measured = 1 WHERE loss IS NOT NULL;
ALTER TABLE rounds ADD COLUMN closing INTEGER;
"""

OPERATING = """
-- next_token_hash: of a fresh token that replaces the device's own when it is first used
-- seen_at: wall clock of the device's latest call
-- forgotten: nothing that names the device is kept; its id stays, for the history's sake
-- rollbacks: versions that were published because the operator went back to an older one
ALTER TABLE join_tokens ADD COLUMN uses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE join_tokens ADD COLUMN label TEXT NOT NULL DEFAULT '';
ALTER TABLE join_tokens ADD COLUMN revoked INTEGER NOT NULL DEFAULT 0;
UPDATE join_tokens SET uses = uses_left;
ALTER TABLE devices ADD COLUMN next_token_hash TEXT;
ALTER TABLE devices ADD COLUMN seen_at REAL;
ALTER TABLE devices ADD COLUMN forgotten INTEGER NOT NULL DEFAULT 0;
CREATE UNIQUE INDEX devices_by_next_token ON devices (next_token_hash);
CREATE TABLE run_modes (
    run TEXT PRIMARY KEY REFERENCES runs,
    mode TEXT NOT NULL CHECK (mode IN ('running', 'paused', 'stopped'))
) STRICT, WITHOUT ROWID;
CREATE TABLE rollbacks (
    run TEXT NOT NULL REFERENCES runs,
    version INTEGER NOT NULL,
    source INTEGER NOT NULL,
    at REAL NOT NULL,
    PRIMARY KEY (run, version)
) STRICT, WITHOUT ROWID;
"""

LATE_COSTS = """
CREATE TABLE late_costs (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL,
    costs TEXT NOT NULL,                -- JSON, told with a check-in after the round's commit
    PRIMARY KEY (run, round, device),
    FOREIGN KEY (run, round, device) REFERENCES updates
) STRICT, WITHOUT ROWID;
"""

MODELS = """
-- files: SHA-256 by name of further files of a version, JSON
-- contents: where its segments stand in its files, JSON; none of versions that have one segment
-- kept: 0 once its files are removed
-- stage: that the update was trained for
-- error: that its code states of itself
-- admissions.memory_round: round whose memory the device was told to go on from; none is zero
-- fleet: devices that the mean of memories is taken over
ALTER TABLE versions ADD COLUMN files TEXT NOT NULL DEFAULT '{}';
ALTER TABLE versions ADD COLUMN contents TEXT;
ALTER TABLE versions ADD COLUMN kept INTEGER NOT NULL DEFAULT 1;
ALTER TABLE updates ADD COLUMN stage INTEGER NOT NULL DEFAULT 0;
ALTER TABLE admissions ADD COLUMN memory_round INTEGER;
ALTER TABLE rounds ADD COLUMN fleet INTEGER;
CREATE TABLE memories (
    run TEXT NOT NULL REFERENCES runs,
    device TEXT NOT NULL REFERENCES devices,
    round INTEGER NOT NULL,             -- that moved it last; part of its file's name
    weight REAL NOT NULL,               -- in the mean of memories
    segments TEXT NOT NULL,             -- JSON, those it was ever moved in
    sha256 TEXT NOT NULL,
    PRIMARY KEY (run, device)
) STRICT, WITHOUT ROWID;
"""

LENGTHS = """
CREATE TABLE lengths (                  -- of counted updates, where aggregation looks at them
    run TEXT NOT NULL REFERENCES runs,
    round INTEGER NOT NULL,
    position INTEGER NOT NULL,          -- order of summation
    length REAL NOT NULL,               -- Euclidean, before clipping
    examples INTEGER NOT NULL,
    PRIMARY KEY (run, round, position)
) STRICT, WITHOUT ROWID;
"""

SMALL = """
-- small: whether the device may train a smaller stage than the round's own
ALTER TABLE admissions ADD COLUMN small INTEGER NOT NULL DEFAULT 0;
"""

BUFFERS = """
-- round: of the task that an update answers; counted_in: round, as late or later, that it counts in
CREATE TABLE late_costs_before AS SELECT * FROM late_costs;
DROP TABLE late_costs;
CREATE TABLE updates_now (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL,
    position INTEGER NOT NULL,          -- order of summation
    partial INTEGER NOT NULL,
    chunks TEXT NOT NULL,               -- JSON ranges of the chunks counted
    chunk_count INTEGER NOT NULL,
    examples INTEGER NOT NULL,
    codec TEXT NOT NULL,
    report TEXT,                        -- JSON of the commit; none for a partial update
    stage INTEGER NOT NULL DEFAULT 0,
    counted_in INTEGER NOT NULL,
    PRIMARY KEY (run, round, device),
    UNIQUE (run, counted_in, position),
    FOREIGN KEY (run, round, device) REFERENCES admissions
) STRICT, WITHOUT ROWID;
INSERT INTO updates_now SELECT run, round, device, position, partial, chunks, chunk_count,
    examples, codec, report, stage, round FROM updates;
DROP TABLE updates;
ALTER TABLE updates_now RENAME TO updates;
CREATE TABLE late_costs (
    run TEXT NOT NULL,
    round INTEGER NOT NULL,
    device TEXT NOT NULL,
    costs TEXT NOT NULL,                -- JSON, told with a check-in after the round's commit
    PRIMARY KEY (run, round, device),
    FOREIGN KEY (run, round, device) REFERENCES updates
) STRICT, WITHOUT ROWID;
INSERT INTO late_costs SELECT * FROM late_costs_before;
DROP TABLE late_costs_before;
"""

MIGRATIONS: tuple[tuple[str, str], ...] = (
    ("first form", FIRST),
    ("attempts, declines, failed evaluations, closing rounds", SECOND),
    ("tokens and devices by command, modes of a run, rollbacks", OPERATING),
    ("late costs", LATE_COSTS),
    ("versions by segment, stages, memories", MODELS),
    ("lengths of updates", LENGTHS),
    ("small places", SMALL),
    ("updates that count in a later round", BUFFERS),
)
"""Name and statements, oldest first. Released ones never change; new ones go to the end."""


def migrate(connection: sqlite3.Connection) -> None:
    """Apply what is missing.

    Raises:
        Misuse: the database has migrations this release does not know.
    """
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT) STRICT"
    )
    known = [row[0] for row in connection.execute("SELECT name FROM migrations ORDER BY number")]
    if known != [name for name, _ in MIGRATIONS[: len(known)]]:
        raise Misuse("the state folder was written by another, newer release")
    for number, (name, statements) in enumerate(MIGRATIONS[len(known) :], start=len(known)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in statements.split(";\n"):
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, name))
            connection.execute("COMMIT")
        except sqlite3.Error:
            connection.execute("ROLLBACK")
            raise
