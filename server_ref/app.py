"""The HTTP application and its life: sockets, signals, TLS."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import resource
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from server_ref.api import Api, name_answer, refuse_unrouted, routes
from server_ref.coordinator import NO_ORDERS, Evaluate, Opened, Orders, Surroundings, open_run
from server_ref.settings import Settings
from server_ref.store import write_durably
from server_ref.tls import certificate_of

GRACE_S = 3.0
"""How long requests under way may take once the server is stopping."""

KEEPALIVE_S = 75.0
"""How long a connection may stay open without the next whole request."""

MOST_CONNECTIONS = 10_000
BACKLOG = 512
"""Connections the system may hold until they are taken."""

EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104 - recognised, not chosen

log = logging.getLogger(__name__)
http_log = logging.getLogger("server_ref.http")


def _in_one_line(record: logging.LogRecord) -> bool:
    """What is no HTTP, and who hangs up, is worth a line, not an alarm with a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError | ConnectionError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = f"no whole exchange: {type(error).__name__}", ()
        record.exc_info = None
    return record.levelno >= http_log.getEffectiveLevel()


http_log.addFilter(_in_one_line)


@dataclasses.dataclass(frozen=True, slots=True)
class Listening:
    """A server that answers."""

    url: str
    opened: Opened


def build_app(opened: Opened) -> web.Application:
    """The aiohttp application of an open run."""
    app = web.Application(middlewares=[_heard, refuse_unrouted])
    app.on_response_prepare.append(name_answer)
    app.add_routes(routes(Api(opened.coordinator, opened.operator_token)))
    app[_UNHEARD] = {}
    return app


_UNHEARD: web.AppKey[dict[asyncio.BaseProtocol, asyncio.TimerHandle]] = web.AppKey("unheard")
"""Connections that have not sent one whole request head yet, and when they are cut for it."""


@web.middleware
async def _heard(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """A connection that asked something is known: what comes next has time limits of its own."""
    timer = request.app[_UNHEARD].pop(request.protocol, None)
    if timer is not None:
        timer.cancel()
    return await handler(request)


@contextlib.asynccontextmanager
async def listen(
    settings: Settings,
    plan: Plan,
    *,
    orders: Orders = NO_ORDERS,
    evaluate: Evaluate | None = None,
    outside: Surroundings | None = None,
) -> AsyncIterator[Listening]:
    """Serve the run of `settings.state` while the context lasts.

    Raises:
        Misuse: the folder, the certificate or the address cannot be used.
    """
    certificate = certificate_of(settings)
    async with contextlib.AsyncExitStack() as stack:
        listener = stack.enter_context(bound_socket(settings))
        opened = await stack.enter_async_context(
            open_run(settings, plan, orders=orders, evaluate=evaluate, outside=outside)
        )
        runner = web.AppRunner(
            build_app(opened),
            auto_decompress=False,
            access_log=None,
            logger=http_log,
            shutdown_timeout=GRACE_S,
            keepalive_timeout=KEEPALIVE_S,
        )
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        stack.callback(opened.coordinator.prepare_stop)
        door = await asyncio.get_running_loop().create_server(
            _bounded(runner, settings.header_timeout_s),
            sock=listener,
            ssl=certificate.context if certificate else None,
            backlog=BACKLOG,
        )
        stack.callback(door.close)
        if certificate is not None:
            stack.callback(asyncio.ensure_future(certificate.follow()).cancel)
        listening = Listening(url_of(listener, settings), opened)
        _announce(settings, listening)
        yield listening


class _TooMany(asyncio.Protocol):
    """A connection there is no room for: cut at once, so that its device comes back later."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Cut it."""
        if isinstance(transport, asyncio.Transport):
            transport.abort()


def _bounded(runner: web.AppRunner, patience_s: float) -> Callable[[], asyncio.BaseProtocol]:
    """Makes aiohttp's protocol for connections, up to `most_connections`.

    aiohttp itself waits for ever for the first request head; here it has `patience_s`.
    """
    server, most = runner.server, most_connections()
    loop, unheard = asyncio.get_running_loop(), runner.app[_UNHEARD]
    if server is None:
        raise RuntimeError("the runner is not set up")

    def cut(silent: asyncio.BaseProtocol) -> None:
        unheard.pop(silent, None)
        transport = getattr(silent, "transport", None)
        if transport is not None:
            transport.abort()

    def protocol() -> asyncio.BaseProtocol:
        if len(server.connections) >= most:
            return _TooMany()
        made = server()
        unheard[made] = loop.call_later(patience_s, cut, made)
        return made

    return protocol


def most_connections() -> int:
    """Three quarters of the files this process may open: the rest is for logs and models."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft * 3 // 4)
    )


async def serve(
    settings: Settings,
    plan: Plan,
    *,
    orders: Orders,
    evaluate: Evaluate | None,
    on_listening: Callable[[Listening], None],
    tell: Callable[[str], None],
) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM), or the run cannot go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    outside = Surroundings(tell=tell)
    async with listen(
        settings, plan, orders=orders, evaluate=evaluate, outside=outside
    ) as listening:
        on_listening(listening)
        told = asyncio.ensure_future(_until(stop))
        waits: list[asyncio.Future[None]] = [told, listening.opened.failed]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        told.cancel()
        log.info("stopping")
        if listening.opened.failed.done():
            listening.opened.failed.result()


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def bound_socket(settings: Settings) -> socket.socket:
    """Take the address before the state folder is touched: a run must not begin for nothing.

    Raises:
        Misuse: the address cannot be used.
    """
    listener: socket.socket | None = None
    try:
        found = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        if listener is not None:
            listener.close()
        where = f"{settings.host}:{settings.port}"
        raise Misuse(f"cannot listen on {where}: {error.strerror}") from None
    return listener


def url_of(listener: socket.socket, settings: Settings) -> str:
    """Address that devices can dial: one of this machine's where all of them are listened on."""
    host, port = settings.host, listener.getsockname()[1]
    if host in EVERYWHERE:
        host = _own_address(listener.family)
    host = f"[{host}]" if ":" in host else host
    return f"{'http' if settings.tls_cert is None else 'https'}://{host}:{port}"


def _own_address(family: int) -> str:
    """The address this machine would send from; nothing is sent."""
    v6 = family == socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("2001:db8::1" if v6 else "192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "::1" if v6 else "127.0.0.1"


def _announce(settings: Settings, listening: Listening) -> None:
    write_durably(settings.state / "server.url", listening.url.encode())
    if settings.announce is None:
        return
    opened = listening.opened
    told = {
        "url": listening.url,
        "join_token": opened.join_token,
        "operator_token": opened.operator_token,
    }
    write_durably(settings.announce, json.dumps(told).encode(), mode=0o600)
