"""Paths and media types. Braces are aiohttp route parameters and `str.format` fields at once."""

ENROL = "/v1/enrol"
"""POST `Enrol` -> `Enrolled`. The only call without a device token."""

CHECK_IN = "/v1/check-in"
"""POST `CheckIn` -> `Task`, `Wait` or `Finished`."""

PLAN = "/v1/plans/{digest}"
"""GET -> plan bundle. Immutable: ETag, Range."""

MODEL = "/v1/runs/{run}/models/{version}"
"""GET `?have=VERSION&stage=STAGE&held=STAGE` -> model frames that lead from `have` (of the stage
`held`) to the version, of one stage; each may be left out. Immutable: ETag, Range."""

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

READY = "/readyz"
"""GET -> 200 while the server takes work, else 503. No token."""

ROTATE = "/v1/token"
"""POST -> `Enrolled` with a fresh token; the old one works until that is first used. Device."""

TOKENS = "/v1/tokens"
"""GET -> list of `JoinToken`; POST `NewToken` -> `MadeToken`. Operator token, as all below."""

TOKEN = "/v1/tokens/{token}"  # noqa: S105 - a path
"""DELETE -> list of `JoinToken`: nobody joins by it any more."""

DEVICES = "/v1/devices"
"""GET -> list of `Device`."""

DEVICE_REVOKE = "/v1/devices/{device}/revoke"
"""POST -> `Device`: its token is refused from now on."""

DEVICE_FORGET = "/v1/devices/{device}/forget"
"""POST -> `Device`: revoked, and what names it is erased."""

DEVICE_ROTATE = "/v1/devices/{device}/rotate"
"""POST -> `Enrolled`: as `ROTATE`, for the operator to carry over."""

PAUSE = "/v1/runs/{run}/pause"
"""POST -> `RunSummary` without rounds, as the next two: nobody gets new work."""

RESUME = "/v1/runs/{run}/resume"
"""POST: work is given again."""

STOP = "/v1/runs/{run}/stop"
"""POST: no round opens any more; devices are told that the run is finished."""

ROLLBACK = "/v1/runs/{run}/rollback"
"""POST `Rollback` -> `RunSummary` without rounds: an old version is published as a new one."""

WEIGHTS = "/v1/runs/{run}/models/{version}/weights"
"""GET `?averaged=true` -> exact float32 weights, little-endian, or their mean over versions."""

COSTS = "/v1/runs/{run}/costs"
"""GET -> `Costs`."""

REFUSALS = "/v1/refusals"
"""GET -> `Refusals`."""

EVENTS = "/v1/events"
"""GET -> server-sent events, each an `Event`, for ever."""

METRICS = "/metrics"
"""GET -> figures in Prometheus' text format."""

OPENAPI = "/openapi.json"
"""GET -> this table as OpenAPI. No token."""

JSON_TYPE = "application/json"
FRAMES_TYPE = "application/vnd.edge-sdk.frames"
WEIGHTS_TYPE = "application/octet-stream"
EVENTS_TYPE = "text/event-stream"
PLAN_TYPE = "application/vnd.edge-sdk.plan"
