"""Joining and asking for work."""

from aiohttp import web

from edge_sdk.values import CheckIn, Enrol
from server_ref.api.exchange import Exchange


async def enrol(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/enrol`: a join token becomes a device."""
    request = await exchange.message(Enrol)
    enrolled = await exchange.coordinator.enrol(request)
    exchange.device = enrolled.device
    return exchange.answer(enrolled)


async def check_in(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/check-in`: work, a pause, or the end."""
    device = exchange.require_device()
    request = await exchange.message(CheckIn)
    answer = await exchange.coordinator.check_in(device, request, still_there=exchange.connected)
    return exchange.answer(answer)
