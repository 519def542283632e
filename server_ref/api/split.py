"""Split learning's WebSocket: one message, one answer; what was answered is durable."""

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from aiohttp import WSMessage, WSMsgType, web

from edge_sdk.errors import Malformed, Refused, Unsupported
from edge_sdk.protocol import dump_json, load_json, refusal_from
from edge_sdk.protocol.split import (
    MAX_SPLIT_TEXT_BYTES,
    SPLIT_ASK,
)
from edge_sdk.values.splitting import SplitBegin, SplitReady
from server_ref.api.exchange import Exchange

if TYPE_CHECKING:
    from server_ref.split import Session, Visit

T = TypeVar("T")

HEARTBEAT_S = 20.0
"""Between two pings; a device that answers none is gone."""

CLOSE_S = 2.0
"""Longest wait for the other side's word that a connection is over."""

_OVER = frozenset({WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR})


async def split(exchange: Exchange) -> web.StreamResponse:
    """`GET …/split`: a WebSocket on which a device trains its part of a split with this server.

    Whatever is refused once the device is known is told as text on the open connection, because
    a WebSocket's client sees no body of an answer before. A connection that is silent is closed
    after `split_idle_s`; the session's work is kept.
    """
    device = exchange.require_device()
    exchange.require_run()
    exchange.number = exchange.number_in_path("round")
    coordinator = exchange.coordinator
    socket = web.WebSocketResponse(
        max_msg_size=coordinator.most_split_bytes,
        receive_timeout=coordinator.settings.split_idle_s,
        heartbeat=HEARTBEAT_S,
        timeout=CLOSE_S,
        compress=False,
    )
    if not socket.can_prepare(exchange.request):
        raise Unsupported("this address takes WebSocket connections only")
    visit: Visit | None = None
    try:
        await socket.prepare(exchange.request)
        visit = coordinator.split_visit(device, exchange.number)
        await _Talk(exchange, socket, visit).go_on()
    except (Refused, Malformed) as error:
        with contextlib.suppress(ConnectionError):
            await socket.send_str(dump_json(refusal_from(error)).decode())
    except (TimeoutError, ConnectionError):
        pass  # silent or gone; what was answered is kept
    finally:
        if visit is not None:
            visit.leave()
        if socket.prepared:
            with contextlib.suppress(ConnectionError):
                await socket.close()
    return socket


class _Talk:
    """One connection's turn-taking."""

    def __init__(self, exchange: Exchange, socket: web.WebSocketResponse, visit: "Visit") -> None:
        self._exchange = exchange
        self._socket = socket
        self._visit = visit

    async def go_on(self) -> None:
        """Answer until the device ends or the connection does."""
        while (message := await self._socket.receive()).type not in _OVER:
            self._exchange.require_device()  # it may have been revoked meanwhile
            self._exchange.coordinator.check_split(self._exchange.number or 0)
            if message.type is WSMsgType.BINARY:
                self._exchange.bytes_up += len(message.data)
                data: bytes = message.data
                await self._send(await self._work(lambda session: session.take(data)))  # noqa: B023 - awaited at once
            elif await self._told(message):
                return

    async def _told(self, message: WSMessage) -> bool:
        """Answer a text; whether that was the end."""
        if message.type is not WSMsgType.TEXT:
            raise Unsupported(f"a message of type {message.type.name}")
        text: str = message.data
        self._exchange.bytes_up += len(text)
        ask = load_json(SPLIT_ASK, text.encode(), limit=MAX_SPLIT_TEXT_BYTES)
        if not isinstance(ask, SplitBegin):
            await self._send_text(await self._work(lambda session: session.end(ask.messages)))
            return True
        await self._begin(ask)
        return False

    async def _begin(self, ask: SplitBegin) -> None:
        again = await self._work(lambda session: session.begin(ask.attempt, ask.answered))
        terms = self._visit.terms
        await self._send_text(
            SplitReady(
                held=ask.answered + (again is not None),
                activations=terms.activations,
                gradients=terms.gradients,
                correction=terms.correction,
                most_bytes=self._visit.most_bytes,
            )
        )
        if again is not None:
            await self._send(again)

    async def _work(self, job: "Callable[[Session], T]") -> T:
        return await self._visit.work(job)

    async def _send(self, data: bytes) -> None:
        self._exchange.bytes_down += len(data)
        await self._socket.send_bytes(data)

    async def _send_text(self, message: object) -> None:
        body = dump_json(message)
        self._exchange.bytes_down += len(body)
        await self._socket.send_str(body.decode())
