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
    await exchange.coordinator.desk.hear(device, request)
    answer = await exchange.coordinator.check_in(device, request, still_there=exchange.connected)
    return exchange.answer(answer)


async def rotate(exchange: Exchange) -> web.StreamResponse:
    """`POST /v1/token`: a fresh token; the old one works until that is first used."""
    device = exchange.require_device()
    return exchange.answer(await exchange.coordinator.desk.rotate(device))
