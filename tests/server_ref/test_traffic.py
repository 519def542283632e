"""Promise: bytes that were counted are in every summary, also while they are being recorded."""

import asyncio
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from edge_sdk.values.summaries import RoundSummary
from server_ref.coordinator import Surroundings
from server_ref.store import Change, Connection, Database
from tests.server_ref.serving import device, serving

T = TypeVar("T")


class SlowDisk(Database):
    """Every change takes a twentieth of a second."""

    def write(self, change: Change[T]) -> "Future[T]":
        def slowly(connection: Connection) -> T:
            time.sleep(0.05)
            return change(connection)

        return super().write(slowly)


async def test_counts_on_their_way_to_the_disk_are_not_missing_meanwhile(tmp_path: Path) -> None:
    seen: list[RoundSummary] = []
    outside = Surroundings(open_database=SlowDisk)
    async with serving(tmp_path, outside=outside, cohort=1, rounds=2) as at:

        async def watch() -> None:
            while True:
                summary = await at.opened.coordinator.summary()
                seen.extend(one for one in summary.rounds if one.committed)

        watching = asyncio.create_task(watch())
        async with device(at, 0) as one:
            update = len(b"".join(one.frames(await one.task())))
            await one.take_part()
            await one.take_part()
        watching.cancel()
        devices = await at.opened.coordinator.desk.devices()
    assert seen
    assert all(one.bytes_up >= update for one in seen)
    assert devices[0].bytes_up >= 2 * update
