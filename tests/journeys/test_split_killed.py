"""Promise: `kill -9` of the server in the middle of a split session changes no bit of the model."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan, Segments, read_model
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.runtime.clock import MonotonicClock
from edge_sdk.runtime.split import SplitTrainer
from edge_sdk.transport.http import HttpTransport
from edge_sdk.transport.split import SplitSocket
from edge_sdk.values import CheckIn, Choice, Commit, Enrol, Task, TrainSettings, Vector
from tests.journeys.server_process import ServerProcess
from tests.server_ref.serving import frames_for, relabelled

pytestmark = pytest.mark.journey

CONFIG = """
ways = ["split"]
codecs = ["float32"]
split_activations = "product:q=4,l=4,bits=32"
split_gradients = "float32"
split_correction = 0.001
rounds = 2
cohort = 1
min_updates = 1
batch_size = 8
shrink = false
run_seed = 5
"""


class Killing(HttpTransport):
    """Kills the server, and starts it again, after some messages of its split sessions."""

    def __init__(self, server: ServerProcess, after: tuple[int, ...]) -> None:
        super().__init__(server.url)
        self._server = server
        self._after = after
        self.sent = 0
        self.killed = 0

    async def split(self, task: Task) -> SplitSocket:
        channel = await super().split(task)
        send = channel.send

        async def counted(message: bytes) -> None:
            self.sent += 1
            await send(message)
            if self.sent in self._after:
                self.killed += 1
                self._server.kill()
                await asyncio.to_thread(self._server.start)

        channel.send = counted  # type: ignore[method-assign]  # a test's spy
        return channel


def data(plan: Plan) -> ArrayDataset:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 6)).astype(np.float32)
    return ArrayDataset(x, (x[:, 0] > 0).astype(np.int64)).fit(plan)


async def one_round(
    plan: Plan, server: ServerProcess, kills: tuple[int, ...]
) -> tuple[Vector, int]:
    """The model after a round of one split device."""
    transport = Killing(server, kills)
    try:
        await transport.enrol(Enrol(join_token=server.join_token))
        task = await transport.check_in(CheckIn(wait_s=10))
        assert isinstance(task, Task)
        assert task.ways == ("split",)
        segments = plan.segments()
        start = segments.stage(DEVICE_PARTS).take(plan.initial_weights())
        trainer = SplitTrainer(transport, MonotonicClock(), backoff=Backoff(base_s=0.1, cap_s=0.5))
        trained = await trainer.train(
            plan,
            start,
            data(plan),
            task=task,
            choice=Choice(takes_part=True, way="split", why="journey"),
            stop_s=MonotonicClock().now_s() + 90,
        )
        if kills:
            server.kill()
            await asyncio.to_thread(server.start)
        frames = relabelled(frames_for(task, trained.weights - start), stage=DEVICE_PARTS)
        await transport.upload(task, frames)
        await transport.commit(task, Commit(chunks=len(frames), examples=10, codec="float32"))
        await transport.check_in(CheckIn(wait_s=10))
        return await model(plan, segments, transport, task), transport.killed
    finally:
        await transport.close()


async def model(plan: Plan, segments: Segments, transport: HttpTransport, task: Task) -> Vector:
    body = await transport.model(task.run, 1, have=None)
    whole = plan.whole_weights()
    held = {segment.number: segment.where.take(whole) for segment in segments.all}
    found = read_model(body, run=task.run, version=1, segments=segments.all, held=held, have=None)
    return segments.gather(found, 0)


async def test_kill_9_changes_no_bit_of_a_split_round(tmp_path: Path) -> None:
    plan = build_plan(zoo.mlp((6,), 2, hidden=(8, 5)), loss="cross-entropy", name="s", cut="auto")
    file, config = tmp_path / "s.plan", tmp_path / "server.toml"
    file.write_bytes(plan.data)
    config.write_text(CONFIG)
    made: list[Vector] = []
    for name, kills in (("undisturbed", ()), ("killed", (2, 5))):
        server = ServerProcess(file, tmp_path / name, ["--config", str(config)])
        server.start()
        try:
            weights, killed = await one_round(plan, server, kills)
        finally:
            server.kill()
        assert killed == len(kills)
        made.append(weights)
    np.testing.assert_array_equal(made[0], made[1])
    settings = TrainSettings(batch_size=8, learning_rate=0.02)
    alone = OnnxRuntimeEngine(plan).train(plan.initial_weights(), data(plan), settings)
    assert np.linalg.norm(made[0] - plan.initial_weights()) > 0.1 * np.linalg.norm(
        alone.weights - plan.initial_weights()
    )
