"""What happens, as it happens: server-sent events."""

import asyncio

from aiohttp import web

from edge_sdk.protocol import EVENTS_TYPE, dump_json
from server_ref.api.exchange import Exchange

HEARTBEAT_S = 15.0
"""A comment after this long without an event shows both ends that the other is there."""


async def events(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/events`: every event from now on, one `data:` line of JSON each."""
    exchange.require_operator()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    response.content_type = EVENTS_TYPE
    with exchange.coordinator.news.listen() as queue:
        await response.prepare(exchange.request)
        await exchange.send(response, b": listening\n\n")
        while not exchange.coordinator.stopping:
            try:
                event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                await exchange.send(response, b": still here\n\n")
            else:
                await exchange.send(response, b"data: " + dump_json(event) + b"\n\n")
    await response.write_eof()
    return response
