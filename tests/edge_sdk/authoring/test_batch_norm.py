"""Batch normalisation in training: batch statistics, running statistics carried as parameters."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_sdk.authoring import build_plan, check_gradients
from edge_sdk.authoring.training import BatchNorm
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings

Array = NDArray[np.generic]
Doubles = NDArray[np.float64]
Run = Callable[[bytes, dict[str, Array]], list[Array]]
RNG = np.random.default_rng(0)

WEIGHTS = {
    "scale": np.array([1.5, -0.5, 1.0], "f4"),
    "shift": np.array([0.1, 0.0, -0.2], "f4"),
    "mean": np.array([0.5, -1.0, 40.0], "f4"),
    "var": np.array([2.0, 0.5, 9.0], "f4"),
    "w": RNG.normal(size=(48, 2)).astype("f4"),
}
BODY = """m (float[N,3,4,4] x) => (float[N,2] y) {
    n = BatchNormalization<epsilon = 0.001, momentum = 0.8>(x, scale, shift, mean, var)
    r = Tanh(n)
    f = Flatten(r)
    y = MatMul(f, w)
}"""


def model(body: str = BODY, **weights: Array) -> onnx.ModelProto:
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    for name, array in (weights or WEIGHTS).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def inputs(batch: int, seed: int = 1) -> tuple[Doubles, Doubles]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(batch, 3, 4, 4)) * [[[[1.0]], [[2.0]], [[0.5]]]] + [
        [[[0.0]], [[3.0]], [[100.0]]]
    ]
    return x.astype("f4").astype(float), rng.normal(size=(batch, 2)).astype("f4").astype(float)


def forward(x: Doubles, mean: Doubles, var: Doubles) -> Doubles:
    column = (1, 3, 1, 1)
    normal = (x - mean.reshape(column)) / np.sqrt(var.reshape(column) + 0.001)
    y = normal * WEIGHTS["scale"].reshape(column) + WEIGHTS["shift"].reshape(column)
    return np.asarray(np.tanh(y).reshape(len(x), -1) @ WEIGHTS["w"].astype(float))


def feeds_of(plan: Plan, x: Doubles, t: Doubles) -> dict[str, Array]:
    feeds: dict[str, Array] = {"x": x.astype("f4"), "target": t.astype("f4")}
    return feeds | dict(plan.layout().split(plan.initial_weights()))


def trained(plan: Plan, run: Run, x: Doubles, t: Doubles) -> dict[str, Doubles]:
    feeds = feeds_of(plan, x, t) | {"lr": np.array(0.1, "f4")}
    feeds |= {p.name: np.zeros(p.shape, "f4") for p in plan.optimizer_state()}
    names = [o.name for o in onnx.load_from_string(plan.train_graph()).graph.output]
    outputs = run(plan.train_graph(), feeds)
    return {n: np.asarray(a, float) for n, a in zip(names, outputs, strict=True)}


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_training_normalises_by_the_batch_and_moves_the_running_statistics(
    batch: int, run: Run
) -> None:
    plan = build_plan(model(), loss="mse", name="bn")
    assert {p.name for p in plan.layout().parameters} == set(WEIGHTS)
    moving = {"scale", "shift", "w"}
    assert {p.name for p in plan.optimizer_state()} == {f"{n}.momentum" for n in moving}
    x, t = inputs(batch)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    outputs = trained(plan, run, x, t)
    np.testing.assert_allclose(
        outputs["loss"], np.mean((forward(x, mean, var) - t) ** 2), rtol=1e-4
    )
    np.testing.assert_allclose(outputs["mean.new"], 0.8 * WEIGHTS["mean"] + 0.2 * mean, rtol=1e-5)
    np.testing.assert_allclose(outputs["var.new"], 0.8 * WEIGHTS["var"] + 0.2 * var, rtol=1e-4)


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_evaluation_uses_the_running_statistics(mode: BatchNorm, run: Run) -> None:
    plan = build_plan(model(), loss="mse", name="bn", batch_norm=mode)
    x, t = inputs(4)
    (loss,) = run(plan.evaluate_graph(), feeds_of(plan, x, t))
    y = forward(x, WEIGHTS["mean"].astype(float), WEIGHTS["var"].astype(float))
    np.testing.assert_allclose(float(loss), float(np.mean((y - t) ** 2)), rtol=1e-4)


def test_a_variance_that_was_averaged_below_zero_is_read_as_zero(run: Run) -> None:
    plan = build_plan(model(), loss="mse", name="bn")
    x, t = inputs(4)
    feeds = feeds_of(plan, x, t) | {"var": np.array([2.0, -0.3, 9.0], "f4")}
    (loss,) = run(plan.evaluate_graph(), feeds)
    y = forward(x, WEIGHTS["mean"].astype(float), np.array([2.0, 0.0, 9.0]))
    np.testing.assert_allclose(float(loss), float(np.mean((y - t) ** 2)), rtol=1e-4)


def test_frozen_statistics_are_no_parameters_and_stay(run: Run) -> None:
    plan = build_plan(model(), loss="mse", name="bn", batch_norm="frozen")
    assert [p.name for p in plan.layout().parameters] == ["scale", "shift", "w"]
    x, t = inputs(4)
    y = forward(x, WEIGHTS["mean"].astype(float), WEIGHTS["var"].astype(float))
    outputs = trained(plan, run, x, t)
    np.testing.assert_allclose(outputs["loss"], np.mean((y - t) ** 2), rtol=1e-4)


def test_a_frozen_layer_keeps_its_statistics() -> None:
    plan = build_plan(model(), loss="mse", name="bn", freeze="scale|shift|mean|var")
    assert [p.name for p in plan.layout().parameters] == ["w"]
    ops = [n.op_type for n in onnx.load_from_string(plan.train_graph()).graph.node]
    assert ops.count("BatchNormalization") == 1
    assert "ReduceMean" not in ops


def test_gradients_through_batch_statistics() -> None:
    assert check_gradients(model(), loss="mse", batch_size=4).worst < 1e-6


def test_a_gradient_reaches_what_stands_before() -> None:
    body = """m (float[N,5] x) => (float[N,2] y) {
        h = MatMul(x, v)
        n = BatchNormalization(h, scale, shift, mean, var)
        y = MatMul(n, w)
    }"""
    weights = {**WEIGHTS, "v": RNG.normal(size=(5, 3)), "w": RNG.normal(size=(3, 2))}
    forward_model = model(body, **{n: a.astype("f4") for n, a in weights.items()})
    assert check_gradients(forward_model, loss="mse", batch_size=6).worst < 1e-6


def test_a_mean_far_from_zero_costs_no_accuracy(run: Run) -> None:
    plan = build_plan(model(), loss="mse", name="bn")
    x, t = inputs(4)
    x[:, 2] += 10_000
    x = x.astype("f4").astype(float)
    outputs = trained(plan, run, x, t)
    right = np.mean((forward(x, x.mean((0, 2, 3)), x.var((0, 2, 3))) - t) ** 2)
    np.testing.assert_allclose(outputs["loss"], right, rtol=1e-3)


def test_models_exported_in_training_mode_are_the_same_plan() -> None:
    body = BODY.replace("n = Batch", "n, m1, v1 = Batch").replace(
        "momentum = 0.8", "momentum = 0.8, training_mode = 1"
    )
    plans = [build_plan(model(b, **WEIGHTS), loss="mse", name="bn") for b in (BODY, body)]
    assert len({plan.digest for plan in plans}) == 1


def test_statistics_that_two_layers_share_stay_frozen() -> None:
    body = BODY.replace("f = Flatten(r)", """
        k = BatchNormalization(r, scale, shift, mean, var)
        f = Flatten(k)""")  # fmt: skip
    plan = build_plan(model(body, **WEIGHTS), loss="mse", name="bn")
    assert [p.name for p in plan.layout().parameters] == ["scale", "shift", "w"]


def test_a_federation_learns_with_running_statistics() -> None:
    """Two devices with differently scaled data, three rounds of averaging everything."""
    body = """m (float[N,4] x) => (float[N,2] y) {
        n = BatchNormalization(x, scale, shift, mean, var)
        y = MatMul(n, w)
    }"""
    weights = {"scale": np.ones(4), "shift": np.zeros(4), "mean": np.zeros(4), "var": np.ones(4)}
    weights["w"] = RNG.normal(size=(4, 2)) * 0.1
    start = model(body, **{n: a.astype("f4") for n, a in weights.items()})
    plan = build_plan(start, loss="cross-entropy", name="bn")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 4)) * 3 + 5
    y = (x[:, 0] > x[:, 1]).astype(np.int64)
    shards = [ArrayDataset(x[half].astype("f4"), y[half]) for half in (x[:, 2] > 5, x[:, 2] <= 5)]
    everything = ArrayDataset(x.astype("f4"), y)
    model_now = plan.initial_weights()
    engine = OnnxRuntimeEngine(plan)
    before = engine.evaluate(model_now, everything)
    for number in range(4):
        settings = TrainSettings(epochs=3, batch_size=16, learning_rate=0.1, seed=number)
        results = [engine.train(model_now, shard, settings).weights for shard in shards]
        model_now = np.mean(results, axis=0, dtype=np.float32)
    after = engine.evaluate(model_now, everything)
    assert after.loss < before.loss / 2
    assert after.accuracy is not None
    assert after.accuracy > 0.9
    running = plan.layout().split(model_now)
    np.testing.assert_allclose(running["mean"], x.mean(0), atol=1.5)
    assert (running["var"] > 0).all()
