"""What the operator sees; and the call that anybody may make."""

import dataclasses

from aiohttp import web

from edge_sdk.protocol import JSON_TYPE
from server_ref.api.exchange import Exchange


async def runs(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/runs`: every run, without its rounds."""
    exchange.require_operator()
    summary = await exchange.coordinator.summary()
    return exchange.answer((dataclasses.replace(summary, rounds=()),))


async def run(exchange: Exchange) -> web.StreamResponse:
    """`GET /v1/runs/{run}`: one run with its rounds."""
    exchange.require_operator()
    exchange.require_run()
    return exchange.answer(await exchange.coordinator.summary())


async def health(exchange: Exchange) -> web.StreamResponse:  # noqa: ARG001 - the form of a call
    """`GET /healthz`: the server answers."""
    return web.Response(body=b'{"status":"ok"}', content_type=JSON_TYPE)
