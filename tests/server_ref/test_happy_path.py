"""Promise: devices that keep to the protocol train a model, and the operator sees how."""

import asyncio
import contextlib
import json
import stat
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from edge_sdk.codecs import codec_from_spec
from edge_sdk.errors import Misuse
from edge_sdk.protocol import MODEL, PLAN, RUN, RUNS
from edge_sdk.testing import check_decline, check_transport
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Evaluation, Finished, Vector, Wait
from edge_sdk.values.summaries import RunSummary
from edge_sdk.wire import Frame, unpack
from server_ref.app import Listening
from server_ref.coordinator import Surroundings
from tests.server_ref.serving import (
    DIMENSION,
    ManualTime,
    delta,
    device,
    frames_for,
    http,
    serving,
    small_plan,
    unpack_snapshot,
)


async def test_two_rounds_move_the_model_by_the_weighted_mean(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a, device(at, 1) as b:
        for _ in range(2):
            await a.take_part()
            await b.take_part()
        end = await a.transport.check_in(CheckIn(wait_s=5))
        assert isinstance(end, Finished)
        assert end.model_version == 2
        data = await a.transport.model(end.run, 2, have=None)
    step = (10 * delta(0).astype(np.float64) + 11 * delta(1).astype(np.float64)) / 21
    expected = small_plan().initial_weights().astype(np.float64)
    for _ in range(2):
        expected = (expected + step).astype(np.float32).astype(np.float64)
    assert np.array_equal(unpack_snapshot(data, dimension=DIMENSION), expected.astype(np.float32))


async def test_the_servers_transport_contract_holds(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=3) as at:
        transport = HttpTransport(at.url)
        try:
            await check_transport(
                transport,
                join_token=at.opened.join_token or "",
                frames=lambda task: frames_for(task, delta(0), examples=3),
            )
        finally:
            await transport.close()
        async with device(at, 1) as other:
            await other.task()
            declining = HttpTransport(at.url)
            try:
                await check_decline(declining, join_token=at.opened.join_token or "")
            finally:
                await declining.close()


async def test_a_quantised_update_counts_as_it_decodes(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, cohort=1, rounds=1, codecs=("eden:bits=2",)) as at,
        device(at, 0) as a,
    ):
        task = await a.task()
        await a.take_part()
        data = await _finished_model(a.transport)
    codec = codec_from_spec("eden:bits=2")
    decoded = np.zeros(DIMENSION, np.float32)
    for frame in _unpacked(frames_for(task, delta(0))):
        piece = codec.decode(frame.payload, frame.place)
        piece.where.put(piece.values, decoded)
    expected = (small_plan().initial_weights().astype(np.float64) + decoded).astype(np.float32)
    assert np.allclose(unpack_snapshot(data, dimension=DIMENSION), expected, atol=1e-6)


async def test_the_same_device_gets_the_same_task_until_it_commits(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        first, again = await a.task(), await a.task()
        assert first.seed == again.seed
        assert (first.run, first.round, first.model_version) == (again.run, again.round, 0)
        await a.take_part()
        answer = await a.transport.check_in(CheckIn())
        assert isinstance(answer, Wait)
        assert answer.retry_after_s > 0


async def test_devices_have_seeds_of_their_own(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a, device(at, 1) as b:
        seeds = {(await a.task()).seed, (await b.task()).seed}
        assert len(seeds) == 2
        assert max(seeds) < 2**53


async def test_a_full_cohort_waits_and_is_woken_by_the_next_round(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=1) as at, device(at, 0) as a, device(at, 1) as b:
        await a.task()
        assert isinstance(await b.transport.check_in(CheckIn()), Wait)
        waiting = asyncio.ensure_future(b.task(wait_s=20))
        await a.take_part()
        assert (await waiting).round == 2


async def test_a_device_that_went_away_while_it_waited_takes_no_place(tmp_path: Path) -> None:
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(serving(tmp_path, cohort=1))
        a, b, gone = [await stack.enter_async_context(device(at, n)) for n in range(3)]
        await a.task()
        waiting = asyncio.ensure_future(gone.task(wait_s=20))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.sleep(0.05)
        await a.take_part()
        assert (await b.task()).round == 2


async def test_an_interrupted_upload_keeps_what_arrived(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        task = await a.task()
        frames = a.frames(task)
        assert len(frames) > 3
        whole = b"".join(frames)
        cut = len(frames[0]) + len(frames[1]) + 100
        _, writer = await asyncio.open_connection("127.0.0.1", int(at.url.rsplit(":", 1)[1]))
        writer.write(
            f"POST /v1/runs/{task.run}/rounds/{task.round}/update HTTP/1.1\r\nHost: x\r\n"
            f"Authorization: Bearer {a.token}\r\nContent-Length: {len(whole)}\r\n\r\n".encode()
            + whole[:cut]
        )
        await writer.drain()
        async with asyncio.timeout(10):
            while (await a.transport.progress(task)).held != ((0, 2),):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.01)
        writer.close()
        await writer.wait_closed()
        progress = await a.transport.upload(task, frames[2:])
        assert progress.held == ((0, len(frames)),)
        assert (await a.commit(task, frames)).chunks == ((0, len(frames)),)


async def test_a_commit_with_chunks_missing_counts_for_those_held(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=2, rounds=1) as at, device(at, 0) as a, device(at, 1) as b:
        task = await a.task()
        frames = a.frames(task)
        await a.transport.upload(task, [frames[0], frames[2]])
        receipt = await a.commit(task, frames)
        assert receipt.chunks == ((0, 1), (2, 3))
        await b.take_part()
        data = await _finished_model(a.transport)
    moved = unpack_snapshot(data, dimension=DIMENSION) - small_plan().initial_weights()
    second = _unpacked(frames_for(task, np.arange(DIMENSION, dtype=np.float32)))[1]
    only_b = codec_from_spec("float32").decode(second.payload, second.place).values.astype(int)
    assert np.allclose(moved[only_b], delta(1)[only_b], atol=1e-6)
    assert not np.allclose(moved[:10], delta(1)[:10], atol=1e-6)


async def test_the_operator_sees_rounds_devices_and_measured_bytes(tmp_path: Path) -> None:
    def evaluate(weights: Vector, _stage: int) -> Evaluation:
        return Evaluation(examples=1, loss=float(np.abs(weights).sum()), accuracy=0.5)

    async with serving(tmp_path, evaluate=evaluate, rounds=1) as at:
        async with device(at, 0) as a, device(at, 1) as b:
            task = await a.task()
            model = await a.transport.model(task.run, 0, have=None)
            plan = await a.transport.plan(task.plan)
            await a.take_part()
            await b.take_part()
            frames = a.frames(task)
        summary = await _summary_when_finished(at)
        (one,) = summary.rounds
        assert (one.state, one.committed, one.admitted, one.partial) == ("published", 2, 2, 0)
        assert one.examples == 21
        assert one.accuracy == 0.5
        sent = 2 * sum(map(len, frames))
        assert sent < one.bytes_up < sent + 1500
        fetched = len(model) + len(plan)
        assert fetched < one.bytes_down < fetched + 3000
        assert (summary.devices, summary.dimension, summary.rounds_wanted) == (2, DIMENSION, 1)


async def test_partial_updates_count_at_the_deadline_and_get_a_receipt(tmp_path: Path) -> None:
    time = ManualTime()
    outside = Surroundings(now_s=time.now_s)
    async with (
        serving(tmp_path, outside=outside, round_deadline_s=60, rounds=1) as at,
        device(at, 0) as a,
    ):
        task = await a.task()
        assert task.deadline_s == 60
        frames = a.frames(task)
        await a.transport.upload(task, frames[:2])
        time.at_s += 59
        assert (await a.task()).deadline_s == 1
        time.at_s += 1
        await _finished_model(a.transport)
        receipt = await a.commit(task, frames)
        assert receipt.chunks == ((0, 2),)
        assert (await a.transport.progress(task)).receipt == receipt
        (one,) = (await at.opened.coordinator.summary()).rounds
        assert (one.partial, one.committed) == (1, 0)


async def test_a_round_below_its_minimum_is_abandoned_and_another_opens(tmp_path: Path) -> None:
    time = ManualTime()
    outside = Surroundings(now_s=time.now_s)
    async with serving(tmp_path, outside=outside, min_updates=2) as at, device(at, 0) as a:
        await a.take_part()
        time.at_s += 601
        task = await a.task()
        assert (task.round, task.model_version) == (2, 0)


async def test_announcement_and_operator_token_are_for_their_owner_only(tmp_path: Path) -> None:
    announce = tmp_path / "told.json"
    async with serving(tmp_path / "state", announce=announce) as at:
        told = json.loads(announce.read_text())
        assert told == {
            "url": at.url,
            "join_token": at.opened.join_token,
            "operator_token": at.opened.operator_token,
        }
        async with device(at, 0):
            pass
    for path in (announce, tmp_path / "state" / "operator.token"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with serving(tmp_path / "state", announce=announce):
        assert json.loads(announce.read_text())["join_token"] is None
        assert json.loads(announce.read_text())["operator_token"] == told["operator_token"]
    secrets = [told["join_token"].encode()]
    for path in (tmp_path / "state").glob("state.sqlite3*"):
        assert not any(secret in path.read_bytes() for secret in secrets)


async def test_one_folder_serves_one_server_and_one_plan(tmp_path: Path) -> None:
    async with serving(tmp_path):
        with pytest.raises(Misuse, match="another server"):
            async with serving(tmp_path):
                pass
    with pytest.raises(Misuse, match="holds a run of plan"):
        async with serving(tmp_path, plan=small_plan(first=3.0)):
            pass


async def test_the_operators_list_has_the_run_without_its_rounds(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, http(at, at.opened.operator_token) as client:
        async with client.get(RUNS) as response:
            body = await response.read()
        (run,) = TypeAdapter(tuple[RunSummary, ...]).validate_json(body)
        assert run.rounds == ()
        async with client.get(RUN.format(run=run.run)) as response:
            full = TypeAdapter(RunSummary).validate_json(await response.read())
        assert [one.state for one in full.rounds] == ["open"]


async def _finished_model(transport: HttpTransport) -> bytes:
    end = await transport.check_in(CheckIn(wait_s=20))
    assert isinstance(end, Finished), end
    return await transport.model(end.run, end.model_version, have=None)


async def _summary_when_finished(at: Listening) -> RunSummary:
    async with asyncio.timeout(10):
        while True:
            summary = await at.opened.coordinator.summary()
            if summary.state == "finished":
                return summary
            await asyncio.sleep(0.01)


def _unpacked(frames: list[bytes]) -> list[Frame]:
    return [unpack(frame) for frame in frames]


async def test_asking_for_the_head_alone_sends_and_counts_no_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        task = await a.task()
        (before,) = (await at.opened.coordinator.summary()).rounds
        async with http(at, a.token) as client:
            for path in (MODEL.format(run=task.run, version=0), PLAN.format(digest=task.plan)):
                async with client.head(path) as response:
                    assert response.status == 200
                    assert int(response.headers["Content-Length"]) > 1000
                    assert await response.read() == b""
        (after,) = (await at.opened.coordinator.summary()).rounds
        assert after.bytes_down == before.bytes_down
