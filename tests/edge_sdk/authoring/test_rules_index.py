"""Rules that pick and place by number equal finite differences, repeated numbers among them."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.authoring.graph import Attribute, Node
from edge_sdk.authoring.rule_check import RuleCase
from edge_sdk.errors import Unsupported

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(6)


def gather_case(
    x: tuple[int, ...], indices: object, *, batched: bool = False, **attributes: Attribute
) -> RuleCase:
    inputs = {"x": RNG.normal(size=x), "i": np.array(indices, np.int64)}
    node = Node("Gather", ("x", "i"), ("y",), attributes)
    return RuleCase(node, inputs, batched=["x"] if batched else [])


GATHERS: dict[str, RuleCase] = {
    "embedding": gather_case((5, 3), [[0, 4, 4], [1, 0, -1]]),
    "one element": gather_case((2, 4, 3), 2, batched=True, axis=1),
    "one element as a vector": gather_case((2, 4, 3), [-1], batched=True, axis=1),
    "one of the batch": gather_case((3, 4), 1, batched=True),
    "last axis": gather_case((2, 3, 4), [3, 3, 0], batched=True, axis=-1),
    "middle axis by a table": gather_case((2, 4, 3), [[0, 1], [1, 3]], batched=True, axis=1),
}


@pytest.mark.parametrize("name", GATHERS)
def test_gather(name: str, assert_rule: AssertRule) -> None:
    assert_rule(GATHERS[name])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_drawn_gathers(assert_rule: AssertRule, data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    wanted = tuple(data.draw(st.lists(st.integers(1, 3), max_size=2)))
    assert_rule(gather_case(shape, RNG.integers(-size, size, wanted), axis=axis))


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_gather_elements(axis: int, assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(3, 4)), "i": RNG.integers(-3, 3, (2, 3))}
    node = Node("GatherElements", ("x", "i"), ("y",), {"axis": axis})
    assert_rule(RuleCase(node, inputs))


@pytest.mark.parametrize(
    ("shape", "indices", "batch_dims"),
    [((3, 4), (5, 2), 0), ((3, 4, 2), (2, 2, 1), 0), ((3, 4, 2), (3, 2, 1), 1),
     ((2, 3, 4), (2, 3, 2, 1), 2)],
)  # fmt: skip
def test_gather_nd(
    shape: tuple[int, ...], indices: tuple[int, ...], batch_dims: int, assert_rule: AssertRule
) -> None:
    places = np.stack(
        [RNG.integers(0, shape[batch_dims + i], indices[:-1]) for i in range(indices[-1])], -1
    )
    inputs = {"x": RNG.normal(size=shape), "i": places}
    node = Node("GatherND", ("x", "i"), ("y",), {"batch_dims": batch_dims})
    assert_rule(RuleCase(node, inputs, batched=["x"]))


@pytest.mark.parametrize("reduction", ["none", "add"])
def test_scatter_nd(reduction: str, assert_rule: AssertRule) -> None:
    places = np.array([[[0, 1], [2, 3]], [[1, 0], [2, 0]]], np.int64)
    if reduction == "add":
        places[1, 1] = places[0, 0]
    inputs = {"x": RNG.normal(size=(3, 4, 2)), "i": places, "u": RNG.normal(size=(2, 2, 2))}
    node = Node("ScatterND", ("x", "i", "u"), ("y",), {"reduction": reduction})
    assert_rule(RuleCase(node, inputs))


@pytest.mark.parametrize("reduction", ["none", "add"])
@pytest.mark.parametrize("axis", [0, 1])
def test_scatter_elements(reduction: str, axis: int, assert_rule: AssertRule) -> None:
    places = np.array([[0, 1, 2], [2, 2, 1]] if axis == 0 else [[0, 2, 1], [3, 1, 0]], np.int64)
    if axis == 0:
        places = np.array([[0, 1, 2], [2, 0, 1]], np.int64)
    if reduction == "add":
        places[1] = places[0]
    inputs = {"x": RNG.normal(size=(3, 4)), "i": places, "u": RNG.normal(size=(2, 3))}
    node = Node("ScatterElements", ("x", "i", "u"), ("y",), {"axis": axis, "reduction": reduction})
    assert_rule(RuleCase(node, inputs))


def test_scatter_that_multiplies_is_refused(assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(3,)), "i": np.array([[0]]), "u": RNG.normal(size=(1,))}
    node = Node("ScatterND", ("x", "i", "u"), ("y",), {"reduction": "mul"})
    with pytest.raises(Unsupported, match="'mul'"):
        assert_rule(RuleCase(node, inputs))


@pytest.mark.parametrize("axis", [None, 0, -1])
def test_compress(axis: int | None, assert_rule: AssertRule) -> None:
    kept = np.array([True, False, True] if axis != -1 else [False, True, True, False])
    attributes: dict[str, Attribute] = {} if axis is None else {"axis": axis}
    inputs = {"x": RNG.normal(size=(3, 4)), "k": kept}
    assert_rule(RuleCase(Node("Compress", ("x", "k"), ("y",), attributes), inputs))


def test_reverse_sequence(assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(4, 3, 2)), "n": np.array([4, 1, 2], np.int64)}
    assert_rule(RuleCase(Node("ReverseSequence", ("x", "n"), ("y",)), inputs))


@pytest.mark.parametrize("axis", [0, -1])
def test_top_k(axis: int, assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.permutation(20).reshape(4, 5) / 20, "k": np.array([2], np.int64)}
    assert_rule(RuleCase(Node("TopK", ("x", "k"), ("y", "i"), {"axis": axis}), inputs))
