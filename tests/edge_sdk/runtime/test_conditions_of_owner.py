"""The client keeps to its owner's conditions and quotas, and keeps its books."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.adaptation import BudgetPolicy, Eligibility, FixedPolicy, Quotas
from edge_sdk.authoring import build_plan
from edge_sdk.authoring.zoo import mlp
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.interfaces import Dataset, KeepGoing
from edge_sdk.plan import Plan
from edge_sdk.runtime.books import MOST_LINES, Books, Line
from edge_sdk.runtime.client import REST_S, Client
from edge_sdk.testing import JOIN_TOKEN, PacedTransport, ScriptedClock, ScriptedServer
from edge_sdk.values import (
    CheckIn,
    Checkpoint,
    Choice,
    Finished,
    Reading,
    Task,
    Trained,
    TrainSettings,
    Vector,
    Wait,
)

PLAN = build_plan(mlp((8,), 3, hidden=(16,)), loss="cross-entropy", optimizer="adam", name="books")
DRAW = np.random.Generator(np.random.PCG64(2))
DATA = (DRAW.standard_normal((40, 8)).astype(np.float32), DRAW.integers(0, 3, 40).astype(np.int64))
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan=hashlib.sha256(PLAN.data).hexdigest(),
    model_version=0,
    codecs=("float32",),
    seed=77,
    epochs=4,
    batch_size=8,
    deadline_s=3600.0,
    learning_rate=0.01,
)
STEPS = 20


def tasks(count: int) -> list[Task | Wait]:
    return [dataclasses.replace(TASK, round=number, seed=number) for number in range(1, count + 1)]


class SlowEngine(OnnxRuntimeEngine):
    """Each step takes a minute of the clock."""

    def __init__(self, plan: Plan, clock: ScriptedClock) -> None:
        super().__init__(plan)
        self._clock = clock
        self.steps = 0

    def train(self, weights: Vector, data: Any, settings: TrainSettings, **options: Any) -> Trained:
        return super().train(weights, data, settings, progress=lambda _: self._passes(), **options)

    def resume(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        checkpoint: Checkpoint,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        return self.train(weights, data, settings, keep_going=keep_going, resumed=checkpoint)

    def _passes(self) -> None:
        self.steps += 1
        self._clock.advance(60.0)


class Noting(PacedTransport):
    """Keeps the check-ins."""

    def __init__(self, server: ScriptedServer, clock: ScriptedClock) -> None:
        super().__init__(server, clock, up=lambda _: 1e4)
        self.check_ins: list[CheckIn] = []
        self.charging = True
        self.charges_until_s: float | None = None
        self._time = clock

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        self.check_ins.append(request)
        return await super().check_in(request)

    def read(self) -> Reading:
        until_s = self.charges_until_s
        charging = self.charging and (until_s is None or self._time.now_s() < until_s)
        return dataclasses.replace(super().read(), charging=charging, battery=0.8)


class Scene:
    """A client on a paced link."""

    def __init__(self, state: Path, answers: list[Task | Wait], **options: Any) -> None:
        self.clock = ScriptedClock()
        self.server = ScriptedServer(answers, plan=PLAN.data, weights=PLAN.initial_weights())
        self.link = Noting(self.server, self.clock)
        self.engine = SlowEngine(PLAN, self.clock)
        self.state = state
        self.options = options
        self.client = self.fresh()

    def fresh(self) -> Client:
        """As after a restart of the program."""
        return Client(
            "https://fl.example.org",
            token=JOIN_TOKEN,
            data=DATA,
            state=self.state,
            seed=1,
            transport=self.link,
            engine=lambda _plan, _stage, *_more, **_named: self.engine,
            sensor=self.link,
            clock=self.clock,
            **self.options,
        )


async def test_a_device_that_may_not_work_asks_for_none(tmp_path: Path) -> None:
    scene = Scene(tmp_path, tasks(1), eligibility=Eligibility(only_charging=True))
    scene.link.charging = False
    assert await scene.client.participate() is None
    assert scene.link.check_ins == []
    assert scene.client.answer == Wait(retry_after_s=REST_S, why="it is not charging")
    scene.link.charging = True
    assert await scene.client.participate() is not None


async def test_training_that_is_interrupted_goes_on_to_the_same_update(tmp_path: Path) -> None:
    whole = Scene(tmp_path / "whole", tasks(1))
    await whole.client.participate()
    scene = Scene(tmp_path / "part", tasks(1), eligibility=Eligibility(only_charging=True))
    scene.link.charges_until_s = scene.clock.now_s() + 8 * 60
    assert await scene.client.participate() is None
    assert isinstance(scene.client.answer, Wait)
    done = scene.engine.steps
    assert 0 < done < STEPS
    assert scene.server.declined == {}, "the place is kept"
    await scene.client.close()
    scene.link.charges_until_s = None
    scene.client = scene.fresh()
    assert await scene.client.participate() is not None
    assert scene.engine.steps == STEPS, "no step is done twice"
    assert np.array_equal(scene.server.update_of(1), whole.server.update_of(1))
    assert scene.server.commit_of(1).why.startswith("goes on")
    assert not (tmp_path / "part" / "training.checkpoint").exists()


async def test_a_checkpoint_of_another_round_is_not_gone_on_with(tmp_path: Path) -> None:
    scene = Scene(tmp_path, tasks(2), eligibility=Eligibility(only_charging=True))
    scene.link.charges_until_s = scene.clock.now_s() + 8 * 60
    await scene.client.participate()
    scene.link.charges_until_s = None
    scene.server.close_round(1)
    receipt = await scene.client.participate()
    assert receipt is not None
    assert receipt.round == 2
    assert scene.server.commit_of(2).steps == STEPS


async def test_a_round_that_the_quota_does_not_pay_for_is_declined_and_said(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, tasks(3), quotas=Quotas(bytes_per_month=4000), policy=FixedPolicy())
    await scene.client.participate()  # the plan and one update use it up
    assert await scene.client.participate() is None
    (why,) = scene.server.declined.values()
    assert "left of the month" in why


async def test_the_uploads_cost_and_the_devices_state_go_with_the_next_check_in(
    tmp_path: Path,
) -> None:
    scene = Scene(tmp_path, tasks(2))
    await scene.client.participate()
    phases = [cost.phase for cost in scene.server.commit_of(1).costs]
    assert phases == ["wait", "download", "train", "encode"]
    await scene.client.close()
    scene.client = scene.fresh()  # a restart forgets nothing
    await scene.client.participate()
    first, second = (request.report for request in scene.link.check_ins)
    assert first is not None
    assert first.last is None
    assert first.battery == 0.8
    assert second is not None
    assert second.last is not None
    assert second.last.round == 1
    (upload,) = second.last.costs
    assert upload.phase == "upload"
    assert upload.sent_bytes
    assert upload.seconds > 0
    assert second.goodput is not None


async def test_an_operator_who_wants_no_costs_gets_none(tmp_path: Path) -> None:
    quiet = [
        dataclasses.replace(TASK, round=number, seed=number, report_costs=False)
        for number in (1, 2)
    ]
    scene = Scene(tmp_path, [*quiet])
    await scene.client.participate()
    await scene.client.participate()
    assert scene.server.commit_of(1).costs == ()
    assert scene.link.check_ins[1].report is None
    ledger = Books(tmp_path).ledger()
    assert [cost.phase for cost in ledger[0].costs][-1] == "upload", "the device keeps its own"


async def test_what_the_policy_learned_survives_a_restart(tmp_path: Path) -> None:
    scene = Scene(tmp_path, tasks(2))
    await scene.client.participate()
    await scene.client.close()
    kept = Books(tmp_path).load()
    assert kept.policy == "BudgetPolicy"
    assert kept.learned is not None
    learned = BudgetPolicy().loaded(kept.learned)
    assert learned.stages[0].seconds_a_step == pytest.approx((60.0,), rel=0.2)
    scene.client = scene.fresh()
    await scene.client.participate()
    assert "first round" not in scene.server.commit_of(2).why


async def test_another_policys_state_is_not_read(tmp_path: Path) -> None:
    scene = Scene(tmp_path, tasks(2))
    await scene.client.participate()
    await scene.client.close()
    scene.options = {"policy": FixedPolicy()}
    scene.client = scene.fresh()
    assert await scene.client.participate() is not None


@pytest.mark.parametrize("name", ["learned.json", "ledger.jsonl", "training.checkpoint"])
@pytest.mark.parametrize("junk", [b"", b"\x00\xff{", b"{}", b'{"learned": 3}'])
async def test_books_that_are_damaged_cost_no_round(name: str, junk: bytes, tmp_path: Path) -> None:
    scene = Scene(tmp_path, tasks(2))
    await scene.client.participate()
    await scene.client.close()
    (tmp_path / name).write_bytes(junk)
    scene.client = scene.fresh()
    assert await scene.client.participate() is not None


def test_the_ledger_keeps_the_last_rounds_only(tmp_path: Path) -> None:
    books = Books(tmp_path)
    for number in range(2 * MOST_LINES + 5):
        books.enter(
            Line(
                run=TASK.run,
                round=number,
                delivered=True,
                stage=0,
                codec="float32",
                steps=1,
                upload_bytes=None,
                why="",
                costs=(),
            )
        )
    rounds = [line.round for line in books.ledger()]
    assert rounds == list(range(MOST_LINES + 5, 2 * MOST_LINES + 5))


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path: Path) -> None:
    books = Books(tmp_path)
    checkpoint = Checkpoint(
        weights=np.linspace(-1, 1, 7).astype(np.float32),
        state=np.linspace(0, 2, 3).astype(np.float32),
        epoch=1,
        batches=2,
        runs=9,
        steps=9,
        distinct=40,
        epoch_examples=16,
        epoch_loss=3.25,
    )
    choice = Choice(takes_part=True, codec="float32", why="because")
    books.save_checkpoint(TASK, choice, checkpoint)
    found = books.load_checkpoint(TASK)
    assert found is not None
    assert np.array_equal(found.weights, checkpoint.weights)
    assert np.array_equal(found.state, checkpoint.state)
    assert dataclasses.replace(found, weights=0, state=0) == dataclasses.replace(  # type: ignore[arg-type]  # arrays do not compare
        checkpoint,
        weights=0,  # type: ignore[arg-type]  # as above
        state=0,  # type: ignore[arg-type]  # as above
    )
    assert books.load_checkpoint(dataclasses.replace(TASK, seed=1)) is None
    books.drop_checkpoint()
    assert books.load_checkpoint(TASK) is None
