"""Split learning over a WebSocket: one message out, one answer in."""

from typing import Protocol, TypeVar

import aiohttp

from edge_sdk.errors import Corrupt, Malformed, Reason, Refused, Unreachable
from edge_sdk.protocol import dump_json, load_json, refused_from
from edge_sdk.protocol.split import MAX_SPLIT_TEXT_BYTES, SPLIT_ANSWER
from edge_sdk.values import Refusal
from edge_sdk.values.splitting import SplitBegin, SplitEnd, SplitEnded, SplitReady

Message = TypeVar("Message")

HEARTBEAT_S = 20.0
SILENCE_S = 120.0
"""Longest wait for an answer: the server may be training for many."""

MOST_ANSWER_BYTES = (1 << 28) + 64
"""The format's limit of a batch message."""


class Meter(Protocol):
    """Counts body bytes."""

    def add_sent(self, size_bytes: int) -> None:
        """Count bytes handed to the connection."""

    def add_received(self, size_bytes: int) -> None:
        """Count bytes that arrived."""


class SplitSocket:
    """An `interfaces.SplitChannel`; made by `open_split`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, meter: Meter | None) -> None:
        self._socket = socket
        self._meter = meter

    async def begin(self, request: SplitBegin) -> SplitReady:
        """See `SplitChannel.begin`."""
        return await self._ask(request, SplitReady)

    async def end(self, request: SplitEnd) -> SplitEnded:
        """See `SplitChannel.end`."""
        return await self._ask(request, SplitEnded)

    async def send(self, message: bytes) -> None:
        """See `SplitChannel.send`."""
        try:
            await self._socket.send_bytes(message)
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            raise Unreachable(f"the split connection broke: {type(error).__name__}") from error
        if self._meter is not None:
            self._meter.add_sent(len(message))

    async def receive(self) -> bytes:
        """See `SplitChannel.receive`."""
        message = await self._next()
        if message.type is aiohttp.WSMsgType.BINARY:
            data: bytes = message.data
            return data
        await self._text(message)
        raise Corrupt("text where a batch belongs")

    async def close(self) -> None:
        """See `SplitChannel.close`."""
        await self._socket.close()

    async def _ask(self, request: object, kind: type[Message]) -> Message:
        body = dump_json(request)
        try:
            await self._socket.send_str(body.decode())
        except (aiohttp.ClientError, ConnectionError, RuntimeError) as error:
            raise Unreachable(f"the split connection broke: {type(error).__name__}") from error
        if self._meter is not None:
            self._meter.add_sent(len(body))
        answer = await self._text(await self._next())
        if not isinstance(answer, kind):
            raise Corrupt(f"{type(answer).__name__} where {kind.__name__} belongs")
        return answer

    async def _next(self) -> aiohttp.WSMessage:
        try:
            message = await self._socket.receive(SILENCE_S)
        except TimeoutError:
            raise Unreachable("no answer in time") from None
        if message.type not in {aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT}:
            await self.close()
            raise Unreachable(f"the split connection was closed ({self._socket.close_code})")
        if self._meter is not None:
            self._meter.add_received(len(message.data))
        return message

    async def _text(self, message: aiohttp.WSMessage) -> SplitReady | SplitEnded:
        """What a text says.

        Raises:
            Refused: it is a refusal; the connection is closed then.
            Malformed: it is nothing that the protocol knows.
        """
        if message.type is not aiohttp.WSMsgType.TEXT:
            raise Corrupt("a batch where text belongs")
        text: str = message.data
        answer = load_json(SPLIT_ANSWER, text.encode(), limit=MAX_SPLIT_TEXT_BYTES)
        if isinstance(answer, Refusal):
            await self.close()
            raise refused_from(answer)
        return answer


async def open_split(
    session: aiohttp.ClientSession,
    url: str,
    *,
    headers: dict[str, str],
    meter: Meter | None,
) -> SplitSocket:
    """Open the WebSocket at `url`.

    Raises:
        Unreachable: the server did not answer.
        Refused: it said no.
        Malformed: the answer is not what the protocol says.
    """
    try:
        socket = await session.ws_connect(
            url, headers=headers, heartbeat=HEARTBEAT_S, max_msg_size=MOST_ANSWER_BYTES
        )
    except aiohttp.WSServerHandshakeError as error:
        raise _refused(error.status) from error
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unreachable(f"no split connection: {type(error).__name__}") from error
    return SplitSocket(socket, meter)


def _refused(status: int) -> Exception:
    """What an answer other than the WebSocket means; the session's own refusals come as text."""
    reasons = {401: Reason.UNAUTHORISED, 403: Reason.REVOKED, 404: Reason.NOT_FOUND}
    if status in reasons:
        return Refused(reasons[status], "no split connection")
    if status in {502, 503, 504}:
        return Unreachable(f"no split connection: status {status}")
    return Malformed(f"no split connection: status {status}")
