"""Training that stopped goes on as if it never had."""

import dataclasses

import numpy as np
import pytest

from edge_sdk.authoring import build_plan
from edge_sdk.authoring.zoo import mlp
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import KeepGoing, ResumableEngine
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

DRAW = np.random.Generator(np.random.PCG64(5))
DATA = ArrayDataset(
    DRAW.standard_normal((22, 6)).astype(np.float32), DRAW.integers(0, 3, 22).astype(np.int64)
)
SETTINGS = TrainSettings(epochs=3, batch_size=5, learning_rate=0.1, seed=9)
STEPS = 15


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(
        mlp((6,), 3, hidden=(4,)), loss="cross-entropy", optimizer="adam", name="resuming"
    )


def allowing(steps: int) -> KeepGoing:
    left = [steps]

    def keep_going() -> bool:
        left[0] -= 1
        return left[0] >= 0

    return keep_going


@pytest.mark.parametrize("stop", range(STEPS))
def test_wherever_it_stopped_it_ends_the_same_bit_for_bit(plan: Plan, stop: int) -> None:
    engine = OnnxRuntimeEngine(plan)
    assert isinstance(engine, ResumableEngine)
    start = plan.initial_weights()
    whole = engine.train(start, DATA, SETTINGS)
    assert whole.checkpoint is None
    part = engine.train(start, DATA, SETTINGS, keep_going=allowing(stop))
    assert part.stopped
    assert part.checkpoint is not None
    rest = OnnxRuntimeEngine(plan).resume(start, DATA, SETTINGS, checkpoint=part.checkpoint)
    assert np.array_equal(rest.weights, whole.weights)
    assert (rest.steps, rest.examples, rest.loss) == (whole.steps, whole.examples, whole.loss)


def test_a_checkpoint_of_another_optimizer_is_refused(plan: Plan) -> None:
    engine = OnnxRuntimeEngine(plan)
    checkpoint = engine.train(
        plan.initial_weights(), DATA, SETTINGS, keep_going=allowing(2)
    ).checkpoint
    assert checkpoint is not None
    other = dataclasses.replace(checkpoint, state=np.zeros(1, np.float32))
    with pytest.raises(Misuse, match="checkpoint"):
        engine.resume(plan.initial_weights(), DATA, SETTINGS, checkpoint=other)


@pytest.mark.parametrize("most", [1, 4, 5, 6, 15, 40])
def test_at_most_so_many_steps_are_taken(plan: Plan, most: int) -> None:
    engine = OnnxRuntimeEngine(plan)
    settings = dataclasses.replace(SETTINGS, most_steps=most)
    trained = engine.train(plan.initial_weights(), DATA, settings)
    assert trained.steps == min(most, STEPS)
    assert not trained.stopped
