"""Elementwise rules equal finite differences under any broadcasting; onnxruntime agrees."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Node
from edge_sdk.authoring.rule_check import RuleCase, gradient_model

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(0)


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@settings(max_examples=12, deadline=None)
@given(shapes=mutually_broadcastable_shapes(num_shapes=2, max_dims=3, max_side=3),
       seed=st.integers(0, 99))  # fmt: skip
def test_binary_operators_broadcast(
    op: str, shapes: object, seed: int, assert_rule: AssertRule
) -> None:
    rng = np.random.default_rng(seed)
    a_shape, b_shape = shapes.input_shapes  # type: ignore[attr-defined]  # hypothesis's pair
    b = rng.uniform(0.5, 2, b_shape) * rng.choice([-1, 1], b_shape)
    assert_rule(
        RuleCase(Node(op, ("a", "b"), ("y",)), {"a": rng.normal(size=a_shape), "b": b}, seed=seed)
    )


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("shape", [(), (3,), (1, 3), (2, 3), (1, 1)])
def test_binary_operators_broadcast_over_the_open_batch_axis(
    op: str, shape: tuple[int, ...], assert_rule: AssertRule
) -> None:
    inputs = {"a": RNG.normal(size=(4, 2, 3)), "b": RNG.uniform(1, 2, shape)}
    assert_rule(RuleCase(Node(op, ("a", "b"), ("y",)), inputs, batched=["a"]))
    assert_rule(RuleCase(Node(op, ("b", "a"), ("y",)), inputs | {"a": inputs["a"] + 5},
                         batched=["a"]))  # fmt: skip


@pytest.mark.parametrize("op", ["Add", "Mul", "Sub"])
def test_a_value_used_twice_gets_both_cotangents(op: str, assert_rule: AssertRule) -> None:
    assert_rule(RuleCase(Node(op, ("a", "a"), ("y",)), {"a": RNG.normal(size=(2, 3))}))


@pytest.mark.parametrize("op", ["Neg", "Relu", "Sigmoid", "Tanh", "Identity"])
@pytest.mark.parametrize("shape", [(), (5,), (3, 2, 2)])
def test_unary_operators(op: str, shape: tuple[int, ...], assert_rule: AssertRule) -> None:
    assert_rule(RuleCase(Node(op, ("x",), ("y",)), {"x": RNG.normal(size=shape) * 3}))


def test_relu_passes_nothing_at_and_below_zero() -> None:
    case = RuleCase(Node("Relu", ("x",), ("y",)), {"x": np.array([-1.0, 0.0, 2.0])})
    model, feeds = gradient_model(case, np.float64)
    _, gradient = run_model(model, feeds)
    assert gradient.tolist() == [0, 0, feeds["y.cotangent"][2]]


@pytest.mark.parametrize("op", ["Sigmoid", "Tanh"])
def test_saturated_activations_pass_almost_nothing(op: str) -> None:
    case = RuleCase(Node(op, ("x",), ("y",)), {"x": np.array([-1e4, -40.0, 40.0, 1e4])})
    model, feeds = gradient_model(case, np.float64)
    _, gradient = run_model(model, feeds)
    np.testing.assert_allclose(np.asarray(gradient, np.float64), 0, atol=1e-15)


def test_cast_hands_the_cotangent_back_in_the_input_type() -> None:
    case = RuleCase(Node("Cast", ("x",), ("y",), {"to": 1}), {"x": np.array([1.0, -2.0])})
    model, feeds = gradient_model(case, np.float64)
    feeds["y.cotangent"] = feeds["y.cotangent"].astype(np.float32)
    _, gradient = run_model(model, feeds)
    assert gradient.dtype == np.float64
    np.testing.assert_array_equal(gradient, feeds["y.cotangent"])
