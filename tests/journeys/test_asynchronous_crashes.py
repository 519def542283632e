"""Promise: killed at any moment, an asynchronous run makes the very models it would have made.

A slow device's task is carried from the first buffer into the second while the server dies.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Commit, Receipt, Task
from tests.journeys.scripted import Prepared, prepare, update_of
from tests.journeys.test_crash_matrix import Run

pytestmark = pytest.mark.journey

OPTIONS = [
    "--rounds", "2", "--cohort", "2", "--min-updates", "2", "--over-selection", "2",
    "--max-staleness", "1", "--codec", "eden:bits=4", "--chunk-bytes", "2048", "--run-seed", "7",
    "--optimizer", "momentum", "--join-uses", "3",
]  # fmt: skip


BY_CLOCK = 12
"""Most moments of writes that the clock asks for, which may be missing in another, quicker run."""


class AsynchronousRun(Run):
    """Devices in turn: the first begins before the first version and is done after it."""

    async def play(self) -> None:
        """Two buffers."""
        slow = await self._task(0, round=1)
        await self._send(0, slow, first=0, end=1)
        for device in (1, 2):
            await self._take_part(device, round=1)
        await self._send(0, slow, first=1, end=None)
        assert (await self._commit(0, slow)).round == 1
        await self._take_part(1, round=2)

    async def _take_part(self, device: int, *, round: int) -> None:  # noqa: A002 - as a task calls it
        task = await self._task(device, round=round)
        await self._send(device, task, first=0, end=None)
        await self._commit(device, task)

    async def _task(self, device: int, *, round: int) -> Task:  # noqa: A002 - as a task calls it
        async def ask(transport: HttpTransport) -> Task:
            found = await transport.check_in(CheckIn(wait_s=20))
            assert isinstance(found, Task)
            assert found.round == round
            return found

        return await self._insist(self._prepared.devices[device], ask)

    def _update(self, device: int, task: Task) -> tuple[list[bytes], Commit]:
        return update_of(task, self._prepared.dimension, device)

    async def _send(self, device: int, task: Task, *, first: int, end: int | None) -> None:
        frames, _ = self._update(device, task)

        async def send(transport: HttpTransport) -> object:
            return await transport.upload(task, frames[first:end])

        await self._insist(self._prepared.devices[device], send)

    async def _commit(self, device: int, task: Task) -> Receipt:
        _, commit = self._update(device, task)

        async def ask(transport: HttpTransport) -> Receipt:
            return await transport.commit(task, commit)

        return await self._insist(self._prepared.devices[device], ask)


async def _undisturbed(prepared: Prepared, folder: Path) -> tuple[list[bytes], int]:
    """Every file of every version, and how many moments there are."""
    run = AsynchronousRun(prepared, folder / "undisturbed", fatal=0, options=OPTIONS)
    files = await run.finish()
    weights = [file.partition(b".weights")[2] for file in files if b".weights" in file[:20]]
    assert len(set(weights)) == 3, "every buffer moves the model"
    return files, len(run.trace.read_text().split("\n")) - 1


async def _die_at(
    points: Sequence[int], certain: int, prepared: Prepared, wanted: list[bytes], folder: Path
) -> None:
    for point in points:
        run = AsynchronousRun(prepared, folder / f"{point}", fatal=point, options=OPTIONS)
        assert await run.finish() == wanted, f"another model after a death at moment {point}"
        assert run.deaths == 1 or point > certain, f"moment {point} never came"
        shutil.rmtree(folder / f"{point}")


async def test_a_death_while_a_device_is_carried_changes_no_bit(tmp_path: Path) -> None:
    prepared = await prepare(tmp_path, OPTIONS, devices=3)
    wanted, moments = await _undisturbed(prepared, tmp_path)
    await _die_at(
        range(moments // 3, moments + 1, 17), moments - BY_CLOCK, prepared, wanted, tmp_path
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_death_at_any_moment_of_an_asynchronous_run_changes_no_bit(tmp_path: Path) -> None:
    prepared = await prepare(tmp_path, OPTIONS, devices=3)
    wanted, moments = await _undisturbed(prepared, tmp_path)
    await _die_at(range(1, moments + 1), moments - BY_CLOCK, prepared, wanted, tmp_path)
