"""Rules of reductions, choices and running sums equal finite differences over axes and shapes."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Node
from edge_sdk.authoring.rule_check import RuleCase, gradient_model
from edge_sdk.errors import Unsupported

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(4)
REDUCTIONS = [
    "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceSumSquare", "ReduceProd",
]  # fmt: skip


def distinct(shape: tuple[int, ...], rng: np.random.Generator, *, positive: bool) -> np.ndarray:
    """No two equal and none near 0: no kink within reach of the differences."""
    count = int(np.prod(shape))
    x = (rng.permutation(count) + 1.0) / count + 0.2
    return (x if positive else x * rng.choice([-1, 1], count)).reshape(shape)


@pytest.mark.parametrize("op", REDUCTIONS)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_reductions(op: str, data: st.DataObject, assert_rule: AssertRule) -> None:
    rank = data.draw(st.integers(1, 3))
    shape = (2, 3, 4)[:rank]
    axes = data.draw(st.one_of(st.none(), st.sets(st.integers(-rank, rank - 1), max_size=rank)))
    if axes is not None:
        axes = {axis % rank for axis in axes}
    keepdims = data.draw(st.integers(0, 1))
    noop = data.draw(st.integers(0, 1)) if op in ("ReduceSum", "ReduceMean") else 0
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = distinct(shape, rng, positive=op == "ReduceLogSum")
    names = ("x",) if axes is None else ("x", "axes")
    inputs = {"x": x, "axes": np.array(sorted(axes or ()), np.int64)}
    node = Node(op, names, ("y",), {"keepdims": keepdims, "noop_with_empty_axes": noop})
    assert_rule(RuleCase(node, inputs, batched=data.draw(st.sampled_from([[], ["x"]]))))


def test_what_runtimes_disagree_on_is_refused(assert_rule: AssertRule) -> None:
    node = Node("ReduceL2", ("x",), ("y",), {"noop_with_empty_axes": 1})
    with pytest.raises(Unsupported, match="no axes"):
        assert_rule(RuleCase(node, {"x": RNG.normal(size=(2, 3))}))


def test_axes_worked_out_at_run_time_are_refused(assert_rule: AssertRule) -> None:
    node = Node("ReduceSum", ("x", "axes"), ("y",))
    case = RuleCase(node, {"x": RNG.normal(size=(2, 3)), "axes": np.array([1], np.int64)})
    assert_rule(case)
    from edge_sdk.authoring.builder import Builder
    from edge_sdk.authoring.differentiate import differentiate
    from edge_sdk.authoring.graph import Type

    builder = Builder()
    x = builder.input("x", Type(np.dtype(np.float32), (2, 3)))
    axes = builder.input("axes", Type(np.dtype(np.int64), (1,)))
    y = builder.op("ReduceSum", x, axes, typed=Type(x.type.dtype, (2, 1)))
    with pytest.raises(Unsupported, match="axes"):
        differentiate(builder, {y.name: y}, ["x"])


def test_ties_share_and_products_know_zeros() -> None:
    def gradient(op: str, x: list[float]) -> np.ndarray:
        case = RuleCase(Node(op, ("x",), ("y",)), {"x": np.array(x, np.float64)})
        model, feeds = gradient_model(case, np.float64)
        found = np.asarray(run_model(model, feeds)[1], np.float64)
        return np.asarray(found / np.asarray(feeds["y.cotangent"], np.float64))

    np.testing.assert_allclose(gradient("ReduceMax", [1, 3, 3, 2]), [0, 0.5, 0.5, 0])
    np.testing.assert_allclose(gradient("ReduceProd", [2, 0, 5]), [0, 10, 0])
    np.testing.assert_allclose(gradient("ReduceProd", [0, 0, 5]), [0, 0, 0])
    np.testing.assert_allclose(gradient("ReduceL2", [0, 0]), [0, 0])


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("axis", [0, -1])
def test_running_sum(exclusive: int, reverse: int, axis: int, assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(3, 4)), "axis": np.array(axis, np.int64)}
    node = Node("CumSum", ("x", "axis"), ("y",), {"exclusive": exclusive, "reverse": reverse})
    assert_rule(RuleCase(node, inputs))


@pytest.mark.parametrize("op", ["Min", "Max", "Sum", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 3])
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_choices_and_sums_of_many(
    op: str, count: int, data: st.DataObject, assert_rule: AssertRule
) -> None:
    drawn = mutually_broadcastable_shapes(num_shapes=count, max_dims=3, max_side=3)
    shapes = data.draw(drawn).input_shapes
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    names = tuple("abc"[:count])
    inputs = {n: rng.permutation(int(np.prod(s))).reshape(s) + i / 3.0
              for i, (n, s) in enumerate(zip(names, shapes, strict=True))}  # fmt: skip
    assert_rule(RuleCase(Node(op, names, ("y",)), inputs))


@settings(max_examples=10, deadline=None)
@given(shapes=mutually_broadcastable_shapes(num_shapes=3, max_dims=3, max_side=3),
       seed=st.integers(0, 99))  # fmt: skip
def test_where(shapes: object, seed: int, assert_rule: AssertRule) -> None:
    rng = np.random.default_rng(seed)
    c, a, b = shapes.input_shapes  # type: ignore[attr-defined]  # hypothesis's three
    inputs = {"c": rng.random(c) < 0.5, "a": rng.normal(size=a), "b": rng.normal(size=b)}
    assert_rule(RuleCase(Node("Where", ("c", "a", "b"), ("y",)), inputs))
