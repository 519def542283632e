"""Every real transfer is told, with what the kernel knows of its connection."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from edge_sdk.errors import Refused
from edge_sdk.protocol import JSON_TYPE, UPDATE, dump_json
from edge_sdk.telemetry import LinkMeter, parse_tcp_info
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import Progress, Refusal, Task

TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan="ab" * 32,
    model_version=0,
    codecs=("float32",),
    seed=5,
    deadline_s=600.0,
)
HAS_TCP_INFO = hasattr(socket, "TCP_INFO")


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.transfers: list[tuple[str, int, float, bool, bytes | None, bytes | None]] = []

    def transferred(
        self,
        direction: str,
        size_bytes: int,
        seconds: float,
        *,
        whole: bool,
        tcp_before: bytes | None,
        tcp_after: bytes | None,
    ) -> None:
        self.transfers.append((direction, size_bytes, seconds, whole, tcp_before, tcp_after))


@asynccontextmanager
async def peer(*, refuse: bool = False, told: Told | LinkMeter) -> AsyncIterator[HttpTransport]:
    async def upload(request: web.Request) -> web.Response:
        await request.read()
        if refuse:
            body = dump_json(Refusal(reason="round-closed"))
            return web.Response(body=body, content_type=JSON_TYPE, status=409)
        return web.Response(body=dump_json(Progress()), content_type=JSON_TYPE)

    async def model(request: web.Request) -> web.Response:
        del request
        return web.Response(body=bytes(20_000))

    app = web.Application(client_max_size=1 << 24)
    app.router.add_post(UPDATE, upload)
    app.router.add_get("/v1/runs/{run}/models/{version}", model)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server = site._server
    assert isinstance(server, asyncio.Server)
    port = server.sockets[0].getsockname()[1]
    transport = HttpTransport(f"http://127.0.0.1:{port}", watcher=told)
    try:
        yield transport
    finally:
        await transport.close()
        await runner.cleanup()


async def test_uploads_and_downloads_are_told_with_their_sizes() -> None:
    told = Told()
    async with peer(told=told) as transport:
        await transport.upload(TASK, [bytes(1000), bytes(500)])
        await transport.upload(TASK, [bytes(700)])
    (first, second) = told.transfers
    assert first[:2] == ("up", 1500)
    assert second[:2] == ("up", 700)
    assert first[2] > 0
    assert first[3]
    assert second[3]
    assert first[4] is None, "a fresh connection has no figures from before"
    if HAS_TCP_INFO:
        assert second[4] is not None, "a kept connection has"
        assert second[5] is not None
        before, after = parse_tcp_info(second[4]), parse_tcp_info(second[5])
        assert before is not None
        assert after is not None
        assert before.acked_bytes is not None
        assert after.acked_bytes is not None
        assert after.acked_bytes - before.acked_bytes >= 700


async def test_a_refused_upload_is_told_as_not_whole() -> None:
    told = Told()
    async with peer(told=told, refuse=True) as transport:
        with pytest.raises(Refused):
            await transport.upload(TASK, [bytes(9000)])
    ((direction, size, _, whole, _, _),) = told.transfers
    assert (direction, size, whole) == ("up", 9000, False)


@pytest.mark.skipif(not HAS_TCP_INFO, reason="this system has no TCP_INFO")
async def test_a_refused_upload_still_tells_the_rate_by_what_the_peer_confirmed() -> None:
    meter = LinkMeter()
    async with peer(told=meter, refuse=True) as transport:
        with pytest.raises(Refused):
            await transport.upload(TASK, [bytes(90_000)])
    assert meter.estimate.rate("up") is not None
    assert meter.estimate.min_rtt_s is not None
    goodput = meter.goodput()
    assert goodput is not None
    assert goodput.up_bytes_per_s == meter.estimate.rate("up")
