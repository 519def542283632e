"""Errors to refusals: the one shape, with the status that `protocol` gives each reason."""

import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable

from aiohttp import web

from edge_sdk.errors import Malformed, Reason, Refused
from edge_sdk.protocol import HTTP_STATUS, JSON_TYPE, dump_json, refusal_from
from edge_sdk.values.operating import Event
from server_ref.api.exchange import Api, Exchange
from server_ref.logs import request_id

Call = Callable[[Exchange], Awaitable[web.StreamResponse]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

BUG_RETRY_S = 60.0

PATIENT = frozenset({"check_in", "events", "commit", "split"})
"""Calls that may wait for something by their nature."""

REQUEST_ID = "X-Request-ID"
ID_FORM = re.compile(r"[A-Za-z0-9_-]{1,64}")

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
        began_s = time.perf_counter()
        status = 499  # as servers write it down when nobody waited for the answer
        try:
            response = await _answer(call, exchange)
            status = response.status
            return response
        finally:
            _count(exchange)
            patient = call.__name__ in PATIENT
            took_s = None if patient else time.perf_counter() - began_s
            api.meter.count(call.__name__, status, took_s)

    return handle


async def _answer(call: Call, exchange: Exchange) -> web.StreamResponse:
    try:
        return await call(exchange)
    except (Refused, Malformed) as error:
        response = refusal_response(error)
        _tell(exchange, error)
        log.info("%s %s refused: %s", exchange.request.method, exchange.request.raw_path, error)
    except ConnectionError:
        raise
    except Exception:
        log.exception("%s %s failed", exchange.request.method, exchange.request.raw_path)
        bug = Refused(Reason.BUSY, "the server failed; this is a bug", retry_after_s=BUG_RETRY_S)
        response = refusal_response(bug, status=500)
    exchange.bytes_down += len(response.body or b"") if isinstance(response.body, bytes) else 0
    return response


def _tell(exchange: Exchange, error: Refused | Malformed) -> None:
    """Count a refusal and show it to the operator."""
    news = exchange.coordinator.news
    news.refusals[refusal_from(error).reason] += 1
    news.tell(
        Event(
            kind="refusal",
            at=time.time(),
            round=exchange.number,
            device=exchange.device,
            text=str(error)[:200],
        )
    )


def _count(exchange: Exchange) -> None:
    """Count what a known device sent and was sent."""
    if exchange.device is None:
        return
    coordinator = exchange.coordinator
    number = coordinator.traffic_round(exchange.number)
    down = 0 if exchange.request.method == "HEAD" else exchange.bytes_down
    coordinator.traffic.add(number, exchange.device, up=exchange.bytes_up, down=down)


async def name_answer(request: web.Request, response: web.StreamResponse) -> None:  # noqa: ARG001 - a signal's form
    """Say the request's id with the answer, just before it is sent."""
    response.headers[REQUEST_ID] = request_id.get()


@web.middleware
async def refuse_unrouted(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse unknown paths and methods in the same shape as everything else.

    Also gives every request an id, the caller's own where it has one, for logs and answer.
    """
    asked = request.headers.get(REQUEST_ID, "")
    request_id.set(asked if ID_FORM.fullmatch(asked) else secrets.token_hex(6))
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
