"""Paths and media types. Braces are aiohttp route parameters and `str.format` fields at once."""

ENROL = "/v1/enrol"
"""POST `Enrol` -> `Enrolled`. The only call without a device token."""

CHECK_IN = "/v1/check-in"
"""POST `CheckIn` -> `Task`, `Wait` or `Finished`."""

PLAN = "/v1/plans/{digest}"
"""GET -> plan bundle. Immutable: ETag, Range."""

MODEL = "/v1/runs/{run}/models/{version}"
"""GET `?have=VERSION` -> model frames. Immutable: ETag, Range."""

UPDATE = "/v1/runs/{run}/rounds/{round}/update"
"""POST chunk frames -> `Progress`; GET -> `Progress`."""

COMMIT = "/v1/runs/{run}/rounds/{round}/commit"
"""POST `Commit` -> `Receipt`. Idempotent by (run, round, device)."""

DECLINE = "/v1/runs/{run}/rounds/{round}/decline"
"""POST `Decline` -> `Wait`. Gives the place back; idempotent."""

RUNS = "/v1/runs"
"""GET -> list of `RunSummary` without rounds. Operator token."""

RUN = "/v1/runs/{run}"
"""GET -> `RunSummary` with its rounds. Operator token."""

HEALTH = "/healthz"
"""GET -> 200 while the server answers. No token."""

JSON_TYPE = "application/json"
FRAMES_TYPE = "application/vnd.edge-sdk.frames"
PLAN_TYPE = "application/vnd.edge-sdk.plan"
