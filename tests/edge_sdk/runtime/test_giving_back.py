"""A device that will not deliver says so, gives its place back and does not try again."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.errors import Corrupt, EdgeError, Misuse, Reason, Refused, Unavailable
from edge_sdk.interfaces import Engine, Transport
from edge_sdk.plan import Plan
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.spool import Spool
from edge_sdk.testing import (
    JOIN_TOKEN,
    Fault,
    FlakyTransport,
    ScriptedClock,
    ScriptedEngine,
    ScriptedSensor,
    ScriptedServer,
    scripted_plan,
)
from edge_sdk.values import Decline, Progress, Task, Wait

PLAN = scripted_plan(inputs=4, classes=3)
TARGET = np.linspace(-1, 1, 15).astype(np.float32)
DIVERGES = np.full(15, np.inf, np.float32)
X = np.linspace(0, 1, 80).reshape(20, 4)
Y = np.arange(20) % 3
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan=hashlib.sha256(PLAN).hexdigest(),
    model_version=0,
    codecs=("float32",),
    seed=7,
    deadline_s=3600.0,
)


def tasks(count: int, plan: bytes = PLAN) -> list[Task]:
    digest = hashlib.sha256(plan).hexdigest()
    return [dataclasses.replace(TASK, round=1 + i, plan=digest) for i in range(count)]


def make_client(
    state: Path,
    transport: Transport,
    engine: Engine | EdgeError,
    *,
    clock: ScriptedClock | None = None,
    policy: FixedPolicy | None = None,
    x: NDArray[np.float64] = X,
) -> Client:
    def make_engine(plan: Plan, stage: int, /, *, warm_up: bool = False) -> Engine:
        del plan, stage, warm_up
        if isinstance(engine, EdgeError):
            raise engine
        return engine

    return Client(
        "https://fl.example.org",
        token=JOIN_TOKEN,
        data=(x, Y),
        state=state,
        seed=1,
        transport=transport,
        engine=make_engine,
        sensor=ScriptedSensor(),
        clock=ScriptedClock() if clock is None else clock,
        policy=policy,
    )


async def test_the_operator_is_told_why_a_policy_sat_out(tmp_path: Path) -> None:
    peer = ScriptedServer([TASK], plan=PLAN)
    sits_out = FixedPolicy(codec="float16")
    client = make_client(tmp_path, peer, ScriptedEngine(TARGET), policy=sits_out)
    assert await client.participate() is None
    assert "float16" in peer.declined[1]
    assert isinstance(client.answer, Wait), "what the decline was answered with"


async def test_the_server_says_how_long_to_wait_after_a_decline(tmp_path: Path) -> None:
    clock = ScriptedClock()
    peer = ScriptedServer(tasks(2), plan=PLAN)
    await make_client(tmp_path, peer, ScriptedEngine(DIVERGES), clock=clock).run()
    assert peer.declined == dict.fromkeys((1, 2), "training diverged")
    assert len(clock.slept) == 2
    assert all(10.0 <= slept <= 11.0 for slept in clock.slept)


class OffersAgain(ScriptedServer):
    """Offers the round again, `times` times, whatever was declined."""

    def __init__(self, answers: Sequence[Task], *, times: int) -> None:
        super().__init__(answers, plan=PLAN)
        self.asked = 0
        self._times = times

    async def decline(self, task: Task, decline: Decline) -> Wait:
        self.asked += 1
        if self.asked <= self._times:
            return Wait(retry_after_s=5.0)
        return await super().decline(task, decline)


async def test_a_round_that_diverged_is_not_trained_again(tmp_path: Path) -> None:
    peer = OffersAgain([TASK], times=3)
    engine = ScriptedEngine(DIVERGES)
    await make_client(tmp_path, peer, engine).run()
    assert engine.trainings == 1
    assert peer.asked == 4


class RefusesUpdates(ScriptedServer):
    """Takes the update of no round but the last."""

    def __init__(self, answers: Sequence[Task], reason: Reason) -> None:
        super().__init__(answers, plan=PLAN)
        self._last = max(task.round for task in answers)
        self._reason = reason

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        if task.round < self._last:
            raise Refused(self._reason, "no")
        return await super().upload(task, frames)


@pytest.mark.parametrize("reason", [Reason.NOT_FINITE, Reason.MISMATCH])
async def test_an_update_that_was_refused_is_not_trained_for_again(
    tmp_path: Path, reason: Reason
) -> None:
    peer = RefusesUpdates(tasks(2), reason)
    engine = ScriptedEngine(TARGET)
    await make_client(tmp_path, peer, engine).run()
    assert reason in peer.declined[1]
    assert peer.counted == {2: 1}, "the next round is a new chance"
    assert engine.trainings == 2


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_decline_that_got_lost_is_sent_again_without_training(
    tmp_path: Path, fault: Fault
) -> None:
    peer = ScriptedServer(tasks(1), plan=PLAN)
    # enrol, check_in, progress, plan and model go well
    link = FlakyTransport(peer, [Fault.NONE] * 5 + [fault])
    engine = ScriptedEngine(DIVERGES)
    await make_client(tmp_path, link, engine).run()
    assert set(peer.declined) == {1}
    assert engine.trainings == 1


# ---------------------------------------------------------------------- what ends the program


async def test_data_that_does_not_fit_gives_the_place_back_and_tells_the_program_why(
    tmp_path: Path,
) -> None:
    peer = ScriptedServer([TASK], plan=PLAN)
    client = make_client(tmp_path, peer, ScriptedEngine(TARGET), x=X[:, :2])
    with pytest.raises(Misuse, match=r"\(2,\)"):
        await client.run()
    assert set(peer.declined) == {1}
    assert "(2,)" not in peer.declined[1], "nothing about the examples leaves the device"


async def test_a_machine_that_cannot_train_gives_the_place_back(tmp_path: Path) -> None:
    peer = ScriptedServer([TASK], plan=PLAN)
    with pytest.raises(Unavailable, match="operator"):
        await make_client(tmp_path, peer, Unavailable("no such operator")).run()
    assert peer.declined == {1: "this machine cannot train the plan"}


async def test_a_part_of_the_program_that_fails_gives_the_place_back(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(5, "the card is gone: /home/someone/secret.npy")

    peer = ScriptedServer([TASK], plan=PLAN)
    with pytest.raises(OSError, match="card is gone"):
        await make_client(tmp_path, peer, ScriptedEngine(TARGET, fail)).run()
    assert set(peer.declined) == {1}
    assert "secret" not in peer.declined[1]


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER])
async def test_a_download_that_fails_keeps_the_place(tmp_path: Path, fault: Fault) -> None:
    peer = ScriptedServer([TASK], plan=PLAN)
    link = FlakyTransport(peer, [Fault.NONE] * 3 + [fault])  # the plan
    await make_client(tmp_path, link, ScriptedEngine(TARGET)).run()
    assert peer.declined == {}
    assert peer.counted == {1: 1}


async def test_a_full_disk_gives_the_place_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Spool, update: object) -> None:
        del self, update
        raise Unavailable("cannot write update.spool: No space left on device")

    monkeypatch.setattr(Spool, "save", full)
    peer = ScriptedServer([TASK], plan=PLAN)
    with pytest.raises(Unavailable, match="No space left"):
        await make_client(tmp_path, peer, ScriptedEngine(TARGET)).run()
    assert set(peer.declined) == {1}


# ---------------------------------------------------------------------- broken plans


class CountsPlans(ScriptedServer):
    """Hands out `bundle` as the plan, and counts how often."""

    def __init__(self, answers: Sequence[Task], bundle: bytes) -> None:
        super().__init__(answers, plan=PLAN)
        self.plan_bytes = bundle
        self.fetched = 0

    async def plan(self, digest: str) -> bytes:
        self.fetched += 1
        return await super().plan(digest)


async def test_a_broken_plan_is_fetched_once_and_its_rounds_are_declined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = b"not a plan"
    peer = CountsPlans(tasks(3, broken), broken)
    engine = ScriptedEngine(TARGET)
    with caplog.at_level(logging.WARNING):
        await make_client(tmp_path, peer, engine).run()
    digest = hashlib.sha256(broken).hexdigest()
    assert peer.fetched == 1
    assert set(peer.declined) == {1, 2, 3}
    assert all(digest[:12] in why for why in peer.declined.values()), "it says which plan"
    assert digest[:12] in caplog.text
    assert engine.trainings == 0


async def test_after_a_broken_plan_the_next_one_is_tried(tmp_path: Path) -> None:
    broken = b"not a plan"
    peer = CountsPlans([*tasks(1, broken), *tasks(2)[1:]], broken)
    client = make_client(tmp_path, peer, ScriptedEngine(TARGET))
    assert await client.participate() is None
    peer.plan_bytes = PLAN
    assert await client.participate() is not None
    assert peer.counted == {2: 1}


async def test_a_plan_whose_graphs_are_broken_is_not_trained_again(tmp_path: Path) -> None:
    tried = 0

    def fail() -> None:
        nonlocal tried
        tried += 1
        raise Corrupt("train graph: its inputs are not those of the plan")

    peer = ScriptedServer(tasks(3), plan=PLAN)
    await make_client(tmp_path, peer, ScriptedEngine(TARGET, fail)).run()
    assert set(peer.declined) == {1, 2, 3}
    assert "train graph" in peer.declined[1]
    assert tried == 1


async def test_a_long_reason_is_cut_to_what_a_message_holds(tmp_path: Path) -> None:
    fault = Corrupt("train graph: " + "x" * 1000)
    peer = ScriptedServer(tasks(2), plan=PLAN)
    await make_client(tmp_path, peer, fault).run()
    assert [len(why) for why in peer.declined.values()] == [200, 200]
