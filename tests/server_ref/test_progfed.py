"""Promise: a federation grows, with weak and strong devices, whatever the codec or a restart."""

import asyncio
import dataclasses
import itertools
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.authoring import build_plan, zoo
from edge_sdk.cli.export import write_model
from edge_sdk.datasets import load_npz
from edge_sdk.errors import Reason, Refused
from edge_sdk.plan import Plan, load_plan
from edge_sdk.runtime.client import Client
from edge_sdk.testing import ScriptedSensor
from edge_sdk.values import Choice, Evaluation, Reading, Task, Vector
from edge_sdk.values.summaries import RoundSummary, RunSummary
from server_ref.app import Listening
from server_ref.evaluation import evaluator
from server_ref.store import records
from tests.server_ref.fleet import (
    Device,
    StagePolicy,
    devices_in,
    fleet_at,
    growing_plan,
    held_by,
    parts_of,
    state_of,
    version_made,
)
from tests.server_ref.serving import device, frames_for, relabelled, serving

DIGITS = Path("rpi_demo/digits.npz")


def turns_of(at: Listening) -> list[tuple[int, bool]]:
    """Stage, and whether it warms up, of every round so far."""
    parts = parts_of(at)
    rows = parts.read(lambda c: records.rounds(c, parts.run.run))
    return [(row.terms.stage, row.terms.warm_up) for row in rows]


def stages_of(at: Listening, number: int) -> list[int]:
    """Stages of the updates that count in a round."""
    parts = parts_of(at)
    updates = parts.read(lambda c: records.updates(c, parts.run.run, number))
    return [update.stage for update in updates]


async def round_open(at: Listening, version: int) -> None:
    """Wait until a round is open that trains from a version."""
    for _ in range(200):
        current = at.opened.coordinator._cycle.current
        if current and current.state.model_version == version and not current.closing:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"no round from version {version}")


# ---------------------------------------------------------------------- real training


class Learner(Device):
    """A device that trains for real, on its share of the digits."""

    def start(self, at: Listening) -> None:
        """See `Device`."""
        self.token = at.opened.join_token or self.token
        ((x, y),) = load_npz(DIGITS).batches(size=10_000, seed=None)
        mine = slice(self.number * 200, self.number * 200 + 200)
        self.client = Client(
            at.url,
            token=self.token,
            data=(x[mine], y[mine]),
            state=self.folder,
            policy=self.policy,
            sensor=ScriptedSensor(),
        )


def digits_plan() -> Plan:
    model = zoo.cnn((1, 8, 8), 10, channels=(6, 12), width=16, scale=1 / 16)
    built = build_plan(model, loss="cross-entropy", momentum=0.9, name="digits", stages=2)
    return load_plan(built.data)


async def test_digits_are_learned_while_the_model_grows(tmp_path: Path) -> None:
    plan = digits_plan()
    segments, evaluate = plan.segments(), evaluator(plan, DIGITS)
    devices = [Learner(n, tmp_path / f"device{n}", plan) for n in range(2)]
    changes = {
        "rounds": 6, "warm_up_rounds": 1, "codecs": ("float32",), "epochs": 2, "batch_size": 16,
        "learning_rate": 0.05, "chunk_bytes": 65536,
    }  # fmt: skip
    async with fleet_at(tmp_path / "s", devices, plan=plan, evaluate=evaluate, **changes) as at:
        for version in range(1, 8):
            for one in devices:
                await one.take_part()
            await version_made(at, version)
            wanted = segments.of_stage(0 if version < 4 else 1)
            assert set(held_by(devices[0])[1]) == {segment.number for segment in wanted}
        assert turns_of(at) == [(0, False)] * 3 + [(1, True)] + [(1, False)] * 3
        summary = await at.opened.coordinator.summary()
        states = [state_of(at, version).weights for version in range(8)]
        means = [state_of(at, version).average for version in (4, 7)]
    assert (summary.model_version, summary.rounds_wanted) == (7, 7)
    _check_who_moved(plan, states)
    _check_bytes(plan, summary.rounds)
    assert means[0].tobytes() == states[4].tobytes(), "means begin anew with a stage"
    np.testing.assert_allclose(means[1], np.mean(states[5:], axis=0), atol=1e-5)
    _check_exports(tmp_path, plan, summary, states)
    first, last = evaluate(states[3], 0).accuracy, evaluate(states[7], 1).accuracy
    assert first is not None
    assert last is not None
    assert last > max(0.7, first - 0.05)


def _check_who_moved(plan: Plan, states: list[Vector]) -> None:
    """Each round changes what it trains and nothing else."""
    segments = plan.segments()
    for version, (before, after) in enumerate(itertools.pairwise(states), start=1):
        trained = np.zeros(segments.size)
        spans = segments.trained(0 if version < 4 else 1, warm_up=version == 4)
        spans.put(np.ones(spans.size), trained)
        assert np.array_equal(before[trained == 0], after[trained == 0])
        assert (before != after)[trained == 1].mean() > 0.5


def _check_exports(folder: Path, plan: Plan, summary: RunSummary, states: list[Vector]) -> None:
    """A version is exported as the stage it was made in."""
    for version, stage in ((3, 0), (4, 1), (7, 1)):
        weights = states[version].astype("<f4").tobytes()
        file = folder / f"{version}.onnx"
        write_model(file, summary, plan.data, weights, version=version, model=None)
        kept = {one.name: one for one in onnx.load(file).graph.initializer}
        layout = plan.layout(stage)
        mine = layout.split(plan.segments().stage(stage).take(states[version]))
        for name, array in mine.items():
            assert np.array_equal(numpy_helper.to_array(kept[name]), array)


def _check_bytes(plan: Plan, rounds: tuple[RoundSummary, ...]) -> None:
    """Updates carry what was trained, in float32, downloads what the stage has."""
    segments = plan.segments()
    for one in rounds:
        size = segments.trained(one.stage, warm_up=one.warm_up).size
        assert 8 * size < one.bytes_up < 8 * size + 6000
        if one.model_version:
            assert one.bytes_down < 2 * (4 * segments.stage(one.stage).size + 6000) + 60_000


# ---------------------------------------------------------------------- restarts, every codec

FAMILIES: list[dict[str, object]] = [
    {"codecs": ("eden:bits=4",)},
    {"codecs": ("blockwise:rate=1",), "downlink_codec": "eden:bits=2"},
    {"codecs": ("deadzone:rate=1",), "memory": "error-feedback"},
    {"codecs": ("eden:bits=2",), "memory": "artemis", "downlink_codec": "eden:bits=1"},
]
FILES = ("weights", "frames", "delta", "average", "momentum", "memories")


STEPS = [0, 1, 2, 0, 1, 2, 1, 2, 0, 1, 2, 0, 1, 2]
"""Devices in the order in which they take part; the weak one cannot train the warm-up."""


async def _grown(
    folder: Path, family: Mapping[str, object], *, pieces: Iterable[Sequence[int]]
) -> tuple[list[tuple[int, bool]], list[bytes], list[Vector]]:
    """Rounds, files and devices' memories of a run, the server restarted between the pieces."""
    with socket.socket() as free:  # one address for all lives: a device's state belongs to it
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    plan = growing_plan()
    devices = devices_in(folder, plan, range(3))
    devices[0].policy = StagePolicy(stage=0)
    changes = dict(family) | {
        "port": port, "rounds": 4, "cohort": 3, "min_updates": 3, "warm_up_rounds": 1,
        "least_stage": 0, "optimizer": "momentum", "server_learning_rate": 0.5,
    }  # fmt: skip
    for piece in pieces:
        async with fleet_at(folder / "s", devices, plan=plan, **changes) as at:
            for number in piece:
                await devices[number].take_part()
    async with fleet_at(folder / "s", devices, plan=plan, **changes) as at:
        await version_made(at, 5)
        kept = [parts_of(at).library.file(5, name) for name in FILES]
        files = [path.read_bytes() for path in kept if path.exists()]
        return turns_of(at), files, [one.memory(plan.segments().size) for one in devices]


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: str(family["codecs"][0]))
async def test_a_restart_in_a_warm_up_and_in_a_mixed_round_changes_no_bit(
    tmp_path: Path, family: dict[str, object]
) -> None:
    turns, files, carried = await _grown(tmp_path / "a", family, pieces=[STEPS])
    assert turns == [(0, False)] * 2 + [(1, True)] + [(1, False)] * 2
    pieces = [STEPS[:7], STEPS[7:9], STEPS[9:]]
    again = await _grown(tmp_path / "b", family, pieces=pieces)
    assert again[0] == turns
    assert again[1] == files
    assert [v.tobytes() for v in again[2]] == [v.tobytes() for v in carried]


async def test_what_devices_remember_fits_the_server_over_growth_and_warm_up(
    tmp_path: Path,
) -> None:
    _, files, carried = await _grown(tmp_path, FAMILIES[-1], pieces=[STEPS])
    total = np.frombuffer(files[-1], "<f8")
    np.testing.assert_allclose(total, sum(20.0 * v.astype(np.float64) for v in carried), atol=1e-9)
    new = growing_plan().segments().trained(1, warm_up=True)
    assert not new.take(carried[0]).any()
    assert new.take(carried[1]).any()


# ---------------------------------------------------------------------- small places


MIXED: dict[str, Any] = {
    "cohort": 3, "min_updates": 2, "rounds": 9, "schedule": "whole", "least_stage": 0,
    "codecs": ("float32",), "port": 0,
}  # fmt: skip


async def test_small_places_are_few_outlast_restarts_and_are_insisted_on(tmp_path: Path) -> None:
    plan = growing_plan()
    tokens = []
    async with serving(tmp_path, plan=plan, **MIXED) as at:
        for number, least in ((0, 0), (1, None)):
            async with device(at, number) as one:
                tokens.append(one.token)
                assert (await one.task()).least_stage == least
    async with serving(tmp_path, plan=plan, **MIXED) as at:
        async with device(at, 1, token=tokens[1]) as one:
            task = await one.task()
            assert task.least_stage is None
            small = np.ones(plan.segments().stage(0).size, np.float32)
            with pytest.raises(Refused) as refused:
                await one.transport.upload(task, relabelled(frames_for(task, small), stage=0))
            assert refused.value.reason is Reason.MISMATCH
        async with device(at, 0, token=tokens[0]) as one:
            task = await one.task()
            assert task.least_stage == 0
            await one.transport.upload(task, relabelled(frames_for(task, small), stage=0))


@dataclasses.dataclass(frozen=True, slots=True)
class Moody(FixedPolicy):
    """Trains the stage it wishes; sits out where the task does not take it."""

    wish: list[int] = dataclasses.field(default_factory=lambda: [1])

    def decide(self, state: None, task: Task, now: Reading) -> Choice:
        """See `FixedPolicy`."""
        choice = FixedPolicy.decide(self, state, task, now)
        least = task.stage if task.least_stage is None else task.least_stage
        fits = least <= self.wish[-1] <= task.stage
        return dataclasses.replace(choice, stage=self.wish[-1], takes_part=fits, why="a wish")


async def test_a_device_moves_down_after_it_sat_out_and_up_at_once(tmp_path: Path) -> None:
    plan = growing_plan()
    devices = devices_in(tmp_path, plan, range(4))
    devices[0].policy = policy = Moody()
    trained: list[int | None] = []
    async with fleet_at(tmp_path / "s", devices, plan=plan, **MIXED) as at:
        for version, wish in enumerate([1, 0, 0, 0, 1], start=1):
            policy.wish.append(wish)
            await round_open(at, version - 1)
            assert devices[0].client is not None
            receipt = await devices[0].client.participate()
            trained.append(wish if receipt else None)
            for one in devices[1:3] if receipt else devices[1:]:
                await one.take_part()
            await version_made(at, version)
        stages = [found for n in range(1, 8) if (found := stages_of(at, n))]
    assert trained == [1, None, 0, 0, 1]
    assert stages == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [1, 1, 1]]


# ---------------------------------------------------------------------- plateau


async def test_a_stage_that_gains_nothing_makes_way(tmp_path: Path) -> None:
    plan = growing_plan()
    devices = devices_in(tmp_path, plan, range(1))
    measured: list[int] = []

    def evaluate(_weights: Vector, stage: int) -> Evaluation:
        measured.append(stage)
        return Evaluation(examples=1, loss=1.0, accuracy=0.5)

    changes = {"cohort": 1, "rounds": 10, "schedule": "plateau", "patience": 2}
    async with fleet_at(tmp_path / "s", devices, plan=plan, evaluate=evaluate, **changes) as at:
        for version in range(1, 6):
            await devices[0].take_part()
            await round_open(at, version)
        assert turns_of(at) == [(0, False)] * 3 + [(1, False)] * 3
        assert measured == [0, 0, 0, 1, 1]
