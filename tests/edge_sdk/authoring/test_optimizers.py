"""Steps on stock onnxruntime equal the same formulas in numpy, over several steps."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_sdk.authoring import build_plan, optimizers
from edge_sdk.authoring.optimizers import Optimizer, chosen_optimizer
from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan

Array = NDArray[np.generic]
Doubles = NDArray[np.float64]
Run = Callable[[bytes, dict[str, Array]], list[Array]]
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(6, 3)).astype("f4"), RNG.normal(size=(6, 2)).astype("f4")
W = RNG.normal(size=(3, 2)).astype("f4")
RATE = 0.1


def linear() -> onnx.ModelProto:
    proto = parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 20]> '
        "m (float[N,3] x) => (float[N,2] y) { y = MatMul(x, w) }"
    )
    proto.graph.initializer.append(numpy_helper.from_array(W, "w"))
    return proto


def gradient(w: Doubles) -> Doubles:
    return np.asarray(2 * X.astype(float).T @ (X @ w - Y) / Y.size)


def steps(
    plan: Plan, run: Run, count: int = 3, *, further: dict[str, Array] | None = None
) -> list[Doubles]:
    """The weight after each step."""
    state = {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}
    feeds: dict[str, Array] = {"x": X, "target": Y, "lr": np.array(RATE, "f4"), "w": W}
    feeds |= {**state, **(further or {})}
    names = [o.name for o in onnx.load_from_string(plan.train_graph()).graph.output]
    assert names == ["loss", "w.new", *(f"{name}.new" for name in state)]
    seen: list[Doubles] = []
    for _ in range(count):
        outputs = dict(zip(names, run(plan.train_graph(), feeds), strict=True))
        feeds |= {n.removesuffix(".new"): a for n, a in outputs.items() if n != "loss"}
        seen.append(np.asarray(feeds["w"], np.float64))
    return seen


def plan_of(optimizer: str | Optimizer = "sgd", **settings: object) -> Plan:
    return build_plan(linear(), loss="mse", optimizer=optimizer, name="n", **settings)  # type: ignore[arg-type]  # settings by name


def expected(rule: Callable[[Doubles, Doubles, dict[str, Doubles], int], Doubles]) -> list[Doubles]:
    w, state, seen = W.astype(float), {"m": np.zeros((3, 2)), "v": np.zeros((3, 2))}, []
    for number in range(1, 4):
        w = rule(w, gradient(w), state, number)
        seen.append(w)
    return seen


def test_sgd_with_weight_decay(run: Run) -> None:
    def rule(w: Doubles, g: Doubles, state: dict[str, Doubles], _: int) -> Doubles:
        state["m"] = 0.8 * state["m"] + g + 0.05 * w
        return np.asarray(w - RATE * state["m"])

    plan = plan_of(momentum=0.8, weight_decay=0.05)
    assert plan.manifest.optimizer == "sgd:momentum=0.8,weight-decay=0.05"
    np.testing.assert_allclose(steps(plan, run), expected(rule), rtol=1e-4, atol=1e-6)


def test_plain_sgd_with_weight_decay(run: Run) -> None:
    plan = plan_of(momentum=0, weight_decay=0.05)
    assert plan.optimizer_state() == ()
    right = expected(lambda w, g, _, __: np.asarray(w - RATE * (g + 0.05 * w)))
    np.testing.assert_allclose(steps(plan, run), right, rtol=1e-4, atol=1e-6)


def test_nesterov(run: Run) -> None:
    def rule(w: Doubles, g: Doubles, state: dict[str, Doubles], _: int) -> Doubles:
        state["m"] = 0.9 * state["m"] + g
        return np.asarray(w - RATE * (g + 0.9 * state["m"]))

    np.testing.assert_allclose(steps(plan_of("nesterov"), run), expected(rule), rtol=1e-4)


@pytest.mark.parametrize(("name", "decay"), [("adam", 0.0), ("adam", 0.1), ("adamw", 0.1)])
def test_adam(name: str, decay: float, run: Run) -> None:
    def rule(w: Doubles, g: Doubles, state: dict[str, Doubles], t: int) -> Doubles:
        if name == "adam":
            g = np.asarray(g + decay * w)
        else:
            w = np.asarray(w * (1 - RATE * decay))
        state["m"] = 0.9 * state["m"] + 0.1 * g
        state["v"] = 0.999 * state["v"] + 0.001 * g * g
        m, v = state["m"] / (1 - 0.9**t), state["v"] / (1 - 0.999**t)
        return np.asarray(w - RATE * m / (np.sqrt(v) + 1e-8))

    plan = plan_of(name, weight_decay=decay)
    state = {p.name: p.shape for p in plan.optimizer_state()}
    assert state == {"optimizer.steps": (), "w.momentum": (3, 2), "w.second-moment": (3, 2)}
    np.testing.assert_allclose(steps(plan, run), expected(rule), rtol=2e-4, atol=1e-5)


def test_a_long_gradient_is_scaled_down_and_a_short_one_is_not(run: Run) -> None:
    length = float(np.linalg.norm(gradient(W.astype(float))))
    for limit, factor in ((length / 4, 0.25), (length * 4, 1.0)):
        plan = plan_of(momentum=0, clip_norm=limit)
        assert plan.manifest.optimizer == f"sgd:clip-norm={limit:g}"
        right = W - RATE * factor * gradient(W.astype(float))
        np.testing.assert_allclose(steps(plan, run, 1)[0], right, rtol=1e-4, atol=1e-6)


def test_the_norm_is_that_of_all_weights_together(run: Run) -> None:
    body = "m (float[N,3] x) => (float[N,2] y) { y = Gemm(x, w, b) }"
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    zeros = np.zeros(2, "f4")
    proto.graph.initializer.extend(
        [numpy_helper.from_array(W, "w"), numpy_helper.from_array(zeros, "b")]
    )
    plan = build_plan(proto, loss="mse", momentum=0, clip_norm=0.01, name="n")
    feeds: dict[str, Array] = {"x": X, "target": Y, "w": W, "b": zeros, "lr": np.array(1, "f4")}
    _, w, b = (np.asarray(a, float) for a in run(plan.train_graph(), feeds))
    np.testing.assert_allclose(np.hypot(np.linalg.norm(w - W), np.linalg.norm(b)), 0.01, rtol=1e-3)


def test_the_proximal_term_pulls_to_the_start(run: Run) -> None:
    start = RNG.normal(size=(3, 2)).astype("f4")
    plan = plan_of(momentum=0, proximal=True)
    seen = steps(plan, run, further={"mu": np.array(0.7, "f4"), "w.start": start})
    right = expected(lambda w, g, _, __: np.asarray(w - RATE * (g + 0.7 * (w - start))))
    np.testing.assert_allclose(seen, right, rtol=1e-4, atol=1e-6)


def test_a_correction_is_added_to_the_gradient(run: Run) -> None:
    added = RNG.normal(size=(3, 2)).astype("f4")
    seen = steps(plan_of(momentum=0, correction=True), run, further={"w.correction": added})
    right = expected(lambda w, g, _, __: np.asarray(w - RATE * (g + added)))
    np.testing.assert_allclose(seen, right, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_gathered_gradients_make_the_step_of_the_whole_batch(optimizer: str, run: Run) -> None:
    plan = plan_of(optimizer, accumulate=True, clip_norm=0.5)
    whole = steps(plan_of(optimizer, clip_norm=0.5), run)
    names = [o.name for o in onnx.load_from_string(plan.train_graph()).graph.output]
    feeds: dict[str, Array] = {"w": W, "lr": np.array(RATE, "f4")}
    feeds |= {p.name: np.zeros(p.shape, np.float32) for p in plan.optimizer_state()}
    for right in whole:
        for piece in (slice(0, 4), slice(4, 5), slice(5, 6)):
            before = feeds["w"]
            feeds |= {
                "x": X[piece], "target": Y[piece],
                "share": np.array(len(X[piece]) / 6, "f4"), "apply": np.array(piece.stop == 6),
            }  # fmt: skip
            outputs = dict(zip(names, run(plan.train_graph(), feeds), strict=True))
            feeds |= {n.removesuffix(".new"): a for n, a in outputs.items() if n != "loss"}
            assert (piece.stop == 6) != np.array_equal(feeds["w"], before)
        np.testing.assert_allclose(np.asarray(feeds["w"], float), right, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(np.asarray(feeds["w.gathered"], float), 0)


def test_a_made_rule_is_taken_with_what_goes_beside_it() -> None:
    rule = chosen_optimizer(optimizers.adam(second=0.99), clip_norm=2.0, accumulate=True)
    assert rule.spec == "adam:momentum=0.9,second=0.99,clip-norm=2,accumulate"
    assert chosen_optimizer("adamw").spec == "adamw:momentum=0.9,second=0.999,weight-decay=0.01"
    assert chosen_optimizer("sgd", momentum=0, proximal=True).spec == "sgd:proximal"


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("hope", {}, "adamw"),
        ("sgd", {"momentum": 1.0}, "momentum 1.0"),
        ("sgd", {"momentum": -0.1}, "momentum"),
        ("adam", {"weight_decay": -1.0}, "weight decay"),
        ("sgd", {"clip_norm": 0.0}, "clip norm 0"),
        (optimizers.sgd(), {"momentum": 0.5}, "made already"),
    ],
)
def test_wrong_settings_are_misuse(
    name: str | Optimizer, settings: dict[str, float], words: str
) -> None:
    with pytest.raises(Misuse, match=words):
        chosen_optimizer(name, **settings)  # type: ignore[arg-type]  # settings by name


def test_epsilon_and_second_rate_are_checked() -> None:
    with pytest.raises(Misuse, match="epsilon"):
        optimizers.adam(epsilon=0)
    with pytest.raises(Misuse, match="second 1"):
        optimizers.adamw(second=1)
