"""Rules that move elements, and normalised exponentials, equal finite differences."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from edge_sdk.authoring.graph import Attribute, Node
from edge_sdk.authoring.rule_check import RuleCase

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(2)


@pytest.mark.parametrize(
    "shape", [(-1,), (0, -1), (2, 12), (0, 6, 2), (4, 0, -1), (1, 24), (2, 2, 2, 3)]
)
@pytest.mark.parametrize("batched", [[], ["x"]])
def test_reshape(shape: tuple[int, ...], batched: list[str], assert_rule: AssertRule) -> None:
    if batched and shape[0] not in (0, -1):
        shape = (-1, *shape[1:]) if -1 not in shape else shape
    inputs = {"x": RNG.normal(size=(2, 3, 4)), "s": np.array(shape, np.int64)}
    assert_rule(RuleCase(Node("Reshape", ("x", "s"), ("y",)), inputs, batched=batched))


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flatten(axis: int, assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(2, 3, 4))}
    assert_rule(RuleCase(Node("Flatten", ("x",), ("y",), {"axis": axis}), inputs, batched=["x"]))


def test_squeeze_and_unsqueeze(assert_rule: AssertRule) -> None:
    x = RNG.normal(size=(2, 1, 3, 1))
    axes = np.array([1, -1], np.int64)
    assert_rule(RuleCase(Node("Squeeze", ("x", "a"), ("y",)), {"x": x, "a": axes}, batched=["x"]))
    assert_rule(RuleCase(Node("Squeeze", ("x",), ("y",)), {"x": x}))
    assert_rule(RuleCase(Node("Unsqueeze", ("x", "a"), ("y",)), {"x": x, "a": axes}, batched=["x"]))


@pytest.mark.parametrize("order", [None, *itertools.permutations(range(3))])
def test_transpose(order: tuple[int, ...] | None, assert_rule: AssertRule) -> None:
    attributes: dict[str, Attribute] = {} if order is None else {"perm": order}
    inputs = {"x": RNG.normal(size=(2, 3, 4))}
    assert_rule(RuleCase(Node("Transpose", ("x",), ("y",), attributes), inputs, batched=["x"]))


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [None, 0, 1, -1, -2])
def test_normalised_exponentials(op: str, axis: int | None, assert_rule: AssertRule) -> None:
    attributes: dict[str, Attribute] = {} if axis is None else {"axis": axis}
    inputs = {"x": RNG.normal(size=(2, 3, 4)) * 3}
    assert_rule(RuleCase(Node(op, ("x",), ("y",), attributes), inputs))
