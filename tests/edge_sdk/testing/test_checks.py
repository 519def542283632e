"""The checks find what they promise to find: each breaks one promise on purpose."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.datasets import ArrayDataset
from edge_sdk.interfaces import Dataset, KeepGoing
from edge_sdk.testing import (
    JOIN_TOKEN,
    ScriptedClock,
    ScriptedEngine,
    ScriptedSensor,
    ScriptedServer,
    check_decline,
    check_engine,
    check_policy,
    check_sensor,
    seeded_faults,
)
from edge_sdk.values import (
    Choice,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Outcome,
    Reading,
    Receipt,
    Task,
    Trained,
    TrainSettings,
    Vector,
    Wait,
)

TARGET = np.linspace(1, 2, 5).astype(np.float32)
START = np.zeros(5, np.float32)
DATA = ArrayDataset(np.linspace(0, 1, 22).reshape(11, 2), np.zeros(11))
SETTINGS = TrainSettings(epochs=2, batch_size=4, seed=3)


def test_the_scripted_engine_keeps_the_contract() -> None:
    check_engine(lambda: ScriptedEngine(TARGET), START.copy(), DATA, SETTINGS)


class ChangesItsArgument(ScriptedEngine):
    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        trained = super().train(weights, data, settings, keep_going=keep_going)
        weights[...] = trained.weights
        return trained


class NeverStops(ScriptedEngine):
    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        del keep_going
        return super().train(weights, data, settings)


class CountsEveryEpoch(ScriptedEngine):
    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        trained = super().train(weights, data, settings, keep_going=keep_going)
        return dataclasses.replace(trained, examples=trained.examples * settings.epochs)


class Remembers(ScriptedEngine):
    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        trained = super().train(weights, data, settings, keep_going=keep_going)
        return dataclasses.replace(trained, weights=trained.weights + np.float32(self.trainings))


@pytest.mark.parametrize(
    ("engine", "promise"),
    [
        (ChangesItsArgument, "does not change"),
        (NeverStops, "told to stop"),
        (CountsEveryEpoch, "counted once"),
        (Remembers, "bit for bit"),
    ],
)
def test_a_broken_engine_is_found(engine: Callable[[Vector], ScriptedEngine], promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_engine(lambda: engine(TARGET), START.copy(), DATA, SETTINGS)


class Greedy(FixedPolicy):
    def decide(self, state: None, task: Task, now: Reading) -> Choice:
        choice = FixedPolicy.decide(self, state, task, now)
        return dataclasses.replace(choice, codec="never-offered")


class Speechless(FixedPolicy):
    def decide(self, state: None, task: Task, now: Reading) -> Choice:
        return dataclasses.replace(FixedPolicy.decide(self, state, task, now), why=" ")


class Moody:
    """Not pure: it counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def start(self) -> None:
        return None

    def decide(self, state: None, task: Task, now: Reading) -> Choice:
        del state, now
        self.calls += 1
        return Choice(takes_part=True, codec=task.codecs[0], epochs=self.calls, why="mood")

    def learn(self, state: None, task: Task, choice: Choice, outcome: Outcome) -> None:
        """Nothing to learn."""


@pytest.mark.parametrize(
    ("policy", "promise"),
    [(Greedy(), "offers"), (Speechless(), "why"), (Moody(), "pure")],
    ids=["greedy", "speechless", "moody"],
)
def test_a_broken_policy_is_found(policy: FixedPolicy, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_policy(policy)


class Raises:
    def read(self) -> Reading:
        raise OSError("the file vanished")


@pytest.mark.parametrize(
    ("sensor", "promise"),
    [
        (Raises(), "never raises"),
        (ScriptedSensor([Reading(at_s=2), Reading(at_s=1)]), "backwards"),
        (
            ScriptedSensor([Reading(at_s=1, energy_j=5), Reading(at_s=2, energy_j=1)]),
            "energy_j is cumulative",
        ),
    ],
    ids=["raises", "backwards", "falls"],
)
def test_a_broken_sensor_is_found(sensor: ScriptedSensor, promise: str) -> None:
    with pytest.raises(AssertionError, match=promise):
        check_sensor(sensor)


def test_the_scripted_sensor_keeps_the_contract() -> None:
    check_sensor(ScriptedSensor())


class ForgetsAttempts(ScriptedServer):
    async def enrol(self, request: Enrol) -> Enrolled:
        return await super().enrol(dataclasses.replace(request, attempt=None))


class OffersAgain(ScriptedServer):
    async def decline(self, task: Task, decline: Decline) -> Wait:
        del task, decline
        return Wait(retry_after_s=1.0)


class CountsTheDeclined(ScriptedServer):
    async def commit(self, task: Task, commit: Commit) -> Receipt:
        return Receipt(run=task.run, round=task.round, chunks=(), examples=commit.examples)


@pytest.mark.parametrize(
    ("server", "promise"),
    [
        (ForgetsAttempts, "same attempt"),
        (OffersAgain, "no place in the same round"),
        (CountsTheDeclined, "a commit is refused"),
    ],
)
async def test_a_server_that_breaks_the_rules_of_declining_is_found(
    server: type[ScriptedServer], promise: str
) -> None:
    task = Task(
        run="0123456789abcdef",
        round=1,
        plan="ab" * 32,
        model_version=0,
        codecs=("float32",),
        seed=1,
        deadline_s=60.0,
    )
    with pytest.raises(AssertionError, match=promise):
        await check_decline(server([task]), join_token=JOIN_TOKEN)


async def test_the_scripted_clock_passes_only_when_slept_on() -> None:
    clock = ScriptedClock(5.0)
    await clock.sleep(2.5)
    clock.advance(1.0)
    assert clock.now_s() == 8.5
    assert clock.slept == [2.5]


def test_faults_belong_to_their_seed() -> None:
    def first(seed: int) -> list[str]:
        return [fault for fault, _ in zip(seeded_faults(seed), range(200), strict=False)]

    assert first(1) == first(1) != first(2)
    assert {"none", "before", "after", "cut"} == set(first(1))
