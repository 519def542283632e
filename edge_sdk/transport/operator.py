"""The operator's calls over HTTP with aiohttp: short requests, whole answers of bounded size."""

import ssl
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote

import aiohttp
from pydantic import TypeAdapter

from edge_sdk.errors import Malformed, TooLarge, Unreachable
from edge_sdk.protocol import (
    COSTS,
    DEVICE_FORGET,
    DEVICE_REVOKE,
    DEVICE_ROTATE,
    DEVICES,
    JSON_TYPE,
    MAX_PLAN_BYTES,
    PAUSE,
    PLAN,
    RESUME,
    ROLLBACK,
    RUN,
    RUNS,
    STOP,
    TOKEN,
    TOKENS,
    WEIGHTS,
    dump_json,
    load_json,
    refused_from,
)
from edge_sdk.transport.address import checked_base, trust
from edge_sdk.transport.faults import sentence
from edge_sdk.values import Enrolled, Refusal
from edge_sdk.values.operating import Costs, Device, JoinToken, MadeToken, NewToken, Rollback
from edge_sdk.values.summaries import RunSummary

Message = TypeVar("Message")

ANSWER_BYTES = 64 << 20
"""Largest JSON answer: the rounds of a long run, or many devices."""

PATIENCE_S = 60.0

RUN_LIST = TypeAdapter(tuple[RunSummary, ...])
TOKEN_LIST = TypeAdapter(tuple[JoinToken, ...])
DEVICE_LIST = TypeAdapter(tuple[Device, ...])


class OperatorClient:
    """Asks and orders with the operator's token; an async context manager.

    Every call raises `Refused` when the server says no, `Unreachable` when there is no answer and
    `Malformed` when there is one that the protocol does not allow.

    Args:
        url: the server's address.
        token: the operator's.
        ca_file: PEM file of authorities to trust instead of the system's.
        plain_http: allow `http://` to other machines too.

    Raises:
        Misuse: the address or the CA file cannot be used.
    """

    def __init__(
        self, url: str, token: str, *, ca_file: Path | None = None, plain_http: bool = False
    ) -> None:
        self._base = checked_base(url, plain_http=plain_http)
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls: ssl.SSLContext | bool = trust(ca_file)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._tls, limit=2),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=20.0, sock_read=PATIENCE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    # ------------------------------------------------------------------ runs

    async def runs(self) -> tuple[RunSummary, ...]:
        """Every run, without its rounds."""
        return await self._ask(RUN_LIST, "GET", RUNS)

    async def run(self, run: str) -> RunSummary:
        """One run with its rounds."""
        return await self._ask(RunSummary, "GET", RUN.format(run=run))

    async def costs(self, run: str) -> Costs:
        """What a run cost its devices."""
        return await self._ask(Costs, "GET", COSTS.format(run=run))

    async def pause(self, run: str) -> RunSummary:
        """Let nobody have new work."""
        return await self._ask(RunSummary, "POST", PAUSE.format(run=run))

    async def resume(self, run: str) -> RunSummary:
        """Give work again."""
        return await self._ask(RunSummary, "POST", RESUME.format(run=run))

    async def stop(self, run: str) -> RunSummary:
        """End a run for good."""
        return await self._ask(RunSummary, "POST", STOP.format(run=run))

    async def roll_back(self, run: str, version: int) -> RunSummary:
        """Publish an old version as a new one."""
        request = Rollback(version=version)
        return await self._ask(RunSummary, "POST", ROLLBACK.format(run=run), request)

    async def plan(self, digest: str) -> bytes:
        """A plan bundle, unchecked."""
        return await self._fetch("GET", PLAN.format(digest=digest), limit=MAX_PLAN_BYTES)

    async def weights(self, run: str, version: int, *, averaged: bool = False) -> bytes:
        """Exact float32 weights, little-endian; `averaged` over all versions up to this one."""
        path = WEIGHTS.format(run=run, version=version)
        path += "?averaged=true" if averaged else ""
        return await self._fetch("GET", path, limit=MAX_PLAN_BYTES)

    # ------------------------------------------------------------------ join tokens and devices

    async def tokens(self) -> tuple[JoinToken, ...]:
        """Every join token."""
        return await self._ask(TOKEN_LIST, "GET", TOKENS)

    async def make_token(self, wanted: NewToken) -> MadeToken:
        """A fresh join token."""
        return await self._ask(MadeToken, "POST", TOKENS, wanted)

    async def revoke_token(self, token_id: str) -> tuple[JoinToken, ...]:
        """Let nobody join by a token any more."""
        return await self._ask(TOKEN_LIST, "DELETE", TOKEN.format(token=token_id))

    async def devices(self) -> tuple[Device, ...]:
        """Every device."""
        return await self._ask(DEVICE_LIST, "GET", DEVICES)

    async def revoke_device(self, device: str) -> Device:
        """Withdraw a device, by id or name."""
        return await self._ask(Device, "POST", _of_device(DEVICE_REVOKE, device))

    async def forget_device(self, device: str) -> Device:
        """Withdraw a device and erase what names it."""
        return await self._ask(Device, "POST", _of_device(DEVICE_FORGET, device))

    async def rotate_device(self, device: str) -> Enrolled:
        """A fresh token for a device."""
        return await self._ask(Enrolled, "POST", _of_device(DEVICE_ROTATE, device))

    # ------------------------------------------------------------------ one exchange

    async def _ask(
        self,
        kind: type[Message] | TypeAdapter[Message],
        method: str,
        path: str,
        message: object = None,
    ) -> Message:
        body = await self._fetch(method, path, message, limit=ANSWER_BYTES)
        return load_json(kind, body, limit=ANSWER_BYTES)

    async def _fetch(self, method: str, path: str, message: object = None, *, limit: int) -> bytes:
        if self._session is None:
            raise RuntimeError("the client is used outside of its context")
        sent = None if message is None else dump_json(message)
        try:
            async with self._session.request(
                method,
                self._base + path,
                data=sent,
                headers={"Content-Type": JSON_TYPE} if sent else None,
                allow_redirects=False,  # a redirect would carry the token elsewhere
            ) as response:
                body = await _read(response, limit)
                if response.status != 200:
                    raise _refusal(response, body)
                return body
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            raise Malformed(f"{method} {path}: the answer is not HTTP") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{self._base}: {sentence(error)}") from error


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise TooLarge(f"{response.url.path}: body over {limit} bytes")
    return bytes(body)


def _refusal(response: aiohttp.ClientResponse, body: bytes) -> Exception:
    if response.content_type == JSON_TYPE:
        return refused_from(load_json(Refusal, body))
    return Malformed(f"{response.url.path}: status {response.status} without a refusal")


def _of_device(path: str, device: str) -> str:
    """A path with an id or a name in it: names may hold anything."""
    return path.format(device=quote(device, safe=""))
