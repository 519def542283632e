"""The HTTP application and its life: sockets, signals, TLS."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from server_ref.api import Api, refuse_unrouted, routes
from server_ref.coordinator import Evaluate, Opened, Surroundings, open_run
from server_ref.settings import Settings
from server_ref.store import write_durably

GRACE_S = 3.0
"""How long requests under way may take once the server is stopping."""

log = logging.getLogger(__name__)
http_log = logging.getLogger("server_ref.http")


def _in_one_line(record: logging.LogRecord) -> bool:
    """What a stranger sends that is no HTTP is worth a line, not an alarm with a traceback."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = f"no HTTP: {type(error).__name__}", ()
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
    app = web.Application(middlewares=[refuse_unrouted])
    app.add_routes(routes(Api(opened.coordinator, opened.operator_token)))
    return app


@contextlib.asynccontextmanager
async def listen(
    settings: Settings,
    plan: Plan,
    *,
    evaluate: Evaluate | None = None,
    outside: Surroundings | None = None,
) -> AsyncIterator[Listening]:
    """Serve the run of `settings.state` while the context lasts.

    Raises:
        Misuse: the folder, the certificate or the address cannot be used.
    """
    tls = _tls(settings)
    async with open_run(settings, plan, evaluate=evaluate, outside=outside) as opened:
        runner = web.AppRunner(
            build_app(opened),
            auto_decompress=False,
            access_log=None,
            logger=http_log,
            shutdown_timeout=GRACE_S,
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, settings.host, settings.port, ssl_context=tls)
            try:
                await site.start()
            except OSError as error:
                raise Misuse(
                    f"cannot listen on {settings.host}:{settings.port}: {error.strerror}"
                ) from None
            listening = Listening(_url(runner, settings), opened)
            _announce(settings, listening)
            yield listening
        finally:
            opened.coordinator.prepare_stop()
            await runner.cleanup()


async def serve(
    settings: Settings,
    plan: Plan,
    *,
    evaluate: Evaluate | None,
    on_listening: Callable[[Listening], None],
) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM), or the run cannot go on."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with listen(settings, plan, evaluate=evaluate) as listening:
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


def _tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise Misuse(f"cannot use the certificate: {error}") from None
    return context


def _url(runner: web.AppRunner, settings: Settings) -> str:
    port = runner.addresses[0][1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"{'http' if settings.tls_cert is None else 'https'}://{host}:{port}"


def _announce(settings: Settings, listening: Listening) -> None:
    if settings.announce is None:
        return
    opened = listening.opened
    told = {
        "url": listening.url,
        "join_token": opened.join_token,
        "operator_token": opened.operator_token,
    }
    write_durably(settings.announce, json.dumps(told).encode(), mode=0o600)
