"""Promise: with `max_staleness` nobody is waited for, slow devices count, and nothing is lost."""

import asyncio
import contextlib
import dataclasses
import math
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from edge_sdk.errors import Misuse, Reason, Refused
from edge_sdk.values import CheckIn, Decline, Finished, Task, Vector, Wait
from server_ref.app import Listening
from server_ref.coordinator import Surroundings
from server_ref.store import Change, Connection, Database
from tests.server_ref.serving import (
    DIMENSION,
    ManualTime,
    ScriptedDevice,
    delta,
    device,
    serving,
    small_plan,
    unpack_snapshot,
)

T = TypeVar("T")

DEVICES = 5
TERMS: dict[str, object] = {
    "cohort": 2,
    "min_updates": 2,
    "over_selection": 3.0,
    "rounds": 4,
    "max_staleness": 2,
    "codecs": ("float32",),
    "shrink": False,
}
START = small_plan().whole_weights()


class Life:
    """Devices that outlive the server's restarts."""

    def __init__(self, state: Path, **changes: object) -> None:
        self._state = state
        self._terms = TERMS | changes
        self._tokens: list[str] = []

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[Listening, Sequence[ScriptedDevice]]]:
        """A server process's life, as far as it matters, and the devices."""
        async with serving(self._state, **self._terms) as at, contextlib.AsyncExitStack() as stack:  # type: ignore[arg-type]  # settings
            devices = []
            for number in range(DEVICES):
                token = self._tokens[number] if len(self._tokens) == DEVICES else None
                devices.append(await stack.enter_async_context(device(at, number, token=token)))
            self._tokens = [one.token for one in devices]
            yield at, devices


async def buffer_of(*devices: ScriptedDevice) -> None:
    """These take part; when the buffer they fill has ended."""
    tasks = [await one.task() for one in devices]
    for one, task in zip(devices, tasks, strict=True):
        frames = one.frames(task)
        await one.transport.upload(task, frames)
        await one.commit(task, frames)


async def model(one: ScriptedDevice, run: str, version: int) -> Vector:
    data = await one.transport.model(run, version, have=None)
    return unpack_snapshot(data, dimension=DIMENSION)


async def until_version(at: Listening, version: int) -> None:
    """When that is published and the next buffer is open, or the run is finished."""
    while True:
        run = await at.opened.coordinator.summary()
        goes_on = run.state == "finished" or run.rounds[-1].state == "open"
        if run.model_version >= version and goes_on:
            return
        await asyncio.sleep(0.01)


def mean_of(*weighted: tuple[int, int]) -> "np.ndarray[tuple[int], np.dtype[np.float64]]":
    """The mean of devices' updates, each with its staleness."""
    weights = [(10 + number) / math.sqrt(1 + staleness) for number, staleness in weighted]
    total = sum(
        w * delta(number).astype(np.float64)
        for w, (number, _) in zip(weights, weighted, strict=True)
    )
    return np.asarray(total) / sum(weights)


async def test_a_slow_update_counts_in_a_later_buffer_with_less_weight(tmp_path: Path) -> None:
    async with Life(tmp_path).server() as (at, (slow, a, b, c, d)):
        old = await slow.task()
        frames = slow.frames(old)
        assert (await slow.transport.upload(old, frames[:2])).held == ((0, 2),)
        await buffer_of(a, b)
        await until_version(at, 1)
        await buffer_of(c, d)
        await until_version(at, 2)
        again = await slow.task()
        assert (again.round, again.model_version, again.seed) == (1, 0, old.seed), "its task stays"
        assert (await slow.transport.progress(old)).held == ((0, 2),), "and what it sent"
        await slow.transport.upload(old, frames[2:])
        receipt = await slow.commit(old, frames)
        assert receipt.round == 1
        await buffer_of(a)
        await until_version(at, 3)
        assert await slow.commit(old, frames) == receipt, "asked again in a later buffer"
        second = START + mean_of((1, 0), (2, 0)) + mean_of((3, 0), (4, 0))
        assert await model(a, old.run, 2) == pytest.approx(second, abs=1e-5)
        third = second + mean_of((0, 2), (1, 0))
        assert await model(a, old.run, 3) == pytest.approx(third, abs=1e-5)
        rounds = (await at.opened.coordinator.summary()).rounds
        assert [(r.admitted, r.committed) for r in rounds] == [(3, 2), (2, 2), (1, 2), (0, 0)]
        fresh = await slow.task()
        assert (fresh.round, fresh.model_version) == (4, 3)


async def test_what_is_too_stale_is_refused_and_the_device_goes_on(tmp_path: Path) -> None:
    async with Life(tmp_path, max_staleness=1).server() as (at, (slow, a, b, c, d)):
        old = await slow.task()
        frames = slow.frames(old)
        await slow.transport.upload(old, frames[:2])
        await buffer_of(a, b)
        await until_version(at, 1)
        assert (await slow.transport.progress(old)).held == ((0, 2),)
        await buffer_of(c, d)
        await until_version(at, 2)
        for ask in (
            slow.transport.upload(old, frames[2:]),
            slow.commit(old, frames),
            slow.transport.progress(old),
        ):
            with pytest.raises(Refused) as refused:
                await ask
            assert refused.value.reason is Reason.STALE_MODEL
        fresh = await slow.task()
        assert (fresh.round, fresh.model_version) == (3, 2)
        await slow.take_part()
        await buffer_of(a)
        await until_version(at, 3)


async def test_who_has_sent_nothing_gets_the_newest_model(tmp_path: Path) -> None:
    async with Life(tmp_path).server() as (at, (slow, a, b, *_)):
        old = await slow.task()
        await buffer_of(a, b)
        await until_version(at, 1)
        fresh = await slow.task()
        assert (fresh.round, fresh.model_version) == (2, 1)
        with pytest.raises(Refused) as refused:
            await slow.transport.upload(old, slow.frames(old))
        assert refused.value.reason is Reason.STALE_MODEL


async def test_a_task_is_good_after_its_buffer_though_nothing_was_sent_yet(tmp_path: Path) -> None:
    async with Life(tmp_path).server() as (at, (slow, a, b, c, _)):
        old = await slow.task()
        await buffer_of(a, b)
        await until_version(at, 1)
        with pytest.raises(Refused) as refused:
            await slow.transport.upload(dataclasses.replace(old, round=2), slow.frames(old))
        assert refused.value.reason is Reason.NOT_ADMITTED, "it works on another task"
        frames = slow.frames(old)
        await slow.transport.upload(old, frames)
        await slow.commit(old, frames)
        await buffer_of(c)
        await until_version(at, 2)
        expected = START + mean_of((1, 0), (2, 0)) + mean_of((0, 1), (3, 0))
        assert await model(a, old.run, 2) == pytest.approx(expected, abs=1e-5)


async def test_who_declines_an_old_task_is_not_carried_on(tmp_path: Path) -> None:
    life = Life(tmp_path)
    async with life.server() as (at, (slow, a, b, c, _)):
        old = await slow.task()
        await slow.transport.upload(old, slow.frames(old)[:1])
        await buffer_of(a, b)
        await until_version(at, 1)
        await c.task()
        assert isinstance(await slow.transport.decline(old, Decline(why="tired")), Wait)
    async with life.server() as (_, (slow, *_)):
        with pytest.raises(Refused):
            await slow.transport.upload(old, slow.frames(old)[1:])
        assert (await slow.task()).round == 2


async def test_who_is_withdrawn_is_not_carried_on(tmp_path: Path) -> None:
    life = Life(tmp_path)
    async with life.server() as (at, (slow, a, b, c, _)):
        old = await slow.task()
        await slow.transport.upload(old, slow.frames(old)[:1])
        await buffer_of(a, b)
        await until_version(at, 1)
        await c.task()
        desk = at.opened.coordinator.desk
        await desk.revoke((await desk.devices())[0].device)
        token = c.token
    async with serving(tmp_path, **TERMS) as at, device(at, 3, token=token) as c:  # type: ignore[arg-type]  # settings
        await c.take_part()
        run = await at.opened.coordinator.summary()
        assert [(r.admitted, r.committed) for r in run.rounds] == [(2, 2), (1, 1)]


# ------------------------------------------------------------------ restarts


class Play:
    """Four buffers with two slow devices, step by step."""

    def __init__(self) -> None:
        self.at: Listening
        self.devices: Sequence[ScriptedDevice]
        self._olds: dict[int, Task] = {}

    def steps(self) -> list[Callable[[], Awaitable[object]]]:
        """In their order."""
        return [
            self._begin,
            partial(self._fill, 1),
            self._slow_sends,
            self._slow_commits,
            lambda: buffer_of(self.devices[4]),  # buffer 2: staleness 1 and 0
            lambda: until_version(self.at, 2),
            lambda: buffer_of(self.devices[2]),
            self._slower_finishes,  # buffer 3: staleness 0 and 2
            partial(self._fill, 4),
        ]

    async def _begin(self) -> None:
        for one in self.devices[:2]:
            self._olds[one.number] = task = await one.task()
            await one.transport.upload(task, one.frames(task)[:1])

    async def _fill(self, version: int) -> None:
        await buffer_of(*self.devices[2:4])
        await until_version(self.at, version)

    async def _slow_sends(self) -> None:
        one, old = self.devices[0], self._olds[0]
        assert (await one.transport.progress(old)).held == ((0, 1),)
        await one.transport.upload(old, one.frames(old)[1:])

    async def _slow_commits(self) -> None:
        one, old = self.devices[0], self._olds[0]
        assert (await one.commit(old, one.frames(old))).round == 1

    async def _slower_finishes(self) -> None:
        one, old = self.devices[1], self._olds[1]
        frames = one.frames(old)
        await one.transport.upload(old, frames[1:])
        await one.commit(old, frames)
        await until_version(self.at, 3)


async def _play(state: Path, *, lives: bool) -> list[bytes]:
    """The models: every step by another server process, or all by one."""
    life, play = Life(state, codecs=("eden:bits=2",), shrink=True, chunk_bytes=512), Play()
    steps = play.steps()
    for some in [[step] for step in steps] if lives else [steps]:
        async with life.server() as (play.at, play.devices):
            for step in some:
                await step()
    async with life.server() as (_, devices):
        end = await devices[0].transport.check_in(CheckIn())
        assert isinstance(end, Finished)
        return [await devices[0].transport.model(end.run, v, have=None) for v in range(1, 5)]


async def test_the_models_are_the_same_bit_for_bit_with_a_restart_after_every_step(
    tmp_path: Path,
) -> None:
    undisturbed = await _play(tmp_path / "a", lives=False)
    assert await _play(tmp_path / "b", lives=True) == undisturbed
    assert len(set(undisturbed)) == 4


# ------------------------------------------------------------------ at the start


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"memory": "artemis", "codecs": ("eden:bits=2",)}, "Artemis"),
        ({"ways": ("full", "split")}, "split"),
        ({"aggregation": "median"}, "median"),
        ({"least_stage": 0}, "least_stage"),
        ({"keep_versions": 2}, "keep_versions"),
    ],
)
async def test_what_does_not_go_together_is_refused_at_the_start(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    with pytest.raises(Misuse, match=f"(?i){said}"):
        async with serving(tmp_path, **(TERMS | changes)):  # type: ignore[arg-type]  # settings
            pass


# ------------------------------------------------------------------ while a buffer ends


class SlowTransactions(Database):
    """Holds the end of a round back until it is told to go on."""

    def __init__(self, path: Path, gate: threading.Event) -> None:
        self._gate = gate
        super().__init__(path)

    def write(self, change: Change[T]) -> "Future[T]":
        """See `Database.write`."""

        def gated(connection: Connection) -> T:
            result = change(connection)
            if getattr(change, "__name__", "") == "mark":
                assert self._gate.wait(20)
            return result

        return super().write(gated)


async def test_chunks_and_commits_of_others_pass_over_the_end_of_a_buffer(tmp_path: Path) -> None:
    gate = threading.Event()
    outside = Surroundings(open_database=lambda path: SlowTransactions(path, gate))
    async with (
        serving(tmp_path, outside=outside, **TERMS) as at,  # type: ignore[arg-type]  # settings
        device(at, 0) as slow,
        device(at, 1) as a,
        device(at, 2) as b,
    ):
        old = await slow.task()
        frames = slow.frames(old)
        await slow.transport.upload(old, frames[:1])
        await buffer_of(a, b)  # it is closing now, and stays so
        assert (await slow.transport.upload(old, frames[1:])).held == ((0, len(frames)),)
        committing = asyncio.ensure_future(slow.commit(old, frames))
        await asyncio.sleep(0.1)
        assert not committing.done(), "which buffer it counts in is not known yet"
        gate.set()
        assert (await committing).round == 1
        summary = await at.opened.coordinator.summary()
        assert [(r.state, r.committed) for r in summary.rounds] == [("published", 2), ("open", 1)]


async def test_after_a_roll_back_nobody_goes_on_from_what_was_undone(tmp_path: Path) -> None:
    life = Life(tmp_path)
    async with life.server() as (at, (slow, a, b, c, _)):
        old = await slow.task()
        await slow.transport.upload(old, slow.frames(old)[:1])
        await buffer_of(a, b)
        await until_version(at, 1)
        await c.task()
        await at.opened.coordinator.desk.roll_back(0)
        with pytest.raises(Refused) as refused:
            await slow.transport.upload(old, slow.frames(old)[1:])
        assert refused.value.reason is Reason.STALE_MODEL
    async with life.server() as (at, (slow, *_)):
        with pytest.raises(Refused) as refused:
            await slow.transport.upload(old, slow.frames(old)[1:])
        assert refused.value.reason is Reason.STALE_MODEL
        assert ((await slow.task()).round, (await slow.task()).model_version) == (3, 2)


async def test_a_stopped_run_does_not_wait_for_ever_for_a_buffer_to_fill(tmp_path: Path) -> None:
    time = ManualTime()
    async with (
        serving(tmp_path, outside=Surroundings(now_s=time.now_s), **TERMS) as at,  # type: ignore[arg-type]  # settings
        device(at, 0) as gone,
        device(at, 1) as other,
    ):
        await gone.task()
        await at.opened.coordinator.desk.stop()
        assert (await at.opened.coordinator.summary()).rounds[-1].state == "open"
        time.at_s += 601
        end = await other.transport.check_in(CheckIn(wait_s=5))
        assert isinstance(end, Finished)


async def test_a_round_takes_its_devices_into_a_buffer_only_if_it_was_one(tmp_path: Path) -> None:
    async with Life(tmp_path, max_staleness=0).server() as (_, devices):
        old = await devices[0].task()
        await devices[0].transport.upload(old, devices[0].frames(old)[:1])
        tokens = [one.token for one in devices]
    async with (
        serving(tmp_path, **TERMS) as at,  # type: ignore[arg-type]  # settings
        device(at, 0, token=tokens[0]) as slow,
        device(at, 1, token=tokens[1]) as a,
        device(at, 2, token=tokens[2]) as b,
    ):
        await buffer_of(a, b)  # the open round keeps its terms
        await until_version(at, 1)
        with pytest.raises(Refused):
            await slow.transport.upload(old, slow.frames(old)[1:])
        assert (await slow.task()).round == 2
