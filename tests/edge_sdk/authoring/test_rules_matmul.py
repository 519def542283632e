"""Matrix product rules equal finite differences for every flag and rank; onnxruntime agrees."""

from collections.abc import Callable

import numpy as np
import pytest

from edge_sdk.authoring.graph import Attribute, Node
from edge_sdk.authoring.rule_check import RuleCase

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(1)

C_SHAPES: list[tuple[int, ...] | None] = [None, (), (1,), (4,), (1, 4), (2, 1), (2, 4)]


@pytest.mark.parametrize("flags", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("c_shape", C_SHAPES)
def test_gemm_with_every_flag(
    flags: tuple[int, int], c_shape: tuple[int, ...] | None, assert_rule: AssertRule
) -> None:
    a = RNG.normal(size=(3, 2) if flags[0] else (2, 3))
    b = RNG.normal(size=(4, 3) if flags[1] else (3, 4))
    settings: dict[str, Attribute] = {"transA": flags[0], "transB": flags[1]}
    settings |= {"alpha": 0.7, "beta": -1.3}
    inputs = {"a": a, "b": b}
    if c_shape is not None:
        inputs["c"] = RNG.normal(size=c_shape)
    assert_rule(RuleCase(Node("Gemm", tuple(inputs), ("y",), settings), inputs))


def test_gemm_with_defaults_and_an_open_batch(assert_rule: AssertRule) -> None:
    inputs = {"a": RNG.normal(size=(5, 3)), "b": RNG.normal(size=(3, 4)), "c": RNG.normal(size=4)}
    assert_rule(RuleCase(Node("Gemm", ("a", "b", "c"), ("y",)), inputs, batched=["a"]))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 3), (3, 4)),
        ((3,), (3, 4)),
        ((2, 3), (3,)),
        ((3,), (3,)),
        ((5, 2, 3), (3, 4)),
        ((5, 2, 3), (5, 3, 4)),
        ((1, 2, 3), (5, 3, 4)),
        ((5, 2, 3), (1, 3, 4)),
        ((2, 3), (5, 3, 4)),
        ((6, 1, 2, 3), (5, 3, 4)),
        ((3,), (5, 3, 4)),
        ((5, 2, 3), (3,)),
        ((2, 2, 2, 3), (3, 4)),
        ((1, 1), (1, 1)),
    ],
)
def test_matmul_of_any_ranks(
    a: tuple[int, ...], b: tuple[int, ...], assert_rule: AssertRule
) -> None:
    inputs = {"a": RNG.normal(size=a), "b": RNG.normal(size=b)}
    assert_rule(RuleCase(Node("MatMul", ("a", "b"), ("y",)), inputs))


@pytest.mark.parametrize(
    ("b", "batched"), [((3, 4), ["a"]), ((5, 3, 4), ["a", "b"]), ((1, 3, 4), ["a"])]
)
def test_matmul_with_an_open_batch(
    b: tuple[int, ...], batched: list[str], assert_rule: AssertRule
) -> None:
    inputs = {"a": RNG.normal(size=(5, 2, 3)), "b": RNG.normal(size=b)}
    assert_rule(RuleCase(Node("MatMul", ("a", "b"), ("y",)), inputs, batched=batched))


EINSUMS: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "product": ("ij,jk->ik", [(2, 3), (3, 4)]),
    "product in a batch": ("bij,bjk->bik", [(2, 3, 4), (2, 4, 2)]),
    "attention scores": ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 3, 4)]),
    "outer": ("i,j->ij", [(3,), (4,)]),
    "inner": ("i,i->", [(3,), (3,)]),
    "sum": ("ij->i", [(2, 3)]),
    "sum of one operand's letter": ("ij,k->ik", [(2, 3), (4,)]),
    "transpose": ("ij->ji", [(2, 3)]),
    "transpose without an arrow": ("ba", [(2, 3)]),
    "product without an arrow": ("ij,jk", [(2, 3), (3, 4)]),
    "diagonal": ("ii->i", [(3, 3)]),
    "trace in a batch": ("bii->b", [(2, 3, 3)]),
    "dots": ("...ij,...jk->...ik", [(2, 3, 4), (2, 4, 2)]),
    "dots of fewer axes": ("...ij,jk->...ik", [(2, 3, 4), (4, 2)]),
    "three operands": ("bi,ij,bj->b", [(2, 3), (3, 4), (2, 4)]),
}


@pytest.mark.parametrize("name", EINSUMS)
def test_einsum(name: str, assert_rule: AssertRule) -> None:
    equation, shapes = EINSUMS[name]
    inputs = {letter: RNG.normal(size=s) for letter, s in zip("abc", shapes, strict=False)}
    assert_rule(RuleCase(Node("Einsum", tuple(inputs), ("y",), {"equation": equation}), inputs))
