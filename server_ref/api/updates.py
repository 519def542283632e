"""Updates: chunks in any number of requests, progress, commit."""

import asyncio

from aiohttp import web

from edge_sdk.values import Commit, Decline
from edge_sdk.wire import FrameReader
from server_ref.api.exchange import Exchange

UNSAFE_BYTES = 4 << 20
"""Frames of one request that may wait for the disk before more is read."""


async def upload(exchange: Exchange) -> web.StreamResponse:
    """`POST …/update`: every whole chunk is durable as soon as it was read.

    What was read is kept when the connection breaks, or a later chunk is refused.
    """
    device, number = _device_and_round(exchange)
    largest_frame, largest_body = exchange.coordinator.largest_upload(device, number)
    writes: list[asyncio.Task[None]] = []
    try:
        await _take_frames(
            exchange, FrameReader(max_frame_bytes=largest_frame), largest_body, writes
        )
    finally:
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return exchange.answer(await exchange.coordinator.progress(device, number))


async def _take_frames(
    exchange: Exchange, reader: FrameReader, limit: int, writes: "list[asyncio.Task[None]]"
) -> None:
    device, number = _device_and_round(exchange)
    unsafe = 0
    async for block in exchange.blocks(limit=limit):
        for frame in reader.feed(block):
            write = exchange.coordinator.take_chunk(device, number, frame)
            if write is not None:
                writes.append(write)
                unsafe += len(frame.raw)
        if unsafe > UNSAFE_BYTES:
            await asyncio.gather(*writes)
            writes.clear()
            unsafe = 0
    reader.close()


async def progress(exchange: Exchange) -> web.StreamResponse:
    """`GET …/update`: what is held, and the receipt once it counts."""
    device, number = _device_and_round(exchange)
    return exchange.answer(await exchange.coordinator.progress(device, number))


async def commit(exchange: Exchange) -> web.StreamResponse:
    """`POST …/commit`: the update counts from here on; asking again gives the same receipt."""
    device, number = _device_and_round(exchange)
    request = await exchange.message(Commit)
    return exchange.answer(await exchange.coordinator.commit(device, number, request))


async def decline(exchange: Exchange) -> web.StreamResponse:
    """`POST …/decline`: the place is free for others; asking again gives the same."""
    device, number = _device_and_round(exchange)
    request = await exchange.message(Decline)
    return exchange.answer(await exchange.coordinator.decline(device, number, request))


def _device_and_round(exchange: Exchange) -> tuple[str, int]:
    device = exchange.require_device()
    exchange.require_run()
    exchange.number = exchange.number_in_path("round")
    return device, exchange.number
