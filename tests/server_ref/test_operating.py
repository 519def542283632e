"""Promise: what the operator orders happens at once, and still holds after a restart."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.errors import Reason, Refused
from edge_sdk.protocol import EVENTS, READY, REFUSALS, ROTATE, load_json
from edge_sdk.transport.http import HttpTransport
from edge_sdk.transport.operator import OperatorClient
from edge_sdk.values import (
    CheckIn,
    Commit,
    Cost,
    DeviceReport,
    Enrol,
    Enrolled,
    Facts,
    Finished,
    LateCosts,
    Wait,
)
from edge_sdk.values.operating import Event, NewToken, Refusals
from server_ref.app import Listening
from server_ref.coordinator import Surroundings
from tests.server_ref.serving import DIMENSION, ScriptedDevice, device, http, serving


@contextlib.asynccontextmanager
async def operator(at: Listening) -> AsyncIterator[OperatorClient]:
    async with OperatorClient(at.url, at.opened.operator_token) as client:
        yield client


async def enrol(at: Listening, token: str, name: str = "") -> Enrolled:
    transport = HttpTransport(at.url)
    try:
        return await transport.enrol(Enrol(join_token=token, facts=Facts(name=name)))
    finally:
        await transport.close()


async def reason_of(at: Listening, token: str) -> Reason | None:
    async with device(at, 0, token=token) as one:
        try:
            await one.transport.check_in(CheckIn())
        except Refused as refused:
            return refused.reason
        return None


# ------------------------------------------------------------------ join tokens


async def test_join_tokens_are_made_listed_used_up_and_withdrawn(tmp_path: Path) -> None:
    clock = [1000.0]
    outside = Surroundings(wall_s=lambda: clock[0])
    async with serving(tmp_path, outside=outside) as at, operator(at) as asked:
        made = await asked.make_token(NewToken(uses=2, expires_s=60, label="kitchen"))
        await enrol(at, made.token)
        other = await asked.make_token(NewToken(uses=1, expires_s=30))
        listed = {one.id: one for one in await asked.tokens()}
        assert (listed[made.id].label, listed[made.id].uses_left) == ("kitchen", 1)
        assert made.token not in repr(listed)
        await enrol(at, made.token)
        clock[0] += 31
        states = {one.id: one.state for one in await asked.tokens()}
        assert (states[made.id], states[other.id]) == ("used-up", "expired")
    async with serving(tmp_path, outside=outside) as at, operator(at) as asked:
        third = await asked.make_token(NewToken(uses=5))
        after = {one.id: one.state for one in await asked.revoke_token(third.id)}
        assert after[third.id] == "revoked"
        with pytest.raises(Refused) as refused:
            await enrol(at, third.token)
        assert refused.value.reason is Reason.UNAUTHORISED
        with pytest.raises(Refused) as unknown:
            await asked.revoke_token("0" * 12)
        assert unknown.value.reason is Reason.NOT_FOUND


# ------------------------------------------------------------------ devices


async def test_a_device_withdrawn_live_is_refused_and_its_place_is_free(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=5) as at, operator(at) as asked:
        join = at.opened.join_token or ""
        first, second = await enrol(at, join, "oven/ñ"), await enrol(at, join, "fridge")
        async with device(at, 0, token=first.token) as one:
            await one.task()
            async with device(at, 1, token=second.token) as other:
                assert isinstance(await other.transport.check_in(CheckIn()), Wait)
                assert (await asked.revoke_device("oven/ñ")).state == "revoked"
                await other.take_part()
            assert await reason_of(at, first.token) is Reason.REVOKED
        with pytest.raises(Refused, match="no device"):
            await asked.revoke_device("nobody")
    async with serving(tmp_path, cohort=1, rounds=5) as at:
        assert await reason_of(at, first.token) is Reason.REVOKED
        assert await reason_of(at, second.token) is None


async def test_a_device_withdrawn_while_it_waits_for_work_gets_no_place(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=5) as at, operator(at) as asked:
        join = at.opened.join_token or ""
        busy, waiting = await enrol(at, join, "busy"), await enrol(at, join, "waiting")
        async with (
            device(at, 0, token=busy.token) as one,
            device(at, 1, token=waiting.token) as other,
        ):
            await one.take_part()
            task = await one.task()
            held = asyncio.ensure_future(other.transport.check_in(CheckIn(wait_s=30)))
            await asyncio.sleep(0.2)
            await asked.revoke_device("waiting")
            assert not held.done()
            await one.take_part()
            with pytest.raises(Refused) as refused:
                await held
            assert refused.value.reason is Reason.REVOKED
            assert (await one.task()).round == task.round + 1


async def test_a_withdrawn_devices_place_is_free_after_a_restart_too(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=5) as at, operator(at) as asked:
        join = at.opened.join_token or ""
        gone, stays = await enrol(at, join, "gone"), await enrol(at, join, "stays")
        async with device(at, 0, token=gone.token) as one:
            await one.task()
        await asked.revoke_device("gone")
    async with (
        serving(tmp_path, cohort=1, rounds=5) as at,
        device(at, 1, token=stays.token) as other,
    ):
        await other.take_part()


async def test_a_forgotten_device_leaves_no_name_and_no_token(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=5) as at, operator(at) as asked:
        gone = await enrol(at, at.opened.join_token or "", "secret name")
        async with device(at, 0, token=gone.token) as one:
            await one.take_part()
        assert (await asked.forget_device(gone.device)).state == "forgotten"
        (left,) = await asked.devices()
        assert (left.device, left.name, left.why) == (gone.device, "", None)
        assert await reason_of(at, gone.token) is Reason.UNAUTHORISED
        assert left.bytes_up > 0
    async with serving(tmp_path, cohort=1, rounds=5) as at, operator(at) as asked:
        (left,) = await asked.devices()
        assert (left.state, left.name, left.updates) == ("forgotten", "", 0)
        assert await reason_of(at, gone.token) is Reason.UNAUTHORISED
    assert b"secret name" not in (tmp_path / "state.sqlite3").read_bytes()


async def test_an_old_token_works_until_the_fresh_one_is_used(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, operator(at) as asked:
        old = await enrol(at, at.opened.join_token or "", "one")
        lost = await asked.rotate_device("one")
        fresh = await asked.rotate_device("one")
        assert await reason_of(at, lost.token) is Reason.UNAUTHORISED
        assert await reason_of(at, old.token) is None
    async with serving(tmp_path) as at:
        assert await reason_of(at, old.token) is None
        assert await reason_of(at, fresh.token) is None
        assert await reason_of(at, old.token) is Reason.UNAUTHORISED
        async with http(at, fresh.token) as client, client.post(ROTATE) as answer:
            own = load_json(Enrolled, await answer.read())
        assert own.device == old.device
    async with serving(tmp_path) as at:
        assert await reason_of(at, own.token) is None
        assert await reason_of(at, fresh.token) is Reason.UNAUTHORISED


async def test_the_table_of_devices_shows_what_they_did_and_said(tmp_path: Path) -> None:
    costs = (
        Cost(phase="wait", seconds=100.0),
        Cost(phase="download", seconds=0.5, energy_j=1.0),
        Cost(phase="train", seconds=2.0, energy_j=5.0),
    )
    for restarted in (False, True):
        async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
            if not restarted:
                one = await enrol(at, at.opened.join_token or "", "shed")
                async with device(at, 3, token=one.token) as dev:
                    task = await dev.task()
                    frames = dev.frames(task)
                    await dev.transport.upload(task, frames)
                    commit = Commit(
                        chunks=len(frames), examples=13, codec=task.codecs[0], why="slow link",
                        costs=costs,
                    )  # fmt: skip
                    await dev.transport.commit(task, commit)
                    late = LateCosts(
                        run=task.run,
                        round=1,
                        costs=(Cost(phase="upload", seconds=1.0, energy_j=0.25),),
                    )
                    report = DeviceReport(battery=0.5, link="wifi", last=late)
                    for _ in range(2):
                        await dev.transport.check_in(CheckIn(report=report))
                (shown,) = await asked.devices()
                assert shown.report == report
            (shown,) = await asked.devices()
            assert (shown.name, shown.updates, shown.last_round) == ("shed", 1, 1)
            assert (shown.why, shown.codec, shown.update_s) == ("slow link", "float32", 3.5)
            assert shown.energy_j == pytest.approx(6.25)
            assert shown.bits is not None
            assert 32 < shown.bits < 60  # 1,000 parameters: heads and reports weigh something
            (run,) = await asked.runs()
            found = await asked.costs(run.run)
            assert sum(found.update_s_counts) == 1
            joules = {p.phase: p.energy_j for p in found.rounds[0].phases}
            assert joules == {"wait": None, "download": 1.0, "train": 5.0, "upload": 0.25}


# ------------------------------------------------------------------ the run


async def test_a_paused_run_gives_no_work_but_takes_what_is_under_way(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=2, rounds=2) as at, operator(at) as asked:
        (run,) = await asked.runs()
        async with device(at, 0) as busy, device(at, 1) as idle:
            task = await busy.task()
            assert (await asked.pause(run.run)).state == "paused"
            assert (await busy.task()).round == task.round
            frames = busy.frames(task)
            await busy.transport.upload(task, frames)
            await busy.commit(task, frames)
            answer = await idle.transport.check_in(CheckIn())
            assert isinstance(answer, Wait)
            assert "paused" in answer.why
            token = idle.token
    async with serving(tmp_path, cohort=2, rounds=2) as at, operator(at) as asked:
        assert [one.state for one in await asked.runs()] == ["paused"]
        async with http(at, token), device(at, 1, token=token) as idle:
            assert isinstance(await idle.transport.check_in(CheckIn()), Wait)
            assert (await asked.resume(run.run)).state == "running"
            await idle.take_part()


async def test_a_stopped_run_ends_with_the_open_round_and_stays_stopped(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
        (run,) = await asked.runs()
        async with device(at, 0) as busy, device(at, 1) as idle:
            task = await busy.task()
            assert (await asked.stop(run.run)).state == "stopped"
            assert isinstance(await idle.transport.check_in(CheckIn()), Finished)
            frames = busy.frames(task)
            await busy.transport.upload(task, frames)
            await busy.commit(task, frames)
            assert isinstance(await busy.transport.check_in(CheckIn(wait_s=5)), Finished)
            token = idle.token
        with pytest.raises(Refused) as refused:
            await asked.resume(run.run)
        assert refused.value.reason is Reason.CONFLICT
    async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
        (after,) = await asked.runs()
        assert (after.state, after.model_version) == ("stopped", 1)
        async with device(at, 1, token=token) as idle:
            assert isinstance(await idle.transport.check_in(CheckIn()), Finished)


async def test_an_idle_run_is_stopped_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, operator(at) as asked:
        (run,) = await asked.runs()
        await asked.stop(run.run)
        assert [one.state for one in (await asked.run(run.run)).rounds] == ["abandoned"]


async def weights(asked: OperatorClient, run: str, version: int) -> bytes:
    return await asked.weights(run, version)


async def rounds_of_one(at: Listening, one: ScriptedDevice, count: int) -> None:
    for _ in range(count):
        before = (await at.opened.coordinator.summary()).model_version
        await one.take_part()
        while (await at.opened.coordinator.summary()).model_version == before:  # noqa: ASYNC110 - asks as an operator would
            await asyncio.sleep(0.01)
    assert at.opened.failed.done() is False


async def test_going_back_publishes_the_old_weights_as_a_new_version(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
        (run,) = await asked.runs()
        async with device(at, 0) as one:
            await rounds_of_one(at, one, 3)
            task = await one.task()
            assert task.model_version == 3
            frames = one.frames(task)
            await one.transport.upload(task, frames)
            assert (await asked.roll_back(run.run, 1)).model_version == 4
            with pytest.raises(Refused) as late:
                await one.commit(task, frames)
            assert late.value.reason is Reason.ROUND_CLOSED
            again = await one.task()
            assert (again.model_version, again.round) == (4, 5)
            assert await weights(asked, run.run, 4) == await weights(asked, run.run, 1)
            assert await weights(asked, run.run, 3) != await weights(asked, run.run, 1)
            token = one.token
        with pytest.raises(Refused) as unknown:
            await asked.roll_back(run.run, 77)
        assert unknown.value.reason is Reason.NOT_FOUND
        states = [one.state for one in (await asked.run(run.run)).rounds]
        assert states == ["published"] * 3 + ["abandoned", "open"]
    async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
        async with device(at, 0, token=token) as one:
            await rounds_of_one(at, one, 1)
        assert (await asked.runs())[0].model_version == 5
        assert await weights(asked, run.run, 5) != await weights(asked, run.run, 4)


async def test_a_finished_run_can_be_turned_back_too(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=2) as at, operator(at) as asked:
        (run,) = await asked.runs()
        async with device(at, 0) as one:
            await rounds_of_one(at, one, 2)
            assert isinstance(await one.transport.check_in(CheckIn(wait_s=5)), Finished)
        after = await asked.roll_back(run.run, 0)
        assert (after.state, after.model_version) == ("finished", 3)
        assert await weights(asked, run.run, 3) == await weights(asked, run.run, 0)


async def test_the_average_is_the_mean_of_the_versions(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=9) as at, operator(at) as asked:
        (run,) = await asked.runs()
        async with device(at, 0) as one:
            await rounds_of_one(at, one, 3)
        each = [np.frombuffer(await weights(asked, run.run, v), "<f4") for v in range(4)]
        averaged = np.frombuffer(await asked.weights(run.run, 3, averaged=True), "<f4")
        assert averaged.shape == (DIMENSION,)
        np.testing.assert_allclose(averaged, np.mean(each[1:], axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(
            np.frombuffer(await asked.weights(run.run, 0, averaged=True), "<f4"), each[0]
        )


# ------------------------------------------------------------------ what can be watched


async def test_events_tell_what_happens(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, rounds=1) as at:
        async with http(at, at.opened.operator_token) as client, client.get(EVENTS) as stream:
            assert (await stream.content.readline()).startswith(b": listening")
            async with device(at, 0) as one:
                with pytest.raises(Refused):
                    await one.transport.plan("0" * 64)
                await one.take_part()
            found: list[Event] = []
            while not found or found[-1].kind != "round-closed":
                line = await stream.content.readline()
                if line.startswith(b"data: "):
                    found.append(load_json(Event, line.removeprefix(b"data: ")))
        kinds = [event.kind for event in found]
        assert kinds == ["device-joined", "refusal", "commit", "round-closed"]
        async with http(at, at.opened.operator_token) as client, client.get(REFUSALS) as answer:
            assert load_json(Refusals, await answer.read()).reasons == {"not-found": 1}


async def test_a_listener_that_hangs_up_is_no_alarm(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, join_uses=8) as at:
        async with http(at, at.opened.operator_token) as client, client.get(EVENTS) as stream:
            await stream.content.readline()
        for _ in range(4):
            await enrol(at, at.opened.join_token or "")
            await asyncio.sleep(0.02)
    assert [one.getMessage() for one in caplog.records if one.exc_info] == []


async def test_a_listener_does_not_hold_a_stopping_server_up(tmp_path: Path) -> None:
    async with serving(tmp_path) as at:
        token = at.opened.operator_token
        async with http(at, token) as client, client.get(EVENTS) as stream:
            await stream.content.readline()
            at.opened.coordinator.prepare_stop()
            async with asyncio.timeout(10):
                rest = await stream.content.read()
    assert b"stopping" in rest


async def test_a_stopping_server_tells_devices_when_to_come_back(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1, away_s=44.0) as at, device(at, 0) as one:
        task = await one.task()
        async with http(at) as client, client.get(READY) as answer:
            assert answer.status == 200
        at.opened.coordinator.prepare_stop()
        async with http(at) as client, client.get(READY) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "44")
        async with device(at, 1, token=one.token) as other:
            told = await other.transport.check_in(CheckIn(wait_s=30))
        assert not isinstance(told, Wait) or 22 <= told.retry_after_s <= 66
        with pytest.raises(Refused) as refused:
            await one.transport.upload(task, one.frames(task))
        assert (refused.value.reason, refused.value.retry_after_s) == (Reason.BUSY, 44.0)
