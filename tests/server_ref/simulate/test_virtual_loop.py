"""Time is a number: it jumps when nothing is ready, and jobs say how long they take."""

import asyncio
import time
from collections.abc import Coroutine
from typing import TypeVar

import pytest

from server_ref.simulate.loop import START_S, VirtualClock, VirtualLoop, virtual_loop

T = TypeVar("T")


def in_virtual_time(main: Coroutine[None, None, T]) -> T:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def test_an_hour_passes_at_once() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return virtual_loop().time()

    began = time.monotonic()
    assert in_virtual_time(main()) == START_S + 3600
    assert time.monotonic() - began < 60


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def main() -> list[int]:
        woken: list[int] = []

        async def sleeper(seconds: int) -> None:
            await VirtualClock().sleep(seconds)
            woken.append(seconds)

        await asyncio.gather(*(sleeper(seconds) for seconds in (30, 10, 20)))
        return woken

    assert in_virtual_time(main()) == [10, 20, 30]


def test_a_job_takes_the_time_it_says_while_others_go_on() -> None:
    async def main() -> tuple[str, list[float]]:
        loop = virtual_loop()
        seen: list[float] = []

        def job() -> str:
            loop.spend(10.0)
            seen.append(loop.time() - START_S)
            return "done"

        async def other() -> None:
            await asyncio.sleep(1)
            seen.append(loop.time() - START_S)

        beside = asyncio.ensure_future(other())
        result = await asyncio.to_thread(job)
        seen.append(loop.time() - START_S)
        await beside
        return result, seen

    assert in_virtual_time(main()) == ("done", [10.0, 1.0, 10.0])


def test_what_a_job_raises_reaches_its_awaiter() -> None:
    async def main() -> None:
        await asyncio.to_thread(int, "no number")

    with pytest.raises(ValueError, match="no number"):
        in_virtual_time(main())


def test_waiting_for_what_can_never_happen_is_an_error_not_a_hang() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing is left to happen"):
        in_virtual_time(main())


def test_only_a_job_takes_time_and_only_on_this_loop() -> None:
    async def spend() -> None:
        virtual_loop().spend(1.0)

    with pytest.raises(RuntimeError, match="only a job"):
        in_virtual_time(spend())
    with pytest.raises(RuntimeError, match="VirtualLoop"):
        asyncio.run(spend())
