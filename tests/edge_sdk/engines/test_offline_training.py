"""Promises of the engine without a server: any iterable of batches, progress, stops, warm-ups."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.tally import Step
from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

Array = NDArray[Any]
SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=0.1, seed=3)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(zoo.mlp((5,), 3, hidden=(6, 4)), loss="cross-entropy", name="n", stages=2)


@pytest.fixture(scope="module")
def batches() -> list[tuple[Array, Array]]:
    draw = np.random.default_rng(0)
    made = []
    for size in (8, 8, 3):
        x = draw.normal(size=(size, 5)).astype(np.float32)
        made.append((x, (x[:, 0] > 0).astype(np.int64)))
    return made


def engine_of(plan: Plan) -> OnnxRuntimeEngine:
    return OnnxRuntimeEngine(plan, stage=plan.stages - 1)


def test_a_list_of_batches_trains_as_a_dataset_in_that_order_does(
    plan: Plan, batches: list[tuple[Array, Array]]
) -> None:
    engine, weights = engine_of(plan), plan.initial_weights(1)
    data = ArrayDataset(*(np.concatenate(column) for column in zip(*batches, strict=True)))
    seeded = [list(data.batches(size=8, seed=None))] * 2
    trained = engine.train(weights, batches, SETTINGS)
    assert (trained.steps, trained.examples, trained.stopped) == (6, 19, False)
    again = engine.train(weights, seeded[0], SETTINGS)
    np.testing.assert_array_equal(trained.weights, again.weights)
    assert engine.evaluate(weights, batches) == engine.evaluate(weights, data, batch_size=8)


def test_a_generator_feeds_one_epoch(plan: Plan, batches: list[tuple[Array, Array]]) -> None:
    engine, weights = engine_of(plan), plan.initial_weights(1)
    once = TrainSettings(epochs=1, learning_rate=0.1)
    assert engine.train(weights, iter(batches), once).steps == 3
    with pytest.raises(Misuse, match="second epoch"):
        engine.train(weights, iter(batches), SETTINGS)


def test_progress_hears_of_every_step(plan: Plan, batches: list[tuple[Array, Array]]) -> None:
    heard: list[Step] = []
    engine = engine_of(plan)
    trained = engine.train(plan.initial_weights(1), batches, SETTINGS, progress=heard.append)
    assert [(step.epoch, step.step) for step in heard] == [
        (epoch, 3 * epoch + at) for epoch in range(2) for at in (1, 2, 3)
    ]
    assert [step.examples for step in heard] == [8, 8, 3] * 2
    assert heard[-1].mean_loss == trained.loss
    sums = sum(step.loss * step.examples for step in heard[3:])
    assert heard[-1].mean_loss == pytest.approx(sums / 19)


def test_training_stops_before_the_next_step_when_told(
    plan: Plan, batches: list[tuple[Array, Array]]
) -> None:
    heard: list[Step] = []
    trained = engine_of(plan).train(
        plan.initial_weights(1),
        batches,
        SETTINGS,
        keep_going=lambda: len(heard) < 2,
        progress=heard.append,
    )
    assert (trained.steps, trained.stopped) == (2, True)


def test_a_warm_up_changes_the_new_block_only(
    plan: Plan, batches: list[tuple[Array, Array]]
) -> None:
    engine = OnnxRuntimeEngine(plan, stage=1, warm_up=True)
    before = plan.layout(1).split(plan.initial_weights(1))
    trained = engine.train(plan.initial_weights(1), batches, SETTINGS)
    new = {p.name for p in plan.trained(1, warm_up=True).parameters}
    assert 0 < len(new) < len(before)
    for name, tensor in plan.layout(1).split(trained.weights).items():
        assert np.array_equal(tensor, before[name]) == (name not in new)
    with pytest.raises(Misuse, match="no warm-up"):
        OnnxRuntimeEngine(plan, stage=0, warm_up=True)


def test_what_is_no_data_is_misuse(plan: Plan) -> None:
    with pytest.raises(Misuse, match="neither a dataset nor"):
        engine_of(plan).train(plan.initial_weights(1), 5, SETTINGS)  # type: ignore[arg-type]  # the point
