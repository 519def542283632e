"""Which call answers which path, who may ask it, and what goes in and out.

The routes and the published OpenAPI are both made of this one table.
"""

from typing import Literal

from aiohttp import web

from edge_sdk import protocol as p
from edge_sdk.protocol.split import SPLIT
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Task,
    Wait,
)
from edge_sdk.values.operating import (
    Costs,
    Device,
    JoinToken,
    MadeToken,
    NewToken,
    Refusals,
    Rollback,
)
from edge_sdk.values.summaries import RunSummary
from server_ref.api import (
    devices,
    downloads,
    live,
    metrics,
    openapi,
    operator,
    page,
    split,
    updates,
)
from server_ref.api.exchange import Api
from server_ref.api.openapi import Bytes, Route
from server_ref.api.refusing import handler_of

HTML = Bytes("text/html")


def _device(
    method: Literal["GET", "POST"],
    path: str,
    call: openapi.Call,
    answer: object,
    body: object = None,
) -> Route:
    return Route(method, path, call, who="device", body=body, answer=answer)


def _operator(
    method: Literal["GET", "POST", "DELETE"],
    path: str,
    call: openapi.Call,
    answer: object,
    body: object = None,
    *,
    query: tuple[str, ...] = (),
) -> Route:
    return Route(method, path, call, who="operator", body=body, answer=answer, query=query)


ROUTES: tuple[Route, ...] = (
    Route("POST", p.ENROL, devices.enrol, who="anyone", body=Enrol, answer=Enrolled),
    _device("POST", p.CHECK_IN, devices.check_in, Task | Wait | Finished, CheckIn),
    _device("POST", p.ROTATE, devices.rotate, Enrolled),
    Route("GET", p.PLAN, downloads.plan, who="either", answer=Bytes(p.PLAN_TYPE)),
    Route(
        "GET", p.MODEL, downloads.model, who="device", answer=Bytes(p.FRAMES_TYPE), query=("have",)
    ),
    _device("POST", p.UPDATE, updates.upload, Progress, Bytes(p.FRAMES_TYPE)),
    _device("GET", p.UPDATE, updates.progress, Progress),
    _device("POST", p.COMMIT, updates.commit, Receipt, Commit),
    _device("POST", p.DECLINE, updates.decline, Wait, Decline),
    _device("GET", SPLIT, split.split, Bytes("application/vnd.edge-sdk.batches")),
    _operator("GET", p.RUNS, operator.runs, tuple[RunSummary, ...]),
    _operator("GET", p.RUN, operator.run, RunSummary),
    _operator("GET", p.COSTS, operator.costs, Costs),
    _operator("POST", p.PAUSE, operator.pause, RunSummary),
    _operator("POST", p.RESUME, operator.resume, RunSummary),
    _operator("POST", p.STOP, operator.stop, RunSummary),
    _operator("POST", p.ROLLBACK, operator.roll_back, RunSummary, Rollback),
    _operator("GET", p.WEIGHTS, operator.weights, Bytes(p.WEIGHTS_TYPE), query=("averaged",)),
    _operator("GET", p.TOKENS, operator.tokens, tuple[JoinToken, ...]),
    _operator("POST", p.TOKENS, operator.make_token, MadeToken, NewToken),
    _operator("DELETE", p.TOKEN, operator.revoke_token, tuple[JoinToken, ...]),
    _operator("GET", p.DEVICES, operator.devices, tuple[Device, ...]),
    _operator("POST", p.DEVICE_REVOKE, operator.revoke_device, Device),
    _operator("POST", p.DEVICE_FORGET, operator.forget_device, Device),
    _operator("POST", p.DEVICE_ROTATE, operator.rotate_device, Enrolled),
    _operator("GET", p.REFUSALS, operator.refusals, Refusals),
    _operator("GET", p.EVENTS, live.events, Bytes(p.EVENTS_TYPE)),
    _operator("GET", p.METRICS, metrics.metrics, Bytes("text/plain")),
    Route("GET", p.HEALTH, operator.health, who="anyone", answer=dict[str, str]),
    Route("GET", p.READY, operator.ready, who="anyone", answer=dict[str, str]),
    Route("GET", p.OPENAPI, openapi.publish, who="anyone", answer=dict[str, object]),
    Route("GET", "/", page.index, who="anyone", answer=HTML),
    Route("GET", "/page/{file}", page.file, who="anyone", answer=Bytes("text/javascript")),
)


def routes(api: Api) -> list[web.RouteDef]:
    """The table as aiohttp takes it."""
    api.document = openapi.dump(openapi.document(ROUTES))
    return [web.route(one.method, one.path, handler_of(one.call, api)) for one in ROUTES]
