"""Which call answers which path."""

from collections.abc import Mapping

from aiohttp import web

from edge_sdk.protocol import (
    CHECK_IN,
    COMMIT,
    DECLINE,
    ENROL,
    HEALTH,
    MODEL,
    PLAN,
    RUN,
    RUNS,
    UPDATE,
)
from server_ref.api import devices, downloads, operator, updates
from server_ref.api.exchange import Api
from server_ref.api.refusing import Call, handler_of

CALLS: Mapping[tuple[str, str], Call] = {
    ("POST", ENROL): devices.enrol,
    ("POST", CHECK_IN): devices.check_in,
    ("GET", PLAN): downloads.plan,
    ("GET", MODEL): downloads.model,
    ("POST", UPDATE): updates.upload,
    ("GET", UPDATE): updates.progress,
    ("POST", COMMIT): updates.commit,
    ("POST", DECLINE): updates.decline,
    ("GET", RUNS): operator.runs,
    ("GET", RUN): operator.run,
    ("GET", HEALTH): operator.health,
}


def routes(api: Api) -> list[web.RouteDef]:
    """The table as aiohttp takes it."""
    return [
        web.route(method, path, handler_of(call, api)) for (method, path), call in CALLS.items()
    ]
