"""Promise: a server that is stopped or dies goes on where it was, to the same model bit for bit."""

import asyncio
import contextlib
import dataclasses
import errno
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edge_sdk.errors import Corrupt, Misuse, Reason, Refused
from edge_sdk.values import CheckIn, Finished
from server_ref.app import Listening
from server_ref.coordinator import Surroundings, open_run
from server_ref.coordinator.ending import oldest_log
from server_ref.rounds import Rules, open_round
from server_ref.settings import Settings
from server_ref.store import Folder
from server_ref.store.records import RoundRow
from tests.server_ref.serving import ManualTime, ScriptedDevice, device, serving, small_plan

DEVICES = 3
TERMS = {"cohort": DEVICES, "min_updates": 1, "rounds": 2, "codecs": ("eden:bits=2",)}


class Life:
    """Devices that outlive the server's restarts."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._tokens: list[str] = []

    @contextlib.asynccontextmanager
    async def server(self) -> AsyncIterator[tuple[Listening, Sequence[ScriptedDevice]]]:
        """A server process's life, as far as it matters, and the devices."""
        async with serving(self._state, **TERMS) as at, contextlib.AsyncExitStack() as stack:  # type: ignore[arg-type]  # settings
            devices = []
            for number in range(DEVICES):
                token = self._tokens[number] if len(self._tokens) == DEVICES else None
                devices.append(await stack.enter_async_context(device(at, number, token=token)))
            self._tokens = [one.token for one in devices]
            yield at, devices


async def _play(state: Path, *, restart_between: bool) -> list[bytes]:
    """Two rounds, every step by another server process or all by one; the two models."""
    life = Life(state)
    steps = [_check_in_all, _half_upload, _finish_first, _finish_others, _first_again, _finish_all]
    models: list[bytes] = []
    if restart_between:
        for step in steps:
            async with life.server() as (_, devices):
                models += await step(devices)
    else:
        async with life.server() as (_, devices):
            for step in steps:
                models += await step(devices)
    return models


async def _check_in_all(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    for one in devices:
        await one.task()
    return []


async def _half_upload(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    task = await devices[1].task()
    await devices[1].transport.upload(task, devices[1].frames(task)[:1])
    return []


async def _finish_first(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    await devices[2].take_part()
    return []


async def _finish_others(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    task = await devices[1].task()
    frames = devices[1].frames(task)
    progress = await devices[1].transport.progress(task)
    assert progress.held == ((0, 1),)
    await devices[1].transport.upload(task, frames[1:])
    await devices[1].commit(task, frames)
    await devices[0].take_part()
    following = await devices[0].task()
    return [await devices[0].transport.model(following.run, 1, have=None)]


async def _first_again(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    task = await devices[0].task()
    assert (task.round, task.model_version) == (2, 1)
    await devices[0].take_part()
    return []


async def _finish_all(devices: Sequence[ScriptedDevice]) -> list[bytes]:
    for one in devices[1:]:
        await one.take_part()
    end = await devices[0].transport.check_in(CheckIn(wait_s=10))
    assert isinstance(end, Finished)
    return [await devices[0].transport.model(end.run, 2, have=None)]


async def test_the_model_is_the_same_bit_for_bit_with_a_restart_after_every_step(
    tmp_path: Path,
) -> None:
    undisturbed = await _play(tmp_path / "a", restart_between=False)
    assert await _play(tmp_path / "b", restart_between=True) == undisturbed
    assert undisturbed[0] != undisturbed[1]


async def test_a_receipt_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        task = await a.task()
        frames = a.frames(task)
        receipt = await a.take_part()
        token = a.token
    async with serving(tmp_path) as at, device(at, 0, token=token) as a:
        assert await a.commit(task, frames) == receipt
        assert (await a.transport.progress(task)).receipt == receipt


async def test_logs_of_old_rounds_are_dropped_also_when_the_server_died_before(
    tmp_path: Path,
) -> None:
    changes = {"cohort": 1, "rounds": 9}
    token, receipts = None, []
    for life in range(2):
        async with serving(tmp_path, **changes) as at, device(at, 0, token=token) as a:  # type: ignore[arg-type]  # settings
            token = a.token
            for _ in range(3):
                task = await a.task()
                receipts.append((task, await a.take_part()))
            await a.task()
            now = 3 * life + 4
            assert _logged_rounds(tmp_path) == [now - 1, now]
            for task, receipt in receipts:
                assert (await a.transport.progress(task)).receipt == receipt
            chunks = at.opened.coordinator._parts.folder.chunk_log(task.run, 1)
        chunks.write_bytes(b"as if a crash had come between the round's end and this")


def _logged_rounds(state: Path) -> list[int]:
    return sorted(int(path.stem) for path in state.glob("runs/*/chunks/*.log"))


def test_buffers_keep_the_logs_of_all_rounds_they_may_take_devices_over_from() -> None:
    def row(number: int, model_version: int) -> RoundRow:
        return cast("RoundRow", SimpleNamespace(number=number, model_version=model_version))

    rows = [row(1, 0), row(2, 1), row(3, 2), row(4, 2), row(5, 3)]
    rules = Rules(cohort=2, min_updates=1, deadline_s=10.0, over_selection=1.0)
    for most, expected in ((None, 5), (0, 5), (1, 3), (2, 2), (9, 1)):
        buffer = dataclasses.replace(rules, max_staleness=most)
        ended = open_round(number=5, model_version=3, rules=buffer)
        assert oldest_log(ended, rows, keep=1) == expected
    assert oldest_log(open_round(number=5, model_version=3, rules=rules), rows, keep=3) == 3


async def test_a_round_keeps_its_terms_when_the_settings_change(tmp_path: Path) -> None:
    async with serving(tmp_path, epochs=1) as at, device(at, 0) as a:
        before, token = await a.task(), a.token
    async with serving(tmp_path, epochs=9, cohort=7) as at, device(at, 0, token=token) as a:
        after = await a.task()
        assert (after.epochs, after.seed) == (before.epochs, before.seed)


async def test_more_rounds_can_be_asked_for_later(tmp_path: Path) -> None:
    async with serving(tmp_path, rounds=1, cohort=1) as at, device(at, 0) as a:
        await a.take_part()
        assert isinstance(await a.transport.check_in(CheckIn(wait_s=9)), Finished)
        token = a.token
    async with serving(tmp_path, rounds=1, cohort=1) as at, device(at, 0, token=token) as a:
        assert isinstance(await a.transport.check_in(CheckIn()), Finished)
    async with serving(tmp_path, rounds=2, cohort=1) as at, device(at, 0, token=token) as a:
        assert (await a.task()).model_version == 1


async def test_bytes_counted_survive_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        await a.take_part()
        (before,) = (await at.opened.coordinator.summary()).rounds
    async with serving(tmp_path) as at:
        (after,) = (await at.opened.coordinator.summary()).rounds
    assert (after.bytes_up, after.bytes_down) == (before.bytes_up, before.bytes_down)
    assert after.bytes_up > 4000


async def test_a_downlink_that_runs_away_is_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    settings = Settings(
        plan=tmp_path / "x.plan",
        state=tmp_path / "state",
        downlink_codec="blockwise:rate=0.1",
        downlink_speed=1.0,
    )
    with pytest.raises(Misuse, match="run away"):
        async with open_run(settings, small_plan()):
            pass
    assert not settings.state.exists()


async def test_a_damaged_version_is_noticed(tmp_path: Path) -> None:
    async with serving(tmp_path) as at:
        run = at.opened.coordinator.run
    path = Folder(tmp_path).weights(run, 0)
    path.write_bytes(b"\1" + path.read_bytes()[1:])
    with pytest.raises(Corrupt, match="damaged"):
        async with serving(tmp_path):
            pass


class FullDisk:
    """An fsync that refuses while it is full."""

    def __init__(self) -> None:
        self.full = False

    def sync(self, handle: int) -> None:
        """See `Sync`."""
        if self.full:
            raise OSError(errno.ENOSPC, "no space left")
        os.fsync(handle)


async def test_a_full_disk_refuses_chunks_and_takes_them_later(tmp_path: Path) -> None:
    disk = FullDisk()
    outside = Surroundings(sync=disk.sync)
    async with serving(tmp_path, outside=outside, cohort=1, rounds=1) as at, device(at, 0) as a:
        task = await a.task()
        frames = a.frames(task)
        disk.full = True
        with pytest.raises(Refused) as refused:
            await a.transport.upload(task, frames)
        assert refused.value.reason is Reason.STORAGE
        assert refused.value.retry_after_s
        assert (await a.transport.progress(task)).held == ()
        disk.full = False
        await a.transport.upload(task, frames)
        assert (await a.commit(task, frames)).chunks == ((0, len(frames)),)


async def test_a_round_that_cannot_be_published_yet_is_published_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_ref.coordinator.cycle.RETRY_S", 0.02)
    disk, time = FullDisk(), ManualTime()
    outside = Surroundings(sync=disk.sync, now_s=time.now_s)
    async with serving(tmp_path, outside=outside, rounds=1) as at, device(at, 0) as a:
        task = await a.task()
        frames = a.frames(task)
        await a.transport.upload(task, frames[:1])
        await a.commit(task, frames)
        async with device(at, 1) as b:
            other = await b.task()
            await b.transport.upload(other, b.frames(other)[:2])
            disk.full = True
            time.at_s += 1000
            answer = await a.transport.check_in(CheckIn())
            assert answer.kind == "wait"
            disk.full = False
            end = await a.transport.check_in(CheckIn(wait_s=20))
            assert isinstance(end, Finished)
        (one,) = (await at.opened.coordinator.summary()).rounds
        assert (one.committed, one.partial) == (1, 1)


async def test_a_round_that_began_to_close_stays_closed_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_ref.coordinator.cycle.RETRY_S", 0.02)
    disk, time = FullDisk(), ManualTime()
    outside = Surroundings(sync=disk.sync, now_s=time.now_s)
    async with serving(tmp_path, outside=outside) as at, device(at, 0) as a:
        task, token = await a.task(), a.token
        frames = a.frames(task)
        await a.transport.upload(task, frames[:2])
        disk.full = True
        time.at_s += 1000
        with pytest.raises(Refused) as refused:
            await a.transport.upload(task, frames[2:])
        assert refused.value.reason is Reason.ROUND_CLOSED
        await asyncio.sleep(0.1)
    async with serving(tmp_path) as at, device(at, 0, token=token) as a:
        assert (await a.task()).round == 2
        assert (await a.transport.progress(task)).held == ((0, 2),)
        with pytest.raises(Refused) as refused:
            await a.transport.upload(task, frames[2:])
        assert refused.value.reason is Reason.ROUND_CLOSED
