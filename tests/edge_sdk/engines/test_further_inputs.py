"""The engine feeds what a train graph takes beside batch and weights, and counts positions."""

import numpy as np
import pytest

from edge_sdk.authoring import architectures, build_plan, zoo
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.further import step_seed
from edge_sdk.engines.measure import Measure
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

RNG = np.random.default_rng(0)
DATA = ArrayDataset(
    RNG.normal(size=(22, 5)), RNG.integers(0, 3, 22), x_dtype=np.float32, y_dtype=np.int64
)
SETTINGS = TrainSettings(epochs=2, batch_size=8, learning_rate=0.1, seed=1)


def plan_with(**options: bool) -> Plan:
    return build_plan(zoo.mlp((5,), 3, hidden=(4,)), loss="cross-entropy", name="m", **options)  # type: ignore[arg-type]  # options by name


def test_pieces_make_the_steps_of_whole_batches() -> None:
    whole = OnnxRuntimeEngine(plan_with())
    start = plan_with().initial_weights()
    right = whole.train(start, DATA, SETTINGS)
    for size in (None, 3, 8, 100):
        pieces = OnnxRuntimeEngine(plan_with(accumulate=True), piece_size=size)
        found = pieces.train(start, DATA, SETTINGS)
        np.testing.assert_allclose(found.weights, right.weights, rtol=1e-4, atol=1e-6)
        assert (found.steps, found.examples) == (right.steps, right.examples)
        assert found.loss == pytest.approx(right.loss, rel=1e-5)


def test_the_proximal_term_keeps_weights_near_the_start() -> None:
    plan = plan_with(proximal=True)
    engine, start = OnnxRuntimeEngine(plan), plan.initial_weights()
    free = OnnxRuntimeEngine(plan_with()).train(start, DATA, SETTINGS).weights
    loose, tight = (engine.train(start, DATA, SETTINGS, proximity=mu).weights for mu in (0.0, 2.0))
    np.testing.assert_allclose(loose, free, rtol=1e-5, atol=1e-7)
    assert np.linalg.norm(tight - start) < 0.8 * np.linalg.norm(free - start)


def test_a_correction_moves_weights_against_it() -> None:
    plan = plan_with(correction=True)
    engine, start = OnnxRuntimeEngine(plan), plan.initial_weights()
    once = TrainSettings(batch_size=22, learning_rate=0.1, seed=1)
    plain = engine.train(start, DATA, once).weights
    added = RNG.normal(size=start.shape).astype(np.float32)
    moved = engine.train(start, DATA, once, correction=added).weights
    np.testing.assert_allclose(plain - moved, 0.1 * added, rtol=1e-3, atol=1e-6)


def test_a_plan_that_lacks_what_is_asked_for_is_misuse() -> None:
    plan = plan_with()
    start = plan.initial_weights()
    with pytest.raises(Misuse, match="proximal"):
        OnnxRuntimeEngine(plan).train(start, DATA, SETTINGS, proximity=0.1)
    with pytest.raises(Misuse, match="correction"):
        OnnxRuntimeEngine(plan).train(start, DATA, SETTINGS, correction=start)
    with pytest.raises(Misuse, match="gather"):
        OnnxRuntimeEngine(plan, piece_size=4).train(start, DATA, SETTINGS)
    with pytest.raises(Misuse, match="pieces"):
        OnnxRuntimeEngine(plan, piece_size=0)
    corrected = plan_with(correction=True)
    with pytest.raises(Misuse, match="correction of shape"):
        OnnxRuntimeEngine(corrected).train(start, DATA, SETTINGS, correction=start[:-1])


def test_accuracy_of_sequences_is_that_of_their_positions() -> None:
    model = architectures.transformer_decoder((6,), 4)
    plan = build_plan(model, loss="cross-entropy", ignore_index=-1, name="m")
    assert plan.target.shape == (6,)
    y = RNG.integers(0, 4, (10, 6))
    y[:, 4:] = -1
    x = RNG.integers(0, 4, (10, 6))
    data = ArrayDataset(x, y, x_dtype=plan.input.dtype, y_dtype=np.int64)
    engine = OnnxRuntimeEngine(plan)
    trained = engine.train(plan.initial_weights(), data, TrainSettings(epochs=40, batch_size=10))
    found = engine.evaluate(trained.weights, data, batch_size=3)
    assert found.accuracy is not None
    assert found.accuracy * 40 == pytest.approx(round(found.accuracy * 40))
    assert found.accuracy > 0.5


def test_quality_of_masks_is_the_dice_of_all_together() -> None:
    plan = build_plan(architectures.unet((1, 8, 8), 1, depth=1), loss="dice", name="m")
    x = RNG.normal(size=(7, 1, 8, 8))
    data = ArrayDataset(
        x, (x > 0.5).astype(np.float32), x_dtype=np.float32, y_dtype=np.float32
    )  # fmt: skip
    engine = OnnxRuntimeEngine(plan)
    settings = TrainSettings(epochs=30, batch_size=7, learning_rate=0.1)
    trained = engine.train(plan.initial_weights(), data, settings)
    found = [engine.evaluate(trained.weights, data, batch_size=size).accuracy for size in (3, 7)]
    assert found[0] == found[1]
    assert found[0] is not None
    before = engine.evaluate(plan.initial_weights(), data).accuracy
    assert before is not None
    assert found[0] > before + 0.1


def test_more_right_than_counted_is_corrupt_and_nothing_counted_is_no_quality() -> None:
    measure = Measure()
    measure.add(examples=2, loss=1.0, correct=0, counted=0)
    assert measure.result().accuracy is None
    measure.add(examples=2, loss=1.0, correct=3, counted=1)
    with pytest.raises(Corrupt, match="3 right of 1"):
        measure.result()


def test_seeds_of_steps_differ() -> None:
    assert len({step_seed(seed, run) for seed in range(5) for run in range(50)}) == 250
