"""Rules that repeat, cut, join and frame equal finite differences."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.differentiate import differentiate
from edge_sdk.authoring.graph import Attribute, Node, Type
from edge_sdk.authoring.rule_check import RuleCase
from edge_sdk.errors import Unsupported

AssertRule = Callable[[RuleCase], None]
RNG = np.random.default_rng(5)


def case(
    op: str,
    *inputs: Any,
    outputs: int = 1,
    batched: bool = True,
    settings: Sequence[str] = (),
    **attributes: Attribute,
) -> RuleCase:
    """A call on `a`, `b`, …; tuples are shapes of drawn floats, lists are whole numbers."""
    arrays = {}
    for name, given_ in zip("abcdefgh", inputs, strict=False):
        if isinstance(given_, tuple):
            arrays[name] = RNG.normal(size=given_)
        elif given_ is not None:
            arrays[name] = np.array(given_, np.int64 if isinstance(given_, list) else None)
    names = tuple(
        name if given_ is not None else "" for name, given_ in zip("abcdefgh", inputs, strict=False)
    )
    made = tuple(f"y{i}" for i in range(outputs))
    floats = [n for n, a in arrays.items() if a.dtype.kind == "f" and a.ndim and n not in settings]
    node = Node(op, names, made, attributes)
    return RuleCase(node, arrays, batched=floats if batched else [], settings=settings)


MOVES: dict[str, RuleCase] = {
    "expand": case("Expand", (2, 1, 3), [1, 4, 3]),
    "expand to more axes": case("Expand", (3, 1), [2, 3, 4], batched=False),
    "expand where the shape is smaller": case("Expand", (2, 3), [1], batched=False),
    "tile": case("Tile", (2, 3, 4), [1, 2, 3]),
    "tile the batch": case("Tile", (2, 3), [2, 2]),
    "concat": RuleCase(
        Node("Concat", ("a", "b", "a"), ("y",), {"axis": -1}),
        {"a": RNG.normal(size=(2, 3, 2)), "b": RNG.normal(size=(2, 3, 4))},
        batched=["a", "b"],
    ),
    "concat of one": case("Concat", (2, 3), axis=1),
    "split": case("Split", (2, 6), [1, 3, 2], outputs=3, axis=1),
    "split evenly": case("Split", (2, 5, 3), outputs=2, axis=1, num_outputs=2),
    "depth to space": case("DepthToSpace", (2, 8, 2, 3), blocksize=2),
    "depth to space by columns": case("DepthToSpace", (2, 8, 2, 3), blocksize=2, mode="CRD"),
    "space to depth": case("SpaceToDepth", (2, 2, 4, 6), blocksize=2),
    "upper triangle": case("Trilu", (2, 4, 4)),
    "lower triangle, shifted": case("Trilu", (2, 3, 5), np.array(1), upper=0),
    "slice": case("Slice", (2, 5, 6), [1, -4], [4, -1], [1, 2]),
    "slice of all axes": case("Slice", (4, 5), [1, 0], [3, 9], batched=False),
    "slice with steps": case("Slice", (2, 9, 8), [1, 0], [9, 8], [1, 2], [3, 2]),
    "slice backwards": case("Slice", (2, 9), [7], [-99], [1], [-2]),
    "slice reversed": case("Slice", (2, 5, 2), [-1], [-(1 << 62)], [1], [-1]),
    "slice of all of the batch": case("Slice", (3, 5), [0, 1], [1 << 62, 3], [0, 1]),
    "slice of nothing": case("Slice", (2, 5), [3], [3], [1], batched=False),
    "pad": case("Pad", (2, 3, 4), [0, 1, 2, 0, 0, 1]),
    "pad with a value": case("Pad", (2, 3), [0, 1, 0, 1], np.array(2.0), settings=["c"]),
    "pad of some axes": case("Pad", (2, 3, 4), [1, 2], None, [-1]),
    "negative pad": case("Pad", (2, 5, 4), [0, -1, 1, 0, -2, -1]),
    "reflected": case("Pad", (2, 1, 4, 5), [0, 0, 1, 2, 0, 0, 3, 1], mode="reflect"),
    "edge": case("Pad", (2, 3, 4), [0, 2, 1, 0, 1, 0], mode="edge"),
    "wrapped": case("Pad", (2, 4, 3), [0, 1, 0, 0, 2, 1], mode="wrap"),
}


@pytest.mark.parametrize("name", MOVES)
def test_moves(name: str, assert_rule: AssertRule) -> None:
    assert_rule(MOVES[name])


def test_an_unused_piece_of_a_split_counts_as_zero(assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(2, 6)), "s": np.array([2, 4], np.int64)}
    assert_rule(RuleCase(Node("Split", ("x", "s"), ("y", "z"), {"axis": 1}), inputs, batched=["x"]))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_slices(assert_rule: AssertRule, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 7))
    step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    start, end = data.draw(st.tuples(st.integers(-8, 8), st.integers(-8, 8)))
    if not range(*slice(start, end, step).indices(size)):
        start, end = (0, size) if step > 0 else (size, -99)
    assert_rule(case("Slice", (2, size, 2), [start], [end], [1], [step]))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_pads(assert_rule: AssertRule, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(["constant", "reflect", "edge"]))
    pads = [data.draw(st.integers(0, 2)) for _ in range(4)]
    assert_rule(case("Pad", (2, 3, 4), [0, *pads[:2], 0, *pads[2:]], mode=mode))


def test_bounds_known_only_at_run_time_are_refused() -> None:
    builder = Builder()
    x = builder.input("x", Type(np.dtype(np.float32), ("batch", 4)))
    bound = builder.input("bound", Type(np.dtype(np.int64), (1,)))
    y = builder.op("Slice", x, builder.ints([0]), bound, builder.ints([1]))
    with pytest.raises(Unsupported, match="constant"):
        differentiate(builder, {y.name: y}, ["x"])
