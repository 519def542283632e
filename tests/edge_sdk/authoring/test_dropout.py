"""Dropout: masks follow from the seed alone, evaluation has none, gradients see the same mask."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_sdk.authoring import build_plan, check_gradients
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.errors import Unsupported
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

Array = NDArray[np.generic]
Run = Callable[[bytes, dict[str, Array]], list[Array]]
SIZE = 500


def model(inner: str = "Dropout(x, ratio)", *, ratio: float = 0.3) -> onnx.ModelProto:
    """One weight per input, so that a step shows which inputs were dropped."""
    body = f"m (float[N,{SIZE}] x) => (float[N,1] y) {{ d = {inner} y = MatMul(d, w) }}"
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    arrays = {"w": np.zeros((SIZE, 1), "f4"), "ratio": np.array(ratio, "f4")}
    arrays["on"] = np.array([True]).reshape(())
    for name, array in arrays.items():
        if name in inner + "w":
            proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def masks(plan: Plan, run: Run, seed: int, rows: int = 1) -> NDArray[np.float64]:
    """What every input was multiplied by, for inputs of one."""
    feeds: dict[str, Array] = {
        "x": np.ones((rows, SIZE), "f4"), "target": -np.ones((rows, 1), "f4"),
        "lr": np.array(0.5 * rows, "f4"), "seed": np.array(seed, np.int64),
        "w": np.zeros((SIZE, 1), "f4"),
    }  # fmt: skip
    _, new = run(plan.train_graph(), feeds)
    return -np.asarray(new, float).reshape(-1) / rows


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build_plan(model(), loss="mse", momentum=0, name="dropout")


def test_the_share_is_dropped_and_the_rest_grows(plan: Plan, run: Run) -> None:
    kept = np.concatenate([masks(plan, run, seed) for seed in range(40)])
    np.testing.assert_allclose(np.unique(np.round(kept, 5)), [0, round(1 / 0.7, 5)])
    assert abs((kept == 0).mean() - 0.3) < 0.01


def test_equal_seeds_give_equal_masks_and_others_do_not(plan: Plan, run: Run) -> None:
    first, again, other = (masks(plan, run, seed) for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert 0.3 < (first != other).mean() < 0.55  # 2 * 0.3 * 0.7 = 0.42 for independent masks


def test_masks_of_seeds_and_places_are_independent(plan: Plan, run: Run) -> None:
    drawn = np.stack([masks(plan, run, seed) for seed in range(60)]) > 0
    centred = drawn - 0.7
    for gap in (1, 2, 3, 16):
        for pair in ((centred[gap:], centred[:-gap]), (centred[:, gap:], centred[:, :-gap])):
            correlation = (pair[0] * pair[1]).mean() / 0.21
            assert abs(correlation) < 4 / np.sqrt(pair[0].size)
    assert abs(drawn.mean(axis=0) - 0.7).max() < 0.3
    assert abs(drawn.mean(axis=1) - 0.7).max() < 0.1


def test_two_layers_draw_differently(run: Run) -> None:
    both = "Dropout(x, ratio) e = Dropout(d, ratio)"
    twice = model(both)
    twice.graph.node[-1].input[0] = "e"
    made = build_plan(twice, loss="mse", momentum=0, name="two")
    kept = masks(made, run, 1) > 0
    assert abs(kept.mean() - 0.49) < 0.1


def test_the_library_in_numpy_draws_the_same_mask(plan: Plan, run: Run) -> None:
    def numpy_run(data: bytes, feeds: dict[str, Array]) -> list[Array]:
        return run_model(data, feeds)

    for seed in (0, 2**32 - 1):
        np.testing.assert_allclose(masks(plan, run, seed), masks(plan, numpy_run, seed), rtol=1e-6)


@pytest.mark.parametrize("inner", ["Dropout(x)", "Dropout(x, ratio, on)", "Dropout(x, ratio)"])
def test_evaluation_and_gradient_checks_drop_nothing(inner: str, run: Run) -> None:
    made = build_plan(model(inner), loss="mse", momentum=0, name="m")
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, SIZE)).astype("f4"), rng.normal(size=(SIZE, 1)).astype("f4")
    (loss,) = run(made.evaluate_graph(), {"x": x, "w": w, "target": np.zeros((3, 1), "f4")})
    np.testing.assert_allclose(float(loss), float(np.mean((x @ w) ** 2)), rtol=1e-4)
    assert check_gradients(model(inner), loss="mse").worst < 1e-6


def test_training_is_a_function_of_the_tasks_seed(plan: Plan) -> None:
    rng = np.random.default_rng(1)
    data = ArrayDataset(rng.normal(size=(20, SIZE)).astype("f4"), rng.normal(size=(20, 1)))
    engine = OnnxRuntimeEngine(plan)
    start = plan.initial_weights()
    tasks = [TrainSettings(batch_size=20, learning_rate=0.01, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (engine.train(start, data, task).weights for task in tasks)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_plan_without_dropout_asks_for_no_seed() -> None:
    made = build_plan(model("Identity(x)"), loss="mse", name="m")
    assert "seed" not in [i.name for i in onnx.load_from_string(made.train_graph()).graph.input]


def test_a_ratio_of_one_is_refused() -> None:
    with pytest.raises(Unsupported, match="ratio"):
        build_plan(model(ratio=1.0), loss="mse", name="m")
