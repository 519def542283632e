"""The HTTP API as data: paths, JSON bodies, limits and refusals, shared by device and server.

The messages themselves are the strict dataclasses of `edge_sdk.values`. Everything that never
changes has an immutable URL. Tensors travel as binary frames (`edge_sdk/wire/FORMAT.md`).
"""

from edge_sdk.protocol.bodies import (
    CHECK_IN_ANSWER,
    dump_json,
    load_json,
)
from edge_sdk.protocol.limits import (
    MAX_CHUNKS,
    MAX_JSON_BYTES,
    MAX_LONG_POLL_S,
    MAX_PLAN_BYTES,
)
from edge_sdk.protocol.paths import (
    CHECK_IN,
    COMMIT,
    DECLINE,
    ENROL,
    FRAMES_TYPE,
    HEALTH,
    JSON_TYPE,
    MODEL,
    PLAN,
    PLAN_TYPE,
    RUN,
    RUNS,
    UPDATE,
)
from edge_sdk.protocol.refusals import HTTP_STATUS, refusal_from, refused_from

__all__ = [
    "CHECK_IN",
    "CHECK_IN_ANSWER",
    "COMMIT",
    "DECLINE",
    "ENROL",
    "FRAMES_TYPE",
    "HEALTH",
    "HTTP_STATUS",
    "JSON_TYPE",
    "MAX_CHUNKS",
    "MAX_JSON_BYTES",
    "MAX_LONG_POLL_S",
    "MAX_PLAN_BYTES",
    "MODEL",
    "PLAN",
    "PLAN_TYPE",
    "RUN",
    "RUNS",
    "UPDATE",
    "dump_json",
    "load_json",
    "refusal_from",
    "refused_from",
]
