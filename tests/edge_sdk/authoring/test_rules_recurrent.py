"""Recurrent rules equal finite differences in every direction, with and without first states."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.differentiate import differentiate
from edge_sdk.authoring.graph import Array, Attribute, Node, Type
from edge_sdk.authoring.rule_check import RuleCase, check_rule
from edge_sdk.errors import Unsupported

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(
    7
)  # weights of half size: saturated gates leave differences of rounding
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def cell_case(
    op: str,
    *,
    length: int = 3,
    batch: int = 2,
    features: int = 2,
    hidden: int = 3,
    bias: bool = True,
    starts: bool = True,
    outputs: tuple[str, ...] = ("y", "h"),
    **attributes: Attribute,
) -> RuleCase:
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[op] * hidden
    inputs: dict[str, Array] = {
        "x": RNG.normal(size=(length, batch, features)),
        "w": RNG.normal(0, 0.5, size=(ways, rows, features)),
        "r": RNG.normal(0, 0.5, size=(ways, rows, hidden)),
    }
    names = ["x", "w", "r", "", "", ""]
    if bias:
        inputs["b"], names[3] = RNG.normal(0, 0.5, size=(ways, 2 * rows)), "b"
    if starts:
        inputs["h0"], names[5] = RNG.normal(size=(ways, batch, hidden)), "h0"
        if op == "LSTM":
            inputs["c0"] = RNG.normal(size=(ways, batch, hidden))
            names.append("c0")
    attributes["hidden_size"] = hidden
    return RuleCase(Node(op, tuple(names), outputs, attributes), inputs)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", GATES)
def test_every_direction(op: str, direction: str, assert_rule: AssertRule) -> None:
    assert_rule(cell_case(op, direction=direction))


@pytest.mark.parametrize("op", GATES)
def test_without_biases_and_first_states(op: str, assert_rule: AssertRule) -> None:
    assert_rule(cell_case(op, bias=False, starts=False, outputs=("y",)))


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("length", [1, 4])
def test_when_only_the_last_state_is_used(op: str, length: int, assert_rule: AssertRule) -> None:
    assert_rule(cell_case(op, length=length, outputs=("", "h")))


@pytest.mark.parametrize("outputs", [("y", "h", "c"), ("", "", "c"), ("y", "", "c")])
def test_cell_states_that_are_used(outputs: tuple[str, ...], assert_rule: AssertRule) -> None:
    assert_rule(cell_case("LSTM", outputs=outputs, direction="bidirectional"))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_gru_that_resets_after_the_product(direction: str, assert_rule: AssertRule) -> None:
    assert_rule(cell_case("GRU", linear_before_reset=1, direction=direction))


@pytest.mark.parametrize("name", ["Tanh", "Relu", "Sigmoid"])
def test_rnn_activations(name: str, assert_rule: AssertRule) -> None:
    assert_rule(cell_case("RNN", activations=(name,)))


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_drawn_sizes(assert_rule: AssertRule, data: st.DataObject) -> None:
    length, batch, features, hidden = (data.draw(st.integers(1, 4)) for _ in range(4))
    op = data.draw(st.sampled_from(sorted(GATES)))
    case = cell_case(
        op, length=length, batch=batch, features=features, hidden=hidden,
        bias=data.draw(st.booleans()), starts=data.draw(st.booleans()),
    )  # fmt: skip
    assert_rule(case)


def test_every_weight_may_be_frozen_but_one() -> None:
    case = cell_case("LSTM")
    for wanted in case.inputs:
        others = [name for name in case.inputs if name != wanted]
        alone = RuleCase(case.node, case.inputs, settings=others)
        assert alone.wanted == (wanted,)
        assert check_rule(alone, directions=1) < 1e-5


@pytest.mark.parametrize(
    ("op", "attributes", "words"),
    [
        ("LSTM", {"clip": 1.0}, "clip"),
        ("GRU", {"activations": ("Relu", "Tanh")}, "activations relu, tanh"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
        ("RNN", {"activations": ("Elu",)}, "'elu'"),
        ("LSTM", {"layout": 1}, "layout"),
    ],
)
def test_settings_without_a_rule_are_named(
    op: str, attributes: dict[str, Attribute], words: str
) -> None:
    case = cell_case(op)
    builder = Builder()
    for name, array in case.inputs.items():
        builder.input(name, Type(array.dtype, array.shape))
    builder.types["y"] = Type(np.dtype(np.float64), (3, 1, 2, 3))
    builder.nodes.append(Node(op, case.node.inputs, ("y",), {**case.node.attributes, **attributes}))
    seed = builder.input("seed", builder.types["y"])
    with pytest.raises(Unsupported, match=words):
        differentiate(builder, {"y": seed}, ["x"])
