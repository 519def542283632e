"""One request and its answer: who asks, what was read, what is sent, and how many bytes."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from typing import TypeVar

import aiohttp
from aiohttp import web
from pydantic import TypeAdapter, ValidationError

from edge_sdk.errors import Malformed, Reason, Refused, TooLarge, Truncated
from edge_sdk.protocol import JSON_TYPE, MAX_JSON_BYTES, dump_json, load_json
from edge_sdk.values import Token
from server_ref.api.meter import Meter
from server_ref.coordinator import Coordinator, same_token

T = TypeVar("T")

TOKEN: TypeAdapter[str] = TypeAdapter(Token)

SLOWEST_BYTES_PER_S = 500.0
"""A body that comes slower than this over all, beyond the silence allowed, is given up."""

GIVEN_UP_RETRY_S = 5.0


@dataclasses.dataclass(slots=True)
class Api:
    """What every call works with."""

    coordinator: Coordinator
    operator_token: str
    document: bytes = b""
    """The description of the API, made with its routes."""
    meter: Meter = dataclasses.field(default_factory=Meter)


class Exchange:
    """One HTTP request on its way to an answer."""

    def __init__(self, api: Api, request: web.Request) -> None:
        self.coordinator = api.coordinator
        self.request = request
        self.device: str | None = None
        self.number: int | None = None
        """The round that the path names."""
        self.bytes_up = 0
        self.bytes_down = 0
        self.document = api.document
        self.meter = api.meter
        self._operator_token = api.operator_token
        self._silence_s = api.coordinator.settings.silence_s

    # ------------------------------------------------------------------ who and what

    def require_device(self) -> str:
        """The device that asks.

        Raises:
            Refused: `unauthorised` or `revoked`.
        """
        self.device = self.coordinator.desk.identify(self._bearer())
        return self.device

    def require_operator(self) -> None:
        """See that the operator asks.

        Raises:
            Refused: `unauthorised`.
        """
        if not same_token(self._bearer(), self._operator_token):
            raise Refused(Reason.UNAUTHORISED, "needs the operator's token")

    def require_reader(self) -> None:
        """See that a device or the operator asks.

        Raises:
            Refused: `unauthorised` or `revoked`.
        """
        if not same_token(self._bearer(), self._operator_token):
            self.require_device()

    def require_run(self) -> None:
        """See that the path names this server's run.

        Raises:
            Refused: `not-found`.
        """
        if self.request.match_info["run"] != self.coordinator.run:
            raise Refused(Reason.NOT_FOUND, "no such run")

    def number_in_path(self, name: str) -> int:
        """A number from the path: up to ten digits.

        Raises:
            Refused: `not-found`.
        """
        text = self.request.match_info[name]
        if not (text.isascii() and text.isdigit() and len(text) <= 10):
            raise Refused(Reason.NOT_FOUND, f"{name} is not a number")
        return int(text)

    def connected(self) -> bool:
        """Whether somebody still waits for the answer."""
        transport = self.request.transport
        return transport is not None and not transport.is_closing()

    def _bearer(self) -> str:
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        try:
            if scheme.lower() == "bearer":
                return TOKEN.validate_python(token)
        except ValidationError:
            pass
        raise Refused(Reason.UNAUTHORISED, "needs 'Authorization: Bearer TOKEN'")

    # ------------------------------------------------------------------ bodies

    async def blocks(self, *, limit: int) -> AsyncIterator[bytes]:
        """The request's body as it comes in.

        Raises:
            TooLarge: it has, or says it has, more than `limit` bytes.
            Truncated: the connection broke.
            Refused: `busy` when it stays silent or takes too long for its size.
            Malformed: it is encoded in some way.
        """
        if self.request.headers.get("Content-Encoding", "identity") != "identity":
            raise Malformed("encoded bodies are not taken")
        if (self.request.content_length or 0) > limit:
            raise TooLarge(f"body of {self.request.content_length} bytes, limit {limit}")
        size = self.request.content_length or limit
        until_s = _clock_s() + self._silence_s + size / SLOWEST_BYTES_PER_S
        while block := await self._block(until_s):
            self.bytes_up += len(block)
            if self.bytes_up > limit:
                raise TooLarge(f"body over {limit} bytes")
            yield block

    async def _block(self, until_s: float) -> bytes:
        try:
            async with asyncio.timeout_at(min(until_s, _clock_s() + self._silence_s)):
                return await self.request.content.readany()
        except TimeoutError:
            raise Refused(
                Reason.BUSY, "the body came too slowly", retry_after_s=GIVEN_UP_RETRY_S
            ) from None
        except (aiohttp.ClientError, web.HTTPException, ConnectionError) as error:
            raise Truncated(f"the body broke off: {type(error).__name__}") from None

    async def message(self, kind: type[T]) -> T:
        """The request's JSON body.

        Raises:
            Malformed: too large, broken off, or not such a message.
        """
        body = [block async for block in self.blocks(limit=MAX_JSON_BYTES)]
        return load_json(kind, b"".join(body))

    async def send(self, response: web.StreamResponse, piece: bytes) -> None:
        """Send a piece of an answer; a connection that does not take it in time is cut.

        Raises:
            ConnectionError: it was cut, or broke.
        """
        try:
            async with asyncio.timeout(self._silence_s + len(piece) / SLOWEST_BYTES_PER_S):
                await response.write(piece)
        except TimeoutError:
            if self.request.transport is not None:
                self.request.transport.abort()
            raise ConnectionResetError("nobody takes the answer") from None
        self.bytes_down += len(piece)

    def answer(self, message: object) -> web.Response:
        """A JSON answer."""
        body = dump_json(message)
        self.bytes_down += len(body)
        return web.Response(body=body, content_type=JSON_TYPE)


def _clock_s() -> float:
    return asyncio.get_running_loop().time()
