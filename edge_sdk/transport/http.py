"""HTTP/1.1 with aiohttp: one kept-alive connection, sizes checked before bodies are read.

Every way a call can fail ends in one of three exceptions. No whole answer (no route, no name, a
broken connection, a time-out, a gateway without its server) is `Unreachable`. A refusal body is
`Refused`. Anything else that the protocol does not allow is `Malformed`.

A download that breaks off is kept in memory and continued by Range on the next call for it, so a
poor link makes progress with every attempt; the loop that retries lives in `runtime`.
"""

import asyncio
import contextlib
import dataclasses
import hashlib
import inspect
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import aiohttp
from pydantic import TypeAdapter

from edge_sdk.errors import Corrupt, Malformed, TooLarge, Unreachable
from edge_sdk.protocol import (
    CHECK_IN,
    CHECK_IN_ANSWER,
    COMMIT,
    DECLINE,
    ENROL,
    FRAMES_TYPE,
    JSON_TYPE,
    MAX_JSON_BYTES,
    MAX_PLAN_BYTES,
    MODEL,
    PLAN,
    ROTATE,
    UPDATE,
    dump_json,
    load_json,
    refused_from,
)
from edge_sdk.protocol.split import SPLIT
from edge_sdk.transport.address import checked_base, trust
from edge_sdk.transport.faults import sentence
from edge_sdk.transport.split import SplitSocket, open_split
from edge_sdk.transport.watching import KernelView, Watcher
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Refusal,
    Task,
    Wait,
)

Message = TypeVar("Message")

_GATEWAY_STATUSES = frozenset({502, 503, 504})
"""Without a refusal body these come from something between us and the server."""

_GIVES_SOCKETS = "socket_factory" in inspect.signature(aiohttp.TCPConnector).parameters
"""Since aiohttp 3.12; with older ones the kernel is not asked about connections."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,16})-(\d{1,16})/(\d{1,16})")


class Meter(Protocol):
    """Counts body bytes, e.g. `telemetry.ByteMeter`."""

    def add_sent(self, size_bytes: int) -> None:
        """Count body bytes handed to the connection."""

    def add_received(self, size_bytes: int) -> None:
        """Count body bytes that arrived."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """When a connection counts as broken and an answer as too large."""

    connect_s: float = 20.0
    silence_s: float = 60.0
    """Longest silence while an answer is awaited or read, besides a long poll's own wait."""
    slowest_bytes_s: float = 500.0
    """An upload slower than this (4 kbit/s) counts as broken."""
    download_bytes: int = MAX_PLAN_BYTES
    """Largest plan or model body."""


@dataclasses.dataclass(slots=True)
class _Partial:
    """A download that may be continued."""

    target: str
    etag: str
    data: bytearray


class HttpTransport:
    """An `interfaces.Transport` over HTTP/1.1.

    Args:
        url: the server's address, `https://host[:port][/prefix]`.
        token: device token of an earlier enrolment; see also `identify`.
        meter: counts the body bytes sent and received.
        ca_file: PEM file of authorities to trust instead of the system's.
        plain_http: allow `http://` to other machines too; without it only to this one.
        limits: time-outs and sizes.
        watcher: told of every transfer, e.g. `telemetry.LinkMeter`. Check-ins are not told: the
            server may hold their answers.
        connector: makes connections in another way than TCP and TLS; for simulations.

    Raises:
        Misuse: the address or the CA file cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        meter: Meter | None = None,
        watcher: Watcher | None = None,
        ca_file: Path | str | None = None,
        plain_http: bool = False,
        limits: HttpLimits | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
    ) -> None:
        self._base = checked_base(url, plain_http=plain_http)
        self._token = token
        self._meter = meter
        self._watcher = watcher
        self._kernel = KernelView()
        self._connector = connector or self._tcp_connector
        self._tls = trust(ca_file) if connector is None else True
        self._limits = HttpLimits() if limits is None else limits
        self._session: aiohttp.ClientSession | None = None
        self._partial: _Partial | None = None

    def __repr__(self) -> str:
        return f"HttpTransport({self._base!r})"

    def identify(self, identity: Enrolled) -> None:
        """Be this device, enrolled earlier."""
        self._token = identity.token

    async def enrol(self, request: Enrol) -> Enrolled:
        """Join with a join token; later calls are made as the new device."""
        self._token = None
        enrolled = await self._post(Enrolled, ENROL, request)
        self.identify(enrolled)
        return enrolled

    async def rotate(self) -> Enrolled:
        """Ask for a fresh token; calls go on with the old one until `identify`."""
        async with self._exchange("POST", ROTATE) as response:
            return await self._answer(Enrolled, response)

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """Ask for work; the server may hold its answer for `request.wait_s`."""
        return await self._post(CHECK_IN_ANSWER, CHECK_IN, request, patience_s=request.wait_s)

    async def plan(self, digest: str) -> bytes:
        """The plan bundle, digest checked."""
        data = await self._download(PLAN.format(digest=digest))
        if hashlib.sha256(data).hexdigest() != digest:
            raise Corrupt(f"plan {digest[:12]}: its digest does not hold")
        return data

    async def model(
        self,
        run: str,
        version: int,
        *,
        have: int | None,
        stage: int | None = None,
        held_stage: int | None = None,
    ) -> bytes:
        """Model frames that lead from `have` to `version`; their check sums are wire's to check."""
        asked = {"have": have, "stage": stage, "held": held_stage}
        query = "&".join(f"{name}={value}" for name, value in asked.items() if value is not None)
        path = MODEL.format(run=run, version=version)
        return await self._download(f"{path}?{query}" if query else path)

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        """Stream chunk frames in one request; a broken one leaves whole frames on the server."""
        size = sum(map(len, frames))
        headers = {"Content-Type": FRAMES_TYPE, "Content-Length": str(size)}
        patience_s = size / self._limits.slowest_bytes_s
        path = UPDATE.format(run=task.run, round=task.round)
        with self._watch("up", 0) as handed:
            body = self._stream(frames, handed)
            async with self._exchange(
                "POST", path, data=body, headers=headers, patience_s=patience_s
            ) as response:
                return await self._answer(Progress, response)

    async def progress(self, task: Task) -> Progress:
        """What the server durably holds of this device's update."""
        path = UPDATE.format(run=task.run, round=task.round)
        async with self._exchange("GET", path) as response:
            return await self._answer(Progress, response)

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        """Close the update."""
        # Small, so it tells the round trip where the kernel does not.
        with self._watch("up", 1):
            return await self._post(Receipt, COMMIT.format(run=task.run, round=task.round), commit)

    async def decline(self, task: Task, decline: Decline) -> Wait:
        """Give the place in the task's round back."""
        return await self._post(Wait, DECLINE.format(run=task.run, round=task.round), decline)

    async def split(self, task: Task) -> SplitSocket:
        """Open a connection for split learning; nothing else can be asked until it is closed."""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        path = SPLIT.format(run=task.run, round=task.round)
        return await open_split(
            self._open_session(), self._base + path, headers=headers, meter=self._meter
        )

    async def close(self) -> None:
        """Close the connection; a later call would open a new one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # ------------------------------------------------------------------ one exchange

    async def _post(
        self,
        kind: type[Message] | TypeAdapter[Message],
        path: str,
        message: object,
        *,
        patience_s: float = 0.0,
    ) -> Message:
        body = dump_json(message, brief=True)
        self._count_sent(len(body))
        async with self._exchange(
            "POST", path, data=body, headers={"Content-Type": JSON_TYPE}, patience_s=patience_s
        ) as response:
            return await self._answer(kind, response)

    @asynccontextmanager
    async def _exchange(
        self,
        method: str,
        path: str,
        *,
        data: bytes | AsyncIterator[bytes] | None = None,
        headers: dict[str, str] | None = None,
        patience_s: float | None = 0.0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request. `patience_s` is what it may take beyond the usual; None: no end."""
        limits = self._limits
        silence_s = limits.silence_s + (patience_s or 0.0)
        timeout = aiohttp.ClientTimeout(
            total=None if patience_s is None else limits.connect_s + silence_s,
            sock_connect=limits.connect_s,
            sock_read=silence_s,
        )
        all_headers = dict(headers or {})
        if self._token is not None:
            all_headers["Authorization"] = f"Bearer {self._token}"
        try:
            async with self._open_session().request(
                method,
                self._base + path,
                data=data,
                headers=all_headers,
                timeout=timeout,
                allow_redirects=False,  # a redirect would carry the token elsewhere
            ) as response:
                yield response
        except aiohttp.ClientHttpProxyError as error:
            raise Unreachable(f"proxy answered {error.status}") from error
        except (aiohttp.ClientResponseError, aiohttp.InvalidURL) as error:
            raise Malformed(f"{method} {path}: the answer is not HTTP") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{self._base}: {sentence(error)}") from error

    def _open_session(self) -> aiohttp.ClientSession:
        """The session, made inside the running loop on first use."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connector(),
                # Frames are compressed already; asking for identity keeps byte counts honest and
                # sizes known before reading.
                headers={"Accept-Encoding": "identity"},
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _tcp_connector(self) -> aiohttp.BaseConnector:
        connect = partial(aiohttp.TCPConnector, limit=1, keepalive_timeout=75.0, ssl=self._tls)
        return connect(socket_factory=self._kernel.make_socket) if _GIVES_SOCKETS else connect()

    @contextlib.contextmanager
    def _watch(self, direction: Literal["up", "down"], size_bytes: int) -> Iterator[list[int]]:
        """Tell the watcher of the request inside; a body of unknown size is put into the list."""
        size = [size_bytes]
        before, connections = self._kernel.look(), self._kernel.connections
        now_s = asyncio.get_running_loop().time
        start_s = now_s()
        whole = False
        try:
            yield size
            whole = True
        finally:
            if self._watcher is not None:
                fresh = connections != self._kernel.connections
                self._watcher.transferred(
                    direction,
                    size[0],
                    now_s() - start_s,
                    whole=whole,
                    tcp_before=None if fresh else before,
                    tcp_after=self._kernel.look(),
                )

    async def _stream(self, frames: Sequence[bytes], handed: list[int]) -> AsyncIterator[bytes]:
        for frame in frames:
            self._count_sent(len(frame))
            handed[0] += len(frame)
            yield frame

    # ------------------------------------------------------------------ answers

    async def _answer(
        self, kind: type[Message] | TypeAdapter[Message], response: aiohttp.ClientResponse
    ) -> Message:
        if response.status != 200:
            raise await self._refusal(response)
        body = bytearray()
        await self._read(response, into=body, limit=MAX_JSON_BYTES)
        return load_json(kind, bytes(body))

    async def _refusal(self, response: aiohttp.ClientResponse) -> Exception:
        """What an answer with another status than expected means."""
        body = bytearray()
        if response.content_type == JSON_TYPE:
            await self._read(response, into=body, limit=MAX_JSON_BYTES)
            return refused_from(load_json(Refusal, bytes(body)))
        if response.status in _GATEWAY_STATUSES:
            return Unreachable(f"{response.url.path}: gateway answered {response.status}")
        return Malformed(f"{response.url.path}: status {response.status} without a refusal")

    async def _read(self, response: aiohttp.ClientResponse, *, into: bytearray, limit: int) -> None:
        """Append the body to `into`, which never grows beyond `limit` bytes.

        Raises:
            TooLarge: it would; a stated length is checked before anything is read.
        """
        stated = response.content_length or 0
        if len(into) + stated > limit:
            raise TooLarge(f"{response.url.path}: body of {stated} bytes, limit {limit}")
        async for piece in response.content.iter_any():
            if self._meter is not None:
                self._meter.add_received(len(piece))
            if len(into) + len(piece) > limit:
                raise TooLarge(f"{response.url.path}: body over {limit} bytes")
            into += piece

    async def _download(self, target: str) -> bytes:
        """A whole immutable body; picks up where the last call for it broke off."""
        kept = self._partial
        headers: dict[str, str] = {}
        if kept is not None and kept.target == target and kept.data:
            headers = {"Range": f"bytes={len(kept.data)}-", "If-Range": kept.etag}
        self._partial = None
        with self._watch("down", 0) as size:
            return await self._download_rest(target, kept, headers, size)

    async def _download_rest(
        self, target: str, kept: _Partial | None, headers: dict[str, str], size: list[int]
    ) -> bytes:
        """One request for what `kept` lacks of a body; its size goes into `size`."""
        async with self._exchange("GET", target, headers=headers, patience_s=None) as response:
            if headers and kept is not None and response.status == 206:
                _check_range(response, start=len(kept.data))
                partial = kept
            elif response.status == 200:
                partial = _Partial(target, response.headers.get("ETag", ""), bytearray())
            else:
                raise await self._refusal(response)
            start = len(partial.data)
            try:
                await self._read(response, into=partial.data, limit=self._limits.download_bytes)
            except (aiohttp.ClientError, OSError, asyncio.CancelledError):
                # TimeoutError is an OSError. A weak or missing tag cannot vouch for equal bytes.
                self._partial = partial if partial.etag.startswith('"') else None
                raise
            finally:
                size[0] = len(partial.data) - start
        return bytes(partial.data)

    def _count_sent(self, size_bytes: int) -> None:
        if self._meter is not None:
            self._meter.add_sent(size_bytes)


def _check_range(response: aiohttp.ClientResponse, *, start: int) -> None:
    """Refuse a partial answer that does not continue at `start` up to the end."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if match is None:
        raise Malformed(f"{response.url.path}: partial answer without a usable Content-Range")
    first, last, total = map(int, match.groups())
    if first != start or last + 1 != total:
        raise Malformed(f"{response.url.path}: asked from byte {start}, got {match.group(0)}")
