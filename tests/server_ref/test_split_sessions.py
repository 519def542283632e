"""Promises of split sessions: real devices and a real server, in one process, over loopback."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.cuts import find_cuts
from edge_sdk.authoring.training import forward_graph
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.split import SplitTerms, default_activations
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.split_server import Progress, ServerHalf
from edge_sdk.errors import Reason, Refused, Unreachable
from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS, SERVER_PART, device_parts
from edge_sdk.protocol.split import SPLIT
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.clock import MonotonicClock
from edge_sdk.runtime.split import SplitTrainer
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Choice, Enrol, Reading, Task, TrainSettings, Way
from edge_sdk.values.splitting import SplitBegin, SplitEnd
from server_ref.app import Listening
from server_ref.store import records
from tests.server_ref.serving import device, serving

Array = NDArray[Any]
MODEL = zoo.mlp((6,), 3, hidden=(8, 5))
CUTS = [cut.name for cut in find_cuts(forward_graph(MODEL), for_split=True)]
EXACT: dict[str, Any] = {
    "ways": ("split",),
    "codecs": ("float32",),
    "split_activations": "float32",
    "split_gradients": "float32",
    "batch_size": 8,
    "learning_rate": 0.1,
    "shrink": False,
}


@pytest.fixture(params=[1, 2], ids=["plain", "targets-stay"], scope="module")
def plan(request: pytest.FixtureRequest) -> Plan:
    cut = [CUTS[0], CUTS[-1]][: request.param]
    return build_plan(MODEL, loss="cross-entropy", name="small", cut=cut)


def data_of(number: int, size: int = 30) -> ArrayDataset:
    rng = np.random.default_rng(number)
    x = rng.normal(size=(size, 6)).astype(np.float32)
    return ArrayDataset(x, (x.sum(axis=1) > 0).astype(np.int64) + (x[:, 0] > 1))


def client(listening: Listening, number: int, state: Path, **more: Any) -> Client:
    return Client(
        listening.url,
        token=listening.opened.join_token,
        data=data_of(number),
        state=state / f"device{number}",
        name=f"device{number}",
        long_poll_s=5,
        seed=number,
        **more,
    )


async def weights_of(listening: Listening, version: int) -> Array:
    parts = listening.opened.coordinator._parts
    row = parts.read(lambda c: records.version(c, parts.run.run, version))
    assert row is not None
    return await asyncio.to_thread(parts.library.weights, row)


class OneWay:
    """Takes every task, one way."""

    def __init__(self, way: Way) -> None:
        self.way: Way = way

    def start(self) -> None:
        """Nothing learned."""

    def decide(self, state: None, task: Task, now: Reading) -> Choice:  # noqa: ARG002 - contract
        return Choice(
            takes_part=True, way=self.way, stage=task.stage, codec=task.codecs[0], why="test"
        )

    def learn(self, *_: object) -> None:
        """Nothing to learn."""


async def federated_average(plan: Plan, tasks: list[Task]) -> Array:
    """What one round of whole training makes."""
    start = plan.initial_weights()
    total, examples = np.zeros(len(start)), 0
    for number, task in enumerate(tasks):
        settings = TrainSettings(
            batch_size=task.batch_size, learning_rate=task.learning_rate, seed=task.seed
        )
        fitted = data_of(number).fit(plan)
        trained = OnnxRuntimeEngine(plan).train(start, fitted, settings)
        total += trained.examples * (trained.weights - start).astype(np.float64)
        examples += trained.examples
    return start + total / examples


@pytest.mark.parametrize("ways", [("split", "split"), ("split", "full")], ids=["split", "mixed"])
async def test_a_round_of_split_devices_is_a_round_of_whole_ones(
    plan: Plan, ways: tuple[Way, Way], tmp_path: Path
) -> None:
    settings = EXACT | {"ways": ("split", "full"), "rounds": 1, "min_updates": 2}
    async with serving(tmp_path / "state", plan=plan, **settings) as listening:
        clients = [
            client(listening, number, tmp_path, policy=OneWay(way))
            for number, way in enumerate(ways)
        ]
        tasks = []
        for one in clients:
            receipt = await one.participate()
            assert receipt is not None
            assert receipt.examples == 30
            assert isinstance(one.answer, Task)
            tasks.append(one.answer)
            await one.close()
        for _ in range(100):
            if listening.opened.coordinator._cycle.model_version == 1:
                break
            await asyncio.sleep(0.05)
        made = await weights_of(listening, 1)
    np.testing.assert_allclose(made, await federated_average(plan, tasks), rtol=1e-4, atol=1e-6)


class Cutting(HttpTransport):
    """Breaks every split connection after a few messages."""

    broken = 0

    async def split(self, task: Task) -> Any:
        channel = await super().split(task)
        sent = 0
        exchange = channel.send

        async def send(message: bytes) -> None:
            nonlocal sent
            sent += 1
            await exchange(message)
            if sent % 3 == 0:
                self.broken += 1
                await channel.close()

        channel.send = send  # type: ignore[method-assign]
        return channel


async def test_broken_connections_change_nothing(plan: Plan, tmp_path: Path) -> None:
    settings = EXACT | {"rounds": 1, "cohort": 1}
    async with serving(tmp_path / "state", plan=plan, **settings) as listening:
        transport = Cutting(listening.url)
        await transport.enrol(Enrol(join_token=listening.opened.join_token or ""))
        task = await transport.check_in(CheckIn(wait_s=5))
        assert isinstance(task, Task)
        trainer = SplitTrainer(
            transport, MonotonicClock(), backoff=Backoff(base_s=0.01, cap_s=0.05)
        )
        start = plan.segments().stage(254).take(plan.initial_weights())
        trained = await trainer.train(
            plan,
            start,
            data_of(0).fit(plan),
            task=task,
            choice=Choice(takes_part=True, way="split", why="test"),
            stop_s=MonotonicClock().now_s() + 60,
        )
        await transport.close()
    assert transport.broken > 0
    settings_alone = TrainSettings(batch_size=8, learning_rate=0.1, seed=task.seed)
    alone = OnnxRuntimeEngine(plan).train(
        plan.initial_weights(), data_of(0).fit(plan), settings_alone
    )
    whole = plan.segments().stage(254).take(alone.weights)
    np.testing.assert_allclose(trained.weights, whole, rtol=1e-5, atol=1e-6)
    assert trained.steps == 4


SPLIT_ONCE = build_plan(MODEL, loss="cross-entropy", name="small", cut=CUTS[0])


async def test_bad_sessions_are_refused_and_harm_nobody(tmp_path: Path) -> None:
    settings = EXACT | {"rounds": 1, "cohort": 2, "split_sessions": 1}
    async with serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening:
        async with device(listening, 0) as good, device(listening, 1) as bad:
            task = await good.task()
            with pytest.raises(Refused) as refused:  # no place in the round
                await (await bad.transport.split(task)).begin(SplitBegin(attempt=1))
            assert refused.value.reason is Reason.NOT_ADMITTED
            channel = await good.transport.split(task)
            assert (await channel.begin(SplitBegin(attempt=1))).held == 0
            await channel.send(b"nonsense")
            with pytest.raises(Refused) as refused:
                await channel.receive()
            assert refused.value.reason is Reason.MALFORMED
            channel = await good.transport.split(task)
            with pytest.raises(Refused) as refused:  # answers that were never given
                await channel.begin(SplitBegin(attempt=1, answered=7))
            assert refused.value.reason is Reason.CONFLICT
            channel = await good.transport.split(task)
            await channel.begin(SplitBegin(attempt=2))
            other = await bad.task()
            crowded = await bad.transport.split(other)
            with pytest.raises(Refused) as refused:  # one session at a time here
                await crowded.begin(SplitBegin(attempt=1))
            assert refused.value.reason is Reason.BUSY
            with pytest.raises(Refused) as refused:  # nothing was trained
                await channel.end(SplitEnd(messages=0))
            assert refused.value.reason is Reason.INCOMPLETE
        async with aiohttp.ClientSession(listening.url) as stranger:
            path = SPLIT.format(run=task.run, round=task.round)
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await stranger.ws_connect(path)


async def test_a_message_over_the_limit_is_not_taken(tmp_path: Path) -> None:
    settings = EXACT | {"rounds": 1, "cohort": 1}
    async with (
        serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening,
        device(listening, 0) as one,
    ):
        task = await one.task()
        channel = await one.transport.split(task)
        ready = await channel.begin(SplitBegin(attempt=1))
        await channel.send(b"\0" * (ready.most_bytes + 1))
        with pytest.raises(Unreachable):
            await channel.receive()


async def test_idle_sessions_are_closed_and_their_work_is_kept(tmp_path: Path) -> None:

    settings = EXACT | {"rounds": 1, "cohort": 1, "split_idle_s": 0.2}
    async with (
        serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening,
        device(listening, 0) as one,
    ):
        task = await one.task()
        terms = SplitTerms(
            run=task.run,
            round=task.round,
            seed=task.seed,
            learning_rate=0.1,
            activations="float32",
            gradients="float32",
            correction=0.0,
        )
        engine = PartEngine(SPLIT_ONCE, 0)
        start = SPLIT_ONCE.segments().part(0).take(SPLIT_ONCE.initial_weights())
        half = DeviceHalf(SPLIT_ONCE, [engine], [start], terms)
        channel = await one.transport.split(task)
        await channel.begin(SplitBegin(attempt=9))
        batches = list(data_of(0).fit(SPLIT_ONCE).batches(size=8, seed=0))
        await channel.send(half.begin(*batches[0]))
        half.take(await channel.receive())
        message = half.begin(*batches[1])
        await channel.send(message)
        lost = await channel.receive()
        with pytest.raises(Unreachable):
            await channel.receive()
        room = listening.opened.coordinator._splitting._room
        assert room is not None
        room.sweep()
        assert len(room) == 0
        channel = await one.transport.split(task)
        ready = await channel.begin(SplitBegin(attempt=9, answered=1))
        assert ready.held == 2
        assert await channel.receive() == lost
        await channel.close()


async def test_later_rounds_download_the_devices_parts_alone(tmp_path: Path) -> None:
    settings = EXACT | {"rounds": 2, "cohort": 1}
    async with serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening:
        one = client(listening, 0, tmp_path, policy=OneWay("split"))
        first = await one.participate()
        second = None
        while second is None:  # the next round opens in a moment
            await asyncio.sleep(0.02)
            second = await one.participate()
        assert first is not None
        assert second.round == first.round + 1
        held = one._bench.model
        assert held is not None
        mine = {segment.number for segment in SPLIT_ONCE.segments().of_stage(DEVICE_PARTS)}
        assert set(held.segments) == mine
        made = await weights_of(listening, 1)
        for segment in SPLIT_ONCE.segments().of_stage(DEVICE_PARTS):
            np.testing.assert_array_equal(held.segments[segment.number], segment.where.take(made))
        await one.close()


async def test_defaults_train_a_quantized_round(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ways": ("split", "full"), "rounds": 1, "cohort": 1}
    async with serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening:
        one = client(listening, 0, tmp_path)
        receipt = await one.participate()
        assert receipt is not None
        assert isinstance(one.answer, Task)
        assert one.answer.ways == ("split", "full")
        await one.close()
        for _ in range(100):
            if listening.opened.coordinator._cycle.model_version == 1:
                break
            await asyncio.sleep(0.05)
        made = await weights_of(listening, 1)
    changed = made != SPLIT_ONCE.initial_weights()
    segments = SPLIT_ONCE.segments()
    for spans in (segments.stage(DEVICE_PARTS), segments.part(SERVER_PART)):
        assert spans.take(changed.astype(np.float32)).any()


async def test_a_task_says_what_split_would_cost(plan: Plan, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"ways": ("full", "split"), "rounds": 2, "cohort": 1}
    async with serving(tmp_path / "state", plan=plan, batch_size=8, **settings) as listening:
        one = client(listening, 0, tmp_path)
        assert await one.participate() is not None
        while not isinstance(one.answer, Task) or one.answer.round == 1:
            await asyncio.sleep(0.02)
            await one.participate()
        await one.close()
        task = one.answer
    offer = task.split
    assert offer is not None
    assert offer.parameters == plan.layout(DEVICE_PARTS).size
    assert offer.download_bytes is not None
    assert task.download_bytes is not None
    assert 0 < offer.download_bytes < task.download_bytes
    assert 0 < offer.working_bytes < offer.full_working_bytes
    assert plan.split is not None
    assert offer.batch_messages == plan.split.parts - 1
    terms = SplitTerms(
        run=task.run,
        round=task.round,
        seed=task.seed,
        learning_rate=0.1,
        activations=default_activations(plan),
        gradients="eden:bits=4",
        correction=0.0,
    )
    sent = sent_for_a_batch(plan, terms, size=8)
    assert 0.5 * offer.batch_up_bytes <= sum(sent) <= offer.batch_up_bytes


def sent_for_a_batch(plan: Plan, terms: SplitTerms, *, size: int) -> list[int]:
    """Bytes of the device's messages of one batch."""
    assert plan.split is not None
    parts, weights = device_parts(plan.split.parts), plan.initial_weights()
    segments = plan.segments()
    device_half = DeviceHalf(
        plan,
        [PartEngine(plan, part) for part in parts],
        [segments.part(part).take(weights) for part in parts],
        terms,
    )
    engine = PartEngine(plan, SERVER_PART)
    server_half = ServerHalf(plan, engine, terms)
    done = Progress(engine.start(segments.part(SERVER_PART).take(weights)))
    x, y = next(iter(data_of(0).fit(plan).batches(size=size, seed=0)))
    message: bytes | None = device_half.begin(x, y)
    sent = []
    while message is not None:
        sent.append(len(message))
        done, answer = server_half.take(done, message)
        message = device_half.take(answer)
    return sent


async def test_a_call_that_is_no_websocket_is_refused(tmp_path: Path) -> None:
    settings = EXACT | {"rounds": 1, "cohort": 1}
    async with (
        serving(tmp_path / "state", plan=SPLIT_ONCE, **settings) as listening,
        device(listening, 0) as one,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {one.token}"}) as session,
    ):
        task = await one.task()
        url = listening.url + SPLIT.format(run=task.run, round=task.round)
        for headers in ({}, {"Upgrade": "websocket", "Connection": "Upgrade"}):
            async with session.get(url, headers=headers) as answer:
                assert answer.status == 400
                assert "WebSocket" in (await answer.json())["detail"]
