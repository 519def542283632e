"""Plans and models: immutable bytes with ETag and Range."""

import asyncio
import dataclasses
import re
from collections.abc import Callable
from functools import partial

from aiohttp import web

from edge_sdk.errors import Corrupt, Reason, Refused
from edge_sdk.protocol import FRAMES_TYPE, PLAN_TYPE
from server_ref.api.exchange import Exchange
from server_ref.api.refusing import refusal_response

PIECE_BYTES = 256 * 1024
RANGE = re.compile(r"bytes=(\d{0,16})-(\d{0,16})")


@dataclasses.dataclass(frozen=True, slots=True)
class Content:
    """Bytes that never change."""

    size: int
    sha256: str
    media_type: str
    read: Callable[[int, int], bytes]
    """Offset and size to bytes; runs in a thread."""


async def plan(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/plans/{digest}`: the run's plan bundle."""
    exchange.require_reader()
    held = exchange.coordinator.plan
    if exchange.request.match_info["digest"] != held.digest:
        raise Refused(Reason.NOT_FOUND, "no such plan")
    data = memoryview(held.data)
    content = Content(len(data), held.digest, PLAN_TYPE, partial(_slice, data))
    return await _send(exchange, content)


async def model(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/runs/{run}/models/{version}`: what leads to the version from `have`."""
    exchange.require_device()
    exchange.require_run()
    download = await asyncio.to_thread(
        exchange.coordinator.shelf.download,
        exchange.number_in_path("version"),
        have=_number(exchange, "have"),
        stage=_number(exchange, "stage"),
        held_stage=_number(exchange, "held"),
    )
    return await _send(
        exchange, Content(download.size, download.sha256, FRAMES_TYPE, download.read)
    )


def _number(exchange: Exchange, name: str) -> int | None:
    text = exchange.request.query.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 10):
        raise Corrupt(f"{name} is not a number")
    return int(text)


def _slice(data: memoryview, offset: int, size: int) -> bytes:
    return bytes(data[offset : offset + size])


async def _send(exchange: Exchange, content: Content) -> web.StreamResponse:
    """The whole, a range of it, or nothing when it is held already (RFC 9110, 13 and 14)."""
    etag = f'"{content.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "private, max-age=31536000, immutable"}
    if _names(exchange.request.headers.get("If-None-Match", ""), etag):
        return web.Response(status=304, headers=headers)
    first, end = _range(exchange.request, etag, content.size)
    if first >= end:
        refusal = refusal_response(Corrupt("range outside the content"), status=416)
        refusal.headers["Content-Range"] = f"bytes */{content.size}"
        return refusal
    headers |= {"Content-Type": content.media_type, "Accept-Ranges": "bytes"}
    whole = (first, end) == (0, content.size)
    if not whole:
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{content.size}"
    response = web.StreamResponse(status=200 if whole else 206, headers=headers)
    response.content_length = end - first
    await response.prepare(exchange.request)
    to_send = range(0) if exchange.request.method == "HEAD" else range(first, end, PIECE_BYTES)
    for offset in to_send:
        piece = await asyncio.to_thread(content.read, offset, min(PIECE_BYTES, end - offset))
        await exchange.send(response, piece)
    await response.write_eof()
    return response


def _names(header: str, etag: str) -> bool:
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return "*" in tags or etag in tags


def _range(request: web.Request, etag: str, size: int) -> tuple[int, int]:
    """Half-open range asked for; the whole where none, or none that can be understood, is."""
    match = RANGE.fullmatch(request.headers.get("Range", ""))
    if match is None or request.headers.get("If-Range", etag) != etag:
        return 0, size
    first, last = match.groups()
    if not first:
        return (max(0, size - int(last)), size) if last else (0, size)
    return int(first), min(size, int(last) + 1) if last else size
