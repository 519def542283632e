"""Rules of activations and other curves equal finite differences away from their kinks."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, mutually_broadcastable_shapes

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.differentiate import differentiate
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array, Attribute, Node, Type
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.rule_check import RuleCase, gradient_model

AssertRule = Callable[[RuleCase], None]
Run = Callable[[bytes, dict[str, Array]], list[Array]]
Shape = tuple[int, ...]

KINKS: dict[str, tuple[float, ...]] = {
    "Abs": (0.0,), "Clip": (-1.0, 1.5), "Elu": (0.0,), "LeakyRelu": (0.0,),
    "PRelu": (0.0,), "Relu": (0.0,), "Selu": (0.0,), "Softsign": (0.0,),
    "HardSwish": (-3.0, 3.0), "HardSigmoid": (-2.5, 2.5, -0.25, 1.75),
    "ThresholdedRelu": (1.0, 0.3), "Shrink": (-0.5, 0.5, -1.2, 1.2),
}  # fmt: skip

EVERYWHERE: dict[str, tuple[dict[str, Attribute], ...]] = {
    "Abs": ({},),
    "Cos": ({},),
    "Elu": ({}, {"alpha": 0.7}),
    "Erf": ({},),
    "Exp": ({},),
    "Gelu": ({}, {"approximate": "tanh"}),
    "HardSigmoid": ({}, {"alpha": 0.5, "beta": 0.125}),
    "HardSwish": ({},),
    "LeakyRelu": ({}, {"alpha": 0.3}),
    "Mish": ({},),
    "Relu": ({},),
    "Selu": ({}, {"alpha": 1.5, "gamma": 0.8}),
    "Shrink": ({}, {"lambd": 1.2, "bias": 0.3}),
    "Sigmoid": ({},),
    "Sin": ({},),
    "Sinh": ({},),
    "Cosh": ({},),
    "Asinh": ({},),
    "Atan": ({},),
    "Softplus": ({},),
    "Softsign": ({},),
    "Tanh": ({},),
    "ThresholdedRelu": ({}, {"alpha": 0.3}),
}

WITHIN: dict[str, tuple[float, float]] = {
    "Acos": (-0.8, 0.8),
    "Acosh": (1.3, 4.0),
    "Asin": (-0.8, 0.8),
    "Atanh": (-0.8, 0.8),
    "Log": (0.2, 4.0),
    "Reciprocal": (0.3, 4.0),
    "Sqrt": (0.2, 4.0),
    "Tan": (-1.2, 1.2),
}


def smooth(rng: np.random.Generator, shape: Shape, kinks: tuple[float, ...]) -> np.ndarray:
    """Normal values, none closer to a kink than the differences reach."""
    x = rng.normal(size=shape) * 2
    for kink in kinks:
        x = np.where(np.abs(x - kink) < 1e-2, kink + 0.05, x)
    return np.asarray(x)


@pytest.mark.parametrize(("op", "number"), [(op, i) for op, a in EVERYWHERE.items()
                                            for i in range(len(a))])  # fmt: skip
@settings(max_examples=3, deadline=None)
@given(shape=array_shapes(min_dims=0, max_dims=3, max_side=4), seed=st.integers(0, 99))
def test_curves(op: str, number: int, shape: Shape, seed: int, assert_rule: AssertRule) -> None:
    x = smooth(np.random.default_rng(seed), shape, KINKS.get(op, ()))
    assert_rule(RuleCase(Node(op, ("x",), ("y",), EVERYWHERE[op][number]), {"x": x}, seed=seed))


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_celu_which_has_no_double_form(alpha: float, run: Run) -> None:
    builder, kind = Builder(), Type(np.dtype(np.float32), (5,))
    x, dy = builder.input("x", kind), builder.input("dy", kind)
    y = builder.op("Celu", x, alpha=alpha)
    dx = differentiate(builder, {y.name: dy}, ["x"])["x"]
    at, cotangent = np.array([-60, -2, -0.5, 0.5, 3], "f4"), np.array([1, 2, 3, 4, 5], "f4")
    (found,) = run(to_model(builder.finish("celu", {"dx": dx})), {"x": at, "dy": cotangent})
    right = np.where(at > 0, 1, np.exp(at / alpha)) * cotangent
    np.testing.assert_allclose(np.asarray(found, np.float64), right, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("op", WITHIN)
def test_curves_on_their_domain(op: str, assert_rule: AssertRule) -> None:
    x = np.random.default_rng(0).uniform(*WITHIN[op], (3, 4))
    assert_rule(RuleCase(Node(op, ("x",), ("y",)), {"x": x}, batched=["x"]))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), slope=st.sampled_from([(), (1,), (3,), (2, 1)]))
def test_prelu_trains_a_broadcast_slope(seed: int, slope: Shape, assert_rule: AssertRule) -> None:
    rng = np.random.default_rng(seed)
    inputs = {"x": smooth(rng, (4, 2, 3), (0.0,)), "s": rng.normal(size=slope)}
    assert_rule(RuleCase(Node("PRelu", ("x", "s"), ("y",)), inputs, batched=["x"]))


@settings(max_examples=12, deadline=None)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
       seed=st.integers(0, 99))  # fmt: skip
def test_pow_of_base_and_exponent(shapes: object, seed: int, assert_rule: AssertRule) -> None:
    rng = np.random.default_rng(seed)
    a, b = shapes.input_shapes  # type: ignore[attr-defined]  # hypothesis's pair
    inputs = {"a": rng.uniform(0.3, 2, a), "b": rng.normal(size=b)}
    assert_rule(RuleCase(Node("Pow", ("a", "b"), ("y",)), inputs))


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0, -1.0, 4.0])
@pytest.mark.parametrize("dtype", [np.float64, np.int64])
def test_pow_of_any_base(exponent: float, dtype: type, assert_rule: AssertRule) -> None:
    inputs = {"a": np.array([-2.0, -0.5, 0.7, 3.0]), "b": np.array(exponent, dtype)}
    if exponent == 0:
        inputs["b"] = np.array([0, 2, 0, 3], dtype)
    assert_rule(RuleCase(Node("Pow", ("a", "b"), ("y",)), inputs, settings=["b"]))


def test_pow_at_zero_has_finite_gradients() -> None:
    inputs = {"a": np.zeros(4), "b": np.array([0.0, 1.0, 2.0, 3.0])}
    model, feeds = gradient_model(RuleCase(Node("Pow", ("a", "b"), ("y",)), inputs), np.float64)
    _, da, db = run_model(model, feeds)
    np.testing.assert_array_equal(da, feeds["y.cotangent"] * [0, 1, 0, 0])
    np.testing.assert_array_equal(db, 0)


@pytest.mark.parametrize("bounds", [("lo", "hi"), ("lo", ""), ("", "hi"), ()])
def test_clip(bounds: tuple[str, ...], assert_rule: AssertRule) -> None:
    x = smooth(np.random.default_rng(1), (5, 4), KINKS["Clip"])
    inputs = {"x": x, "lo": np.array(-1.0), "hi": np.array(1.5)}
    node = Node("Clip", ("x", *bounds), ("y",))
    assert_rule(RuleCase(node, inputs, batched=["x"], settings=["lo", "hi"]))


@pytest.mark.parametrize("op", ["Sign", "Floor", "Ceil", "Round"])
def test_steps_pass_nothing(op: str) -> None:
    case = RuleCase(Node(op, ("x",), ("y",)), {"x": np.array([-1.3, 0.2])})
    with pytest.raises(AssertionError, match="no gradient"):
        gradient_model(case, np.float64)


@pytest.mark.parametrize(
    ("op", "slopes"),
    [("Relu", [0, 0, 1]), ("LeakyRelu", [0.01, 0.01, 1]), ("Elu", [np.exp(-2), 1, 1]),
     ("Abs", [-1, 0, 1]), ("Softsign", [1 / 9, 1, 1 / 9]), ("HardSwish", [-1 / 6, 0.5, 7 / 6])],
)  # fmt: skip
def test_slopes_at_a_kink_are_pytorchs(op: str, slopes: list[float]) -> None:
    case = RuleCase(Node(op, ("x",), ("y",)), {"x": np.array([-2.0, 0.0, 2.0])})
    model, feeds = gradient_model(case, np.float64)
    _, gradient = run_model(model, feeds)
    expected = np.asarray(feeds["y.cotangent"], np.float64) * slopes
    np.testing.assert_allclose(np.asarray(gradient, np.float64), expected, rtol=1e-6)


@pytest.mark.parametrize("op", ["Softplus", "Gelu", "Mish", "Elu", "Selu"])
def test_far_out_gradients_are_finite(op: str) -> None:
    case = RuleCase(Node(op, ("x",), ("y",)), {"x": np.array([-1e3, -50.0, 50.0])})
    model, feeds = gradient_model(case, np.float64)
    _, gradient = run_model(model, feeds)
    assert np.isfinite(np.asarray(gradient, np.float64)).all()
