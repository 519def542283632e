"""The real HTTP client and the real HTTP application, joined by connections in memory."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import aiohttp
import numpy as np
from aiohttp import web
from aiohttp.client_proto import ResponseHandler

from server_ref.app import build_app
from server_ref.coordinator import Opened
from server_ref.simulate.links import Link, connecting_s
from server_ref.simulate.pipes import Carried, PipeEnd, connect_ends

if TYPE_CHECKING:
    from aiohttp.tracing import Trace

MakeProtocol = Callable[[], asyncio.BaseProtocol]


@contextlib.asynccontextmanager
async def application(opened: Opened) -> AsyncIterator[MakeProtocol]:
    """The server's application; gives a protocol for each connection."""
    runner = web.AppRunner(
        build_app(opened), auto_decompress=False, access_log=None, handle_signals=False
    )
    await runner.setup()
    try:
        server = runner.server
        if server is None:
            raise RuntimeError("the runner is not set up")
        yield server
    finally:
        await runner.cleanup()


class LinkConnector(aiohttp.BaseConnector):
    """Connects one device with the application over its modelled link."""

    def __init__(
        self,
        link: Link,
        serve: MakeProtocol,
        *,
        start_s: float,
        draw: np.random.Generator,
        carried: Carried,
    ) -> None:
        super().__init__(limit=1, keepalive_timeout=75.0)
        self._link = link
        self._serve = serve
        self._start_s = start_s
        self._draw = draw
        self._carried = carried

    async def _create_connection(
        self,
        req: aiohttp.ClientRequest,
        traces: "list[Trace]",  # noqa: ARG002 - aiohttp's signature
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp's signature
    ) -> ResponseHandler:
        try:
            async with asyncio.timeout(timeout.sock_connect):
                await self._handshake()
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError(f"no connection to {req.url.host}") from None
        protocol = ResponseHandler(loop=self._loop)
        make = {"start_s": self._start_s, "draw": self._draw, "carried": self._carried}
        device = PipeEnd(self._link, "up", **make)  # type: ignore[arg-type]  # three kinds of value
        server = PipeEnd(self._link, "down", **make)  # type: ignore[arg-type]  # as above
        connect_ends(device, server, protocol, self._serve())
        return protocol

    async def _handshake(self) -> None:
        """A round trip, once the link is up."""
        while True:
            at_s = self._loop.time() - self._start_s
            if self._link.rate("up", at_s) > 0:
                break
            await asyncio.sleep(min(self._link.trace.next_change_s(at_s) - at_s, 3600.0))
        await asyncio.sleep(connecting_s(self._link, self._draw))
