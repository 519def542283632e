"""Promise: nobody waits for a device that gave up; a run that comes to nothing does not spin."""

import asyncio
import contextlib
from pathlib import Path

import pytest

from edge_sdk.errors import Reason, Refused
from edge_sdk.values import CheckIn, Commit, Decline, Task, Wait
from server_ref.coordinator import Surroundings
from server_ref.coordinator.limits import LONGEST_PAUSE_S, PATIENT_ROUNDS, recess_s
from tests.server_ref.serving import ManualTime, ScriptedDevice, device, serving


async def decline(one: ScriptedDevice, task: Task, why: str = "diverged") -> Wait:
    """Give the place back, as a device does."""
    return await one.transport.decline(task, Decline(why=why))


async def test_a_place_given_back_is_taken_by_the_next_device(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(serving(tmp_path, rounds=1))
        a, b, c = [await stack.enter_async_context(device(at, n)) for n in range(3)]
        task = await a.task()
        await b.task()
        assert isinstance(await c.transport.check_in(CheckIn()), Wait)
        await a.transport.upload(task, a.frames(task)[:1])
        first, again = await decline(a, task), await decline(a, task)
        assert min(first.retry_after_s, again.retry_after_s) > 0
        assert isinstance(await a.transport.check_in(CheckIn()), Wait)
        with pytest.raises(Refused) as refused:
            await a.transport.commit(task, Commit(chunks=4, examples=10, codec="float32"))
        assert refused.value.reason is Reason.NOT_ADMITTED
        await b.take_part()
        await c.take_part()
        (one,) = (await at.opened.coordinator.summary()).rounds
        assert (one.admitted, one.committed, one.partial) == (2, 2, 0)
        late = await decline(a, task)
        assert late.retry_after_s > 0


async def test_a_decline_survives_a_restart(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a, device(at, 1) as b:
        await b.task()
        await decline(a, await a.task())
        tokens = a.token, b.token
    async with (
        serving(tmp_path) as at,
        device(at, 0, token=tokens[0]) as a,
        device(at, 1, token=tokens[1]) as b,
    ):
        assert isinstance(await a.transport.check_in(CheckIn()), Wait)
        assert (await b.task()).round == 1


async def test_a_round_that_everybody_left_is_abandoned_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a, device(at, 1) as b:
        first, other = await a.task(), await b.task()
        await decline(a, first)
        await decline(b, other)
        task = await a.task()
        assert (task.round, task.model_version) == (2, 0)
        rounds = (await at.opened.coordinator.summary()).rounds
        assert [one.state for one in rounds] == ["abandoned", "open"]


async def test_rounds_that_come_to_nothing_lead_to_a_pause_that_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    time = ManualTime()
    outside = Surroundings(now_s=time.now_s)
    async with serving(tmp_path, outside=outside, pace_s=10, cohort=1) as at, device(at, 0) as a:
        for _ in range(PATIENT_ROUNDS):
            await decline(a, await a.task(), why="data does not fit\x1b[31m")
        recess = recess_s(fruitless=PATIENT_ROUNDS, pace_s=10)
        async with asyncio.timeout(10):
            while True:
                answer = await a.transport.check_in(CheckIn())
                assert isinstance(answer, Wait)
                if answer.retry_after_s > recess:
                    break
                await asyncio.sleep(0.01)
        (told,) = [r.getMessage() for r in caplog.records if "in a row" in r.getMessage()]
        assert "data does not fit" in told
        assert "\x1b" not in told
        time.at_s += recess
        await a.take_part()
        following = await a.task()
        assert (following.round, following.model_version) == (PATIENT_ROUNDS + 2, 1)


async def test_declining_does_not_lengthen_the_pause_that_it_led_to(tmp_path: Path) -> None:
    time = ManualTime()
    outside = Surroundings(now_s=time.now_s)
    async with serving(tmp_path, outside=outside, pace_s=10, cohort=1) as at, device(at, 0) as a:
        most_s = recess_s(fruitless=PATIENT_ROUNDS, pace_s=10)
        declined = 0
        async with asyncio.timeout(60):
            while declined < PATIENT_ROUNDS + 4:
                answer = await a.transport.check_in(CheckIn())
                if isinstance(answer, Task):
                    await decline(a, answer, why="25 s expected at the least, 18 s to spend")
                    declined += 1
                    continue
                assert isinstance(answer, Wait)
                assert answer.retry_after_s <= most_s + 1.5 * 10
                time.at_s += answer.retry_after_s
                await asyncio.sleep(0.01)


def test_pauses_grow_up_to_an_hour_and_begin_when_patience_ends() -> None:
    pauses = [recess_s(fruitless=n, pace_s=5) for n in range(40)]
    assert pauses[: PATIENT_ROUNDS + 1] == [0.0] * PATIENT_ROUNDS + [160.0]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE_S
