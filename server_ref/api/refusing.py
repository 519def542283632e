"""Errors to refusals: the one shape, with the status that `protocol` gives each reason."""

import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from edge_sdk.errors import Malformed, Reason, Refused
from edge_sdk.protocol import HTTP_STATUS, JSON_TYPE, dump_json, refusal_from
from server_ref.api.exchange import Api, Exchange

Call = Callable[[Exchange], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BUG_RETRY_S = 60.0

log = logging.getLogger(__name__)


def refusal_response(error: Refused | Malformed, *, status: int | None = None) -> web.Response:
    """What is sent for an error."""
    refusal = refusal_from(error)
    response = web.Response(
        body=dump_json(refusal),
        content_type=JSON_TYPE,
        status=HTTP_STATUS[Reason(refusal.reason)] if status is None else status,
    )
    if refusal.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(refusal.retry_after_s)))
    if refusal.reason == Reason.UNAUTHORISED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def handler_of(call: Call, api: Api) -> Handler:
    """An aiohttp handler that answers by `call`, refuses by its errors and counts bytes."""

    async def handle(request: web.Request) -> web.StreamResponse:
        exchange = Exchange(api, request)
        try:
            return await _answer(call, exchange)
        finally:
            _count(exchange)

    return handle


async def _answer(call: Call, exchange: Exchange) -> web.StreamResponse:
    try:
        return await call(exchange)
    except (Refused, Malformed) as error:
        response = refusal_response(error)
        log.info("%s %s refused: %s", exchange.request.method, exchange.request.path, error)
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed", exchange.request.method, exchange.request.path)
        bug = Refused(Reason.BUSY, "the server failed; this is a bug", retry_after_s=BUG_RETRY_S)
        response = refusal_response(bug, status=500)
    exchange.bytes_down += len(response.body or b"") if isinstance(response.body, bytes) else 0
    return response


def _count(exchange: Exchange) -> None:
    """Count what a known device sent and was sent."""
    if exchange.device is None:
        return
    coordinator = exchange.coordinator
    number = coordinator.traffic_round(exchange.number)
    down = 0 if exchange.request.method == "HEAD" else exchange.bytes_down
    coordinator.traffic.add(number, exchange.device, up=exchange.bytes_up, down=down)


@web.middleware
async def refuse_unrouted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unknown paths and methods in the same shape as everything else."""
    try:
        return await handler(request)
    except web.HTTPMethodNotAllowed as error:
        refused = Refused(Reason.METHOD_NOT_ALLOWED, f"{request.method} is not known here")
        response = refusal_response(refused)
        response.headers["Allow"] = ",".join(sorted(error.allowed_methods))
        return response
    except web.HTTPNotFound:
        return refusal_response(Refused(Reason.NOT_FOUND, "no such path"))
    except web.HTTPException as error:
        return refusal_response(Malformed(error.reason), status=error.status)
