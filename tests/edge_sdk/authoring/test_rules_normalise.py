"""Rules of normalisations equal finite differences over ranks, axes and groups."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.differentiate import differentiate
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Attribute, Node, Type
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.rule_check import RuleCase, gradient_model

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(77)
SHAPES = [(5, 4), (3, 4, 5), (3, 4, 5, 2), (2, 3, 2, 3, 2)]


def channels(x: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {"x": RNG.normal(size=x) * 3 + 1, "s": RNG.normal(size=x[1]), "b": RNG.normal(size=x[1])}


@pytest.mark.parametrize("shape", SHAPES)
def test_frozen_batch_norm(shape: tuple[int, ...], assert_rule: AssertRule) -> None:
    inputs = channels(shape)
    inputs |= {"m": RNG.normal(size=shape[1]), "v": RNG.uniform(0.5, 2, shape[1])}
    node = Node("BatchNormalization", tuple(inputs), ("y",), {"epsilon": 0.01})
    assert_rule(RuleCase(node, inputs, batched=["x"], settings=["m", "v"]))


@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_by_statistics_of_the_batch(shape: tuple[int, ...]) -> None:
    """Against differences: the standard wants three outputs, of which the loss sees one."""
    given_arrays = channels(shape)
    builder, rng = Builder(), np.random.default_rng(1)
    kinds = {n: Type(np.dtype(np.float64), a.shape) for n, a in given_arrays.items()}
    x, scale, bias = (builder.input(n, kind) for n, kind in kinds.items())
    stats = [builder.constant(np.full(shape[1], float(n))) for n in (0, 1)]
    seen = builder.op("Identity", x)
    outputs = ("y", "m", "v")
    builder.types |= dict.fromkeys(("m", "v"), scale.type) | {"y": x.type}
    names = (seen.name, scale.name, bias.name, *(s.name for s in stats))
    builder.nodes.append(Node("BatchNormalization", names, outputs, {"training_mode": 1}))
    weight = builder.constant(rng.normal(size=shape))
    total = (builder.value("y") * weight).sum()
    gradients = differentiate(builder, {"y": weight}, tuple(kinds))
    model = to_model(builder.finish("bn", {"sum": total} | {f"d{n}": g for n, g in
                                                              gradients.items()}))  # fmt: skip
    found = run_model(model, given_arrays)
    for name, gradient in zip(kinds, found[1:], strict=True):
        direction = rng.normal(size=given_arrays[name].shape)
        ends = [run_model(model, given_arrays | {name: given_arrays[name] + s * 1e-6 * direction})
                for s in (1, -1)]  # fmt: skip
        difference = (float(ends[0][0]) - float(ends[1][0])) / 2e-6
        np.testing.assert_allclose((np.asarray(gradient, float) * direction).sum(), difference,
                                   rtol=1e-5, atol=1e-6)  # fmt: skip


@settings(max_examples=8, deadline=None)
@given(rank=st.integers(1, 4), back=st.integers(1, 4), bias=st.booleans())
def test_layer_norm(rank: int, back: int, bias: bool, assert_rule: AssertRule) -> None:
    axis = -min(rank, back)
    shape = (2, 3, 4, 3)[-rank:]
    inputs = {"x": RNG.normal(size=shape) * 2, "s": RNG.normal(size=shape[axis:])}
    inputs |= {"b": RNG.normal(size=shape[axis:])} if bias else {}
    node = Node("LayerNormalization", tuple(inputs), ("y",), {"axis": axis, "epsilon": 1e-3})
    assert_rule(RuleCase(node, inputs))
    if axis > -rank:
        assert_rule(RuleCase(node, inputs, batched=["x"]))


@pytest.mark.parametrize("shape", SHAPES[1:])
def test_instance_norm(shape: tuple[int, ...], assert_rule: AssertRule) -> None:
    inputs = channels(shape)
    node = Node("InstanceNormalization", tuple(inputs), ("y",), {"epsilon": 1e-3})
    assert_rule(RuleCase(node, inputs, batched=["x"]))


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("p", [1, 2])
def test_norm_to_length_one(axis: int, p: int, assert_rule: AssertRule) -> None:
    x = RNG.uniform(0.2, 2, (3, 4, 2)) * RNG.choice([-1, 1], (3, 4, 2))
    attributes: dict[str, Attribute] = {"axis": axis, "p": p}
    assert_rule(RuleCase(Node("LpNormalization", ("x",), ("y",), attributes), {"x": x}))


def test_a_vector_of_zeros_gets_a_finite_gradient() -> None:
    case = RuleCase(Node("LpNormalization", ("x",), ("y",)), {"x": np.zeros((2, 3))})
    model, feeds = gradient_model(case, np.float64)
    assert np.isfinite(np.asarray(run_model(model, feeds)[1], np.float64)).all()


def test_dropout_outside_training_passes_everything(assert_rule: AssertRule) -> None:
    assert_rule(RuleCase(Node("Dropout", ("x",), ("y",)), {"x": RNG.normal(size=(3, 2))}))
