"""The HTTP transport against a real aiohttp server on loopback, and against garbage."""

import asyncio
import hashlib
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.errors import EdgeError, Malformed, Misuse, Reason, Refused, TooLarge, Unreachable
from edge_sdk.interfaces import Transport
from edge_sdk.protocol import (
    CHECK_IN,
    COMMIT,
    DECLINE,
    ENROL,
    HTTP_STATUS,
    JSON_TYPE,
    MODEL,
    PLAN,
    UPDATE,
    dump_json,
    load_json,
    refusal_from,
)
from edge_sdk.telemetry import ByteMeter
from edge_sdk.testing import (
    JOIN_TOKEN,
    FlakyTransport,
    ScriptedServer,
    check_decline,
    check_transport,
)
from edge_sdk.testing.server import scripted_plan
from edge_sdk.transport.http import HttpLimits, HttpTransport
from edge_sdk.values import CheckIn, Commit, Decline, Enrol, Enrolled, Progress, Task, Wait
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, pack

PLAN_BYTES = scripted_plan(inputs=200, classes=3)
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan=hashlib.sha256(PLAN_BYTES).hexdigest(),
    model_version=0,
    codecs=("float32",),
    seed=5,
    deadline_s=600.0,
    chunk_bytes=512,
)
IMPATIENT = HttpLimits(connect_s=2.0, silence_s=0.3)


def frames(task: Task) -> list[bytes]:
    codec = codec_from_spec(task.codecs[0])
    wire_id, parameter = frame_ids(codec)
    vector = np.linspace(-1, 1, 603).astype(np.float32)
    payloads = codec.encode(vector, seed=task.seed, chunk_bytes=task.chunk_bytes - HEADER_BYTES)
    return [
        pack(
            Frame(
                kind=Kind.UPDATE,
                codec=wire_id,
                parameter=parameter,
                index=index,
                count=len(payloads),
                run=task.run,
                number=task.round,
                examples=3,
                seed=task.seed,
                dimension=603,
                payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]


# ---------------------------------------------------------------------- a server to talk to

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Peer:
    """A `ScriptedServer` behind real HTTP. It also notes headers and counts connections."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.seen: list[web.Request] = []
        self.connections: set[object] = set()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 24)
        for method, path, handler in (
            ("POST", ENROL, self.enrol),
            ("POST", CHECK_IN, self.check_in),
            ("GET", PLAN, self.plan),
            ("GET", MODEL, self.model),
            ("POST", UPDATE, self.upload),
            ("GET", UPDATE, self.progress),
            ("POST", COMMIT, self.commit),
            ("POST", DECLINE, self.decline),
        ):
            app.router.add_route(method, path, self.refusing(handler))
        return app

    def refusing(self, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            self.seen.append(request)
            self.connections.add(request.transport)
            try:
                return await handler(request)
            except (Refused, Malformed) as error:
                refusal = refusal_from(error)
                status = HTTP_STATUS[Reason(refusal.reason)]
                return web.Response(body=dump_json(refusal), content_type=JSON_TYPE, status=status)

        return answer

    async def enrol(self, request: web.Request) -> web.Response:
        return said(await self.server.enrol(load_json(Enrol, await request.read())))

    async def check_in(self, request: web.Request) -> web.Response:
        known = [f"Bearer {device.token}" for device in self.server.devices]
        if request.headers.get("Authorization") not in known:
            raise Refused(Reason.UNAUTHORISED)
        return said(await self.server.check_in(load_json(CheckIn, await request.read())))

    async def plan(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=await self.server.plan(request.match_info["digest"]))

    async def model(self, request: web.Request) -> web.StreamResponse:
        version = int(request.match_info["version"])
        return web.Response(
            body=await self.server.model(request.match_info["run"], version, have=None)
        )

    async def upload(self, request: web.Request) -> web.Response:
        self.server.receive(TASK, await request.read())
        return said(await self.server.progress(TASK))

    async def progress(self, request: web.Request) -> web.Response:
        del request
        return said(await self.server.progress(TASK))

    async def commit(self, request: web.Request) -> web.Response:
        return said(await self.server.commit(TASK, load_json(Commit, await request.read())))

    async def decline(self, request: web.Request) -> web.Response:
        return said(await self.server.decline(TASK, load_json(Decline, await request.read())))


def said(message: object) -> web.Response:
    return web.Response(body=dump_json(message), content_type=JSON_TYPE)


@asynccontextmanager
async def served(app: web.Application, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def answering(handler: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", handler)
    async with served(app) as url:
        yield url


@asynccontextmanager
async def raw(answer: bytes, *, then_silence: bool = False) -> AsyncIterator[str]:
    """A listener that sends `answer` to whatever it is sent, then closes or stays silent."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        await writer.drain()
        if then_silence:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def using(url: str, limits: HttpLimits | None = None) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(url, limits=limits)
    try:
        yield transport
    finally:
        await transport.close()


# ---------------------------------------------------------------------- the contract


async def test_keeps_the_contract_of_a_transport() -> None:
    peer = Peer(ScriptedServer([TASK], plan=PLAN_BYTES))
    async with served(peer.app()) as url, using(url) as transport:
        await check_transport(transport, join_token=JOIN_TOKEN, frames=frames)
    assert peer.server.counted == {1: 1}
    assert len(peer.connections) == 1, "one connection is kept alive"


@pytest.mark.parametrize("which", ["server", "flaky"])
async def test_the_fakes_keep_it_too(which: str) -> None:
    server = ScriptedServer([TASK], plan=PLAN_BYTES)
    transport: Transport = server if which == "server" else FlakyTransport(server, [])
    await check_transport(transport, join_token=JOIN_TOKEN, frames=frames)


@pytest.mark.parametrize("which", ["http", "server", "flaky"])
async def test_a_place_can_be_given_back(which: str) -> None:
    server = ScriptedServer([TASK], plan=PLAN_BYTES)
    fakes: dict[str, Transport] = {"server": server, "flaky": FlakyTransport(server, [])}
    async with served(Peer(server).app()) as url, using(url) as transport:
        await check_decline(fakes.get(which, transport), join_token=JOIN_TOKEN)
    assert server.declined == {1: "a check"}
    assert len(server.devices) == 1, "an attempt sent twice is one device"


async def test_bodies_are_counted_and_headers_are_not() -> None:
    peer = Peer(ScriptedServer([TASK], plan=PLAN_BYTES))
    meter = ByteMeter()
    async with served(peer.app()) as url:
        transport = HttpTransport(url, meter=meter)
        request = Enrol(join_token=JOIN_TOKEN)
        enrolled = await transport.enrol(request)
        assert meter.sent_bytes == len(dump_json(request, brief=True))
        assert meter.received_bytes == len(dump_json(enrolled))
        await transport.plan(TASK.plan)
        assert meter.received_bytes == len(dump_json(enrolled)) + len(PLAN_BYTES)
        sent = meter.sent_bytes
        await transport.upload(TASK, frames(TASK))
        assert meter.sent_bytes == sent + sum(map(len, frames(TASK)))
        await transport.close()


async def test_the_token_is_sent_as_bearer_and_not_when_enrolling() -> None:
    peer = Peer(ScriptedServer([TASK], plan=PLAN_BYTES))
    async with served(peer.app()) as url, using(url) as transport:
        transport.identify(Enrolled(device="0" * 32, token="a-token-of-an-earlier-time"))
        enrolled = await transport.enrol(Enrol(join_token=JOIN_TOKEN))
        await transport.check_in(CheckIn())
    assert [r.headers.get("Authorization") for r in peer.seen] == [
        None,
        f"Bearer {enrolled.token}",
    ]
    assert all(r.headers["Accept-Encoding"] == "identity" for r in peer.seen)


# ---------------------------------------------------------------------- three ways to fail


@pytest.mark.parametrize("reason", list(Reason))
async def test_every_reason_comes_through(reason: Reason) -> None:
    async def refuse(request: web.Request) -> web.Response:
        del request
        body = dump_json(refusal_from(Refused(reason, "because", retry_after_s=7.0)))
        return web.Response(body=body, status=HTTP_STATUS[reason], content_type=JSON_TYPE)

    async with answering(refuse) as url, using(url) as transport:
        for call in calls(transport):
            with pytest.raises(Refused) as refusal:
                await call
            assert refusal.value.reason is reason
            assert refusal.value.retry_after_s == 7.0


def calls(transport: HttpTransport) -> list[Awaitable[object]]:
    commit = Commit(chunks=1, examples=1, codec="float32")
    return [
        transport.enrol(Enrol(join_token=JOIN_TOKEN)),
        transport.check_in(CheckIn()),
        transport.plan(TASK.plan),
        transport.model(TASK.run, 0, have=None),
        transport.upload(TASK, frames(TASK)),
        transport.progress(TASK),
        transport.commit(TASK, commit),
        transport.decline(TASK, Decline(why="because")),
    ]


def head(text: str) -> bytes:
    return text.replace("\n", "\r\n").encode() + b"\r\n\r\n"


HTML = head("HTTP/1.1 200 OK\nContent-Type: text/html\nContent-Length: 6") + b"<html>"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", Unreachable),
        (b"HTTP/1.1 200", Unreachable),
        (head("HTTP/1.1 200 OK\nContent-Length: 100") + b'{"kind":', Unreachable),
        (head("HTTP/1.1 502 Bad Gateway\nContent-Length: 3") + b"bad", Unreachable),
        (head("HTTP/1.1 503 Busy\nContent-Length: 0"), Unreachable),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", Malformed),
        (HTML, Malformed),
        (head("HTTP/1.1 302 Found\nLocation: https://evil.example\nContent-Length: 0"), Malformed),
        (head("HTTP/1.1 404 Not Found\nContent-Length: 0"), Malformed),
        (head("HTTP/1.1 200 OK\nContent-Length: 70000"), TooLarge),
        (
            head("HTTP/1.1 200 OK\nTransfer-Encoding: chunked")
            + b"11170\r\n"
            + b" " * 70000
            + b"\r\n0\r\n\r\n",
            TooLarge,
        ),
        (
            head("HTTP/1.1 409 Conflict\nContent-Type: application/json\nContent-Length: 22")
            + b'{"reason":"no-such-r"}',
            Malformed,
        ),
    ],
    ids=[
        "nothing",
        "half a status",
        "half a body",
        "gateway",
        "busy gateway",
        "another protocol",
        "a page",
        "a redirect",
        "not ours",
        "says it is too large",
        "is too large",
        "unknown reason",
    ],
)
async def test_every_answer_ends_in_one_of_three_errors(
    answer: bytes, error: type[EdgeError]
) -> None:
    async with raw(answer) as url, using(url, IMPATIENT) as transport:
        with pytest.raises(error):
            await transport.check_in(CheckIn())


async def test_silence_is_unreachable_and_a_long_poll_is_waited_for() -> None:
    async with raw(b"", then_silence=True) as url, using(url, IMPATIENT) as transport:
        with pytest.raises(Unreachable):
            await transport.check_in(CheckIn())

    async def think(request: web.Request) -> web.Response:
        del request
        await asyncio.sleep(0.5)
        return said(Wait(retry_after_s=1.0))

    async with answering(think) as url, using(url, IMPATIENT) as transport:
        assert await transport.check_in(CheckIn(wait_s=5.0)) == Wait(retry_after_s=1.0)


async def test_no_server_is_unreachable() -> None:
    async with raw(b"") as url:
        pass
    async with using(url) as transport:
        for call in calls(transport):
            with pytest.raises(Unreachable, match=r"^http://127.0.0.1:\d+: cannot connect: \D+$"):
                await call


async def test_what_kept_an_answer_from_coming_is_said_in_plain_words() -> None:
    async with raw(b"") as url, using(url) as transport:
        with pytest.raises(Unreachable, match="closed the connection without an answer"):
            await transport.check_in(CheckIn())
    async with raw(b"", then_silence=True) as url, using(url, IMPATIENT) as transport:
        with pytest.raises(Unreachable, match="no answer in time"):
            await transport.check_in(CheckIn())
    half = head("HTTP/1.1 200 OK\nContent-Length: 100") + b"{"
    async with raw(half) as url, using(url) as transport:
        with pytest.raises(Unreachable, match="in the middle of the answer"):
            await transport.check_in(CheckIn())


async def test_a_plan_of_another_digest_is_refused() -> None:
    async def lie(request: web.Request) -> web.Response:
        del request
        return web.Response(body=b"another plan")

    async with answering(lie) as url, using(url) as transport:
        with pytest.raises(Malformed, match="digest"):
            await transport.plan(TASK.plan)


async def test_downloads_over_the_limit_are_not_read() -> None:
    async def large(request: web.Request) -> web.Response:
        del request
        return web.Response(body=b"x" * 2000)

    async with (
        answering(large) as url,
        using(url, HttpLimits(download_bytes=1000)) as transport,
    ):
        with pytest.raises(TooLarge):
            await transport.model(TASK.run, 0, have=None)


# ---------------------------------------------------------------------- going on by Range

CONTENT = bytes(range(256)) * 40


class Breaking:
    """Sends a few more bytes of `content` on each connection, then breaks it."""

    def __init__(self, content: bytes, *, etag: str | None = '"v1"', ranges: bool = True) -> None:
        self.content = content
        self.etag = etag
        self.ranges = ranges
        self.asked: list[str | None] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        start = 0
        headers = {} if self.etag is None else {"ETag": self.etag}
        if asked and self.ranges and request.headers.get("If-Range") == self.etag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            last = len(self.content) - 1
            headers["Content-Range"] = f"bytes {start}-{last}/{last + 1}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        rest = self.content[start:]
        response.content_length = len(rest)
        await response.prepare(request)
        if len(rest) > 4000:
            await response.write(rest[:4000])
            await asyncio.sleep(0.05)
            assert request.transport is not None
            request.transport.close()
        else:
            await response.write(rest)
        return response


async def fetch(transport: HttpTransport, tries: int) -> bytes:
    for _ in range(tries - 1):
        with pytest.raises(Unreachable):
            await transport.model(TASK.run, 3, have=None)
    return await transport.model(TASK.run, 3, have=None)


async def test_a_broken_download_goes_on_where_it_stopped() -> None:
    peer = Breaking(CONTENT)
    async with answering(peer.answer) as url, using(url) as transport:
        assert await fetch(transport, 3) == CONTENT
    assert peer.asked == [None, "bytes=4000-", "bytes=8000-"]


async def test_content_that_changed_is_fetched_from_the_start() -> None:
    peer = Breaking(CONTENT)
    async with answering(peer.answer) as url, using(url) as transport:
        with pytest.raises(Unreachable):
            await transport.model(TASK.run, 3, have=None)
        peer.content, peer.etag = b"new content", '"v2"'
        assert await transport.model(TASK.run, 3, have=None) == b"new content"


async def test_without_a_strong_tag_nothing_is_stitched_together() -> None:
    for tag in (None, 'W/"weak"'):
        peer = Breaking(CONTENT, etag=tag)
        async with answering(peer.answer) as url, using(url) as transport:
            with pytest.raises(Unreachable):
                await transport.model(TASK.run, 3, have=None)
            with pytest.raises(Unreachable):
                await transport.model(TASK.run, 3, have=None)
        assert peer.asked == [None, None]


async def test_another_download_in_between_starts_afresh() -> None:
    peer = Breaking(CONTENT)
    async with answering(peer.answer) as url, using(url) as transport:
        with pytest.raises(Unreachable):
            await transport.model(TASK.run, 3, have=None)
        with pytest.raises(Unreachable):
            await transport.model(TASK.run, 4, have=None)
    assert peer.asked == [None, None]


@pytest.mark.parametrize("says", ["bytes 0-9/10", "bytes 4000-4009/9999", "nonsense", ""])
async def test_a_range_that_was_not_asked_for_is_refused(says: str) -> None:
    peer = Breaking(CONTENT)

    async def twisted(request: web.Request) -> web.StreamResponse:
        if "Range" not in request.headers:
            return await peer.answer(request)
        return web.Response(status=206, body=b"0123456789", headers={"Content-Range": says})

    async with answering(twisted) as url, using(url) as transport:
        with pytest.raises(Unreachable):
            await transport.model(TASK.run, 3, have=None)
        with pytest.raises(Malformed):
            await transport.model(TASK.run, 3, have=None)


# ---------------------------------------------------------------------- addresses and TLS


@pytest.mark.parametrize(
    "url",
    [
        "http://fl.example.org",
        "http://192.168.1.5:8080",
        "ftp://fl.example.org",
        "fl.example.org",
        "https://",
        "https://user:secret@fl.example.org",
        "https://fl.example.org/?x=1",
        "https://fl.example.org:99999",
        "https://[::1",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str) -> None:
    with pytest.raises(Misuse) as error:
        HttpTransport(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url", ["https://fl.example.org/prefix/", "http://localhost:8080", "http://[::1]:1"]
)
def test_tls_or_this_machine_is_the_default(url: str) -> None:
    HttpTransport(url)
    HttpTransport("http://192.168.1.5:8080", plain_http=True)


def test_a_missing_ca_file_is_the_programs_fault(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="CA file"):
        HttpTransport("https://fl.example.org", ca_file=tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("not a certificate")
    with pytest.raises(Misuse, match="CA file"):
        HttpTransport("https://fl.example.org", ca_file=tmp_path / "bad.pem")


async def test_a_prefix_in_the_address_is_kept() -> None:
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.path_qs)
        return said(Progress())

    async with answering(note) as url, using(url + "/some/prefix/") as transport:
        await transport.progress(TASK)
        await transport.model(TASK.run, 7, have=4)
    assert seen == [
        f"/some/prefix/v1/runs/{TASK.run}/rounds/1/update",
        f"/some/prefix/v1/runs/{TASK.run}/models/7?have=4",
    ]


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1 that vouches for itself."""
    key, certificate = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    command += "-subj /CN=test -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        [*command.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    return key, certificate


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
async def test_only_the_given_authority_is_trusted(tmp_path: Path) -> None:
    key, certificate = self_signed(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def answer(request: web.Request) -> web.Response:
        del request
        return said(Wait(retry_after_s=1.0))

    app = web.Application()
    app.router.add_post(CHECK_IN, answer)
    async with served(app, tls) as url:
        knowing = HttpTransport(url, ca_file=certificate)
        assert await knowing.check_in(CheckIn()) == Wait(retry_after_s=1.0)
        await knowing.close()
        async with using(url) as trusting_the_system:
            with pytest.raises(Unreachable, match=r"certificate is not trusted: self.signed"):
                await trusting_the_system.check_in(CheckIn())
