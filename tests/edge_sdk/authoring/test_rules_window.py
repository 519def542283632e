"""Convolution and pool rules equal finite differences over strides, pads, dilations and groups."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_sdk.authoring.differentiate import conv
from edge_sdk.authoring.graph import Array, Attribute, Node
from edge_sdk.authoring.rule_check import RuleCase
from edge_sdk.errors import Unsupported

AssertRule = Callable[[RuleCase], None]
Attributes = dict[str, Attribute]
RNG = np.random.default_rng(3)


def conv_case(
    x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = True, **attributes: Attribute
) -> RuleCase:
    inputs = {"x": RNG.normal(size=x), "w": RNG.normal(size=w)}
    if bias:
        inputs["b"] = RNG.normal(size=w[0])
    return RuleCase(Node("Conv", tuple(inputs), ("y",), attributes), inputs, batched=["x"])


CONVS: dict[str, RuleCase] = {
    "plain": conv_case((2, 2, 5, 6), (3, 2, 3, 3)),
    "no bias": conv_case((2, 2, 5, 5), (3, 2, 3, 2), bias=False),
    "pointwise": conv_case((2, 3, 4, 4), (5, 3, 1, 1)),
    "pointwise with stride": conv_case((2, 3, 5, 5), (2, 3, 1, 1), strides=(2, 2)),
    "pointwise with pads": conv_case((2, 3, 3, 3), (2, 3, 1, 1), pads=(1, 1, 1, 1)),
    "same": conv_case((2, 2, 4, 4), (2, 2, 3, 3), pads=(1, 1, 1, 1)),
    "uneven pads": conv_case((1, 2, 5, 4), (2, 2, 3, 3), pads=(0, 1, 2, 1)),
    "stride that leaves rows over": conv_case((2, 2, 6, 7), (2, 2, 3, 2), strides=(2, 3)),
    "stride beyond the kernel": conv_case((2, 1, 8, 8), (2, 1, 2, 2), strides=(3, 3)),
    "dilated": conv_case((2, 2, 8, 7), (2, 2, 3, 3), dilations=(2, 2), pads=(1, 0, 1, 0)),
    "dilated with stride": conv_case(
        (1, 2, 9, 9), (2, 2, 3, 3), dilations=(2, 3), strides=(2, 2), pads=(2, 2, 2, 2)
    ),
    "two groups": conv_case((2, 4, 5, 5), (6, 2, 3, 3), group=2, pads=(1, 1, 1, 1)),
    "depthwise": conv_case((3, 3, 5, 5), (3, 1, 3, 3), group=3, strides=(2, 2), pads=(1, 1, 1, 1)),
    "depthwise multiplied": conv_case((2, 2, 5, 5), (6, 1, 3, 3), group=2),
    "one axis": conv_case((2, 3, 9), (4, 3, 3), strides=(2,), pads=(1, 1)),
    "one axis, groups": conv_case((2, 4, 7), (4, 2, 3), group=2, dilations=(2,)),
    "same upper": conv_case((2, 2, 6, 5), (2, 2, 3, 2), auto_pad="SAME_UPPER", strides=(2, 2)),
    "same lower": conv_case((2, 2, 5, 5), (2, 2, 2, 3), auto_pad="SAME_LOWER"),
    "valid": conv_case((2, 2, 5, 5), (2, 2, 3, 3), auto_pad="VALID"),
    "one position": conv_case((2, 2, 3, 3), (4, 2, 3, 3)),
    "three axes": conv_case((1, 2, 4, 3, 4), (2, 2, 2, 2, 3), strides=(2, 1, 1)),
}


@pytest.mark.parametrize("name", CONVS)
def test_conv(name: str, assert_rule: AssertRule) -> None:
    assert_rule(CONVS[name])


@pytest.mark.parametrize("name", CONVS)
def test_conv_whose_columns_would_be_large(
    name: str, assert_rule: AssertRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conv, "WIDEST", 0)
    monkeypatch.setattr(conv, "MOST_TAPS", 0)
    monkeypatch.setattr(conv, "FEW_CHANNELS", 1 << 30)
    assert_rule(CONVS[name])


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_conv_with_drawn_windows(assert_rule: AssertRule, data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, strides, dilations, size = pair(1, 3), pair(1, 3), pair(1, 2), pair(3, 7)
    pads = pair(0, 2) + pair(0, 2)
    group = data.draw(st.sampled_from([1, 2]))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    assume(all(n + pads[i] + pads[i + 2] >= extent[i] for i, n in enumerate(size)))
    assert_rule(
        conv_case(
            (2, 2, *size), (2, 2 // group, *kernel),
            strides=strides, dilations=dilations, pads=pads, group=group,
        )
    )  # fmt: skip


def transposed_case(
    x: tuple[int, ...], w: tuple[int, ...], *, bias: bool = True, **attributes: Attribute
) -> RuleCase:
    inputs = {"x": RNG.normal(size=x), "w": RNG.normal(size=w)}
    if bias:
        groups = attributes.get("group", 1)
        assert isinstance(groups, int)
        inputs["b"] = RNG.normal(size=w[1] * groups)
    return RuleCase(Node("ConvTranspose", tuple(inputs), ("y",), attributes), inputs, batched=["x"])


TRANSPOSED: dict[str, RuleCase] = {
    "plain": transposed_case((2, 2, 3, 4), (2, 3, 3, 2)),
    "no bias": transposed_case((2, 2, 3, 4), (2, 3, 2, 2), bias=False),
    "doubling": transposed_case((2, 3, 3, 3), (3, 2, 2, 2), strides=(2, 2)),
    "doubling with room": transposed_case(
        (2, 2, 3, 4), (2, 2, 3, 3), strides=(2, 2), pads=(1, 1, 1, 1), output_padding=(1, 1)
    ),
    "stride beyond the kernel": transposed_case(
        (2, 2, 3, 3), (2, 1, 2, 2), strides=(3, 3), output_padding=(2, 1)
    ),
    "dilated": transposed_case((2, 2, 4, 3), (2, 2, 3, 2), dilations=(2, 3), pads=(1, 0, 2, 1)),
    "groups": transposed_case((2, 4, 3, 3), (4, 3, 3, 3), group=2, strides=(2, 1)),
    "depthwise": transposed_case((2, 3, 3, 3), (3, 1, 3, 3), group=3, pads=(1, 1, 1, 1)),
    "one axis": transposed_case((2, 3, 5), (3, 2, 4), strides=(3,), pads=(1, 2)),
    "same upper": transposed_case((2, 2, 3), (2, 2, 3), auto_pad="SAME_UPPER", strides=(2,)),
    "same lower": transposed_case((2, 2, 3), (2, 2, 4), auto_pad="SAME_LOWER", strides=(2,)),
    "valid": transposed_case((2, 2, 3, 3), (2, 2, 3, 3), auto_pad="VALID"),
    "shape": transposed_case((1, 1, 3, 3), (1, 2, 3, 3), output_shape=(6, 5), strides=(2, 2)),
}  # fmt: skip


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name: str, assert_rule: AssertRule) -> None:
    assert_rule(TRANSPOSED[name])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_conv_transpose_with_drawn_windows(assert_rule: AssertRule, data: st.DataObject) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return data.draw(st.tuples(st.integers(low, high), st.integers(low, high)))

    kernel, strides, dilations, size = pair(1, 3), pair(1, 3), pair(1, 2), pair(2, 4)
    pads = pair(0, 1) + pair(0, 1)
    room = tuple(data.draw(st.integers(0, s - 1)) for s in strides)
    group = data.draw(st.sampled_from([1, 2]))
    reach = [(n - 1) * s + (k - 1) * d + 1 + r for n, s, k, d, r in
             zip(size, strides, kernel, dilations, room, strict=True)]  # fmt: skip
    assume(all(n > pads[i] + pads[i + 2] for i, n in enumerate(reach)))
    assert_rule(
        transposed_case(
            (2, 2, *size), (2, 2, *kernel), strides=strides, dilations=dilations,
            pads=pads, output_padding=room, group=group,
        )
    )  # fmt: skip


def pool_case(op: str, x: tuple[int, ...], **attributes: Attribute) -> RuleCase:
    count = int(np.prod(x))
    values = RNG.permutation(count).reshape(x) / count  # no two equal: no kink
    return RuleCase(Node(op, ("x",), ("y",), attributes), {"x": values}, batched=["x"])


POOLS: dict[str, tuple[tuple[int, ...], Attributes]] = {
    "halves": ((2, 2, 4, 6), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "halves, a row left over": ((2, 2, 5, 7), {"kernel_shape": (2, 2), "strides": (2, 2)}),
    "overlapping": ((2, 2, 6, 5), {"kernel_shape": (3, 3), "strides": (2, 2)}),
    "stride one": ((2, 1, 4, 4), {"kernel_shape": (2, 2)}),
    "padded": ((2, 2, 5, 5), {"kernel_shape": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}),
    "padded unevenly": ((1, 2, 5, 5), {"kernel_shape": (3, 2), "pads": (1, 0, 2, 1)}),
    "gaps": ((2, 2, 7, 7), {"kernel_shape": (2, 2), "strides": (3, 3)}),
    "one axis": ((2, 3, 8), {"kernel_shape": (3,), "strides": (2,)}),
    "same upper": ((2, 1, 5, 5), {"kernel_shape": (2, 2), "auto_pad": "SAME_UPPER"}),
    "rounded up": ((2, 2, 5, 5), {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}),
    "dilated": ((2, 2, 6, 6), {"kernel_shape": (2, 2), "dilations": (2, 2)}),
}


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("name", POOLS)
def test_pool(op: str, name: str, assert_rule: AssertRule) -> None:
    shape, attributes = POOLS[name]
    assert_rule(pool_case(op, shape, **attributes))


def test_average_pool_that_counts_its_padding(assert_rule: AssertRule) -> None:
    attributes: Attributes = {"kernel_shape": (3, 3), "pads": (1, 1, 1, 1), "strides": (2, 2)}
    assert_rule(pool_case("AveragePool", (2, 2, 5, 5), count_include_pad=1, **attributes))


def test_average_pool_refuses_what_runtimes_disagree_on(assert_rule: AssertRule) -> None:
    attributes: Attributes = {"kernel_shape": (2, 2), "strides": (2, 2), "ceil_mode": 1}
    with pytest.raises(Unsupported, match="ceil_mode"):
        assert_rule(pool_case("AveragePool", (2, 2, 5, 5), count_include_pad=1, **attributes))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 6), (2, 2, 2, 3, 2)])
def test_global_average_pool(shape: tuple[int, ...], assert_rule: AssertRule) -> None:
    assert_rule(pool_case("GlobalAveragePool", shape))


@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 3, 6)])
@pytest.mark.parametrize("op", ["GlobalMaxPool", "GlobalLpPool"])
def test_other_global_pools(op: str, shape: tuple[int, ...], assert_rule: AssertRule) -> None:
    assert_rule(pool_case(op, shape))


@pytest.mark.parametrize("power", [1, 2, 3])
@pytest.mark.parametrize("name", [name for name in POOLS if "up" not in name])
def test_lp_pool(name: str, power: int, assert_rule: AssertRule) -> None:
    shape, attributes = POOLS[name]
    values = RNG.permutation(int(np.prod(shape))).reshape(shape) / 20 - 1.025
    node = Node("LpPool", ("x",), ("y",), attributes | {"p": power})
    assert_rule(RuleCase(node, {"x": values}, batched=["x"]))


@pytest.mark.parametrize("size", [1, 3, 5])
def test_local_response(size: int, assert_rule: AssertRule) -> None:
    attributes: Attributes = {"size": size, "alpha": 0.5, "beta": 0.6, "bias": 1.5}
    inputs = {"x": RNG.normal(size=(2, 5, 2, 3))}
    assert_rule(RuleCase(Node("LRN", ("x",), ("y",), attributes), inputs, batched=["x"]))


def test_max_unpool(assert_rule: AssertRule) -> None:
    node = Node("MaxUnpool", ("x", "i"), ("y",), {"kernel_shape": (2, 2), "strides": (2, 2)})
    places = np.array([[[[5, 2], [8, 15]]]], np.int64)
    assert_rule(RuleCase(node, {"x": RNG.normal(size=(1, 1, 2, 2)), "i": places}))


RESIZES: dict[str, tuple[tuple[int, ...], list[float], Attributes]] = {
    "doubled": ((2, 2, 3, 4), [1, 1, 2, 2], {"coordinate_transformation_mode": "asymmetric",
                                             "nearest_mode": "floor"}),
    "nearest by default": ((2, 1, 3, 4), [1, 1, 2, 3], {}),
    "nearest, shrunk": ((2, 1, 5, 4), [1, 1, 0.5, 0.75], {}),
    "nearest, odd factor": ((2, 1, 4), [1, 1, 1.7], {"nearest_mode": "ceil"}),
    "linear": ((2, 2, 3, 4), [1, 1, 2, 2], {"mode": "linear"}),
    "linear, corners aligned": ((2, 2, 3, 4), [1, 1, 2, 1.5], {
        "mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    "linear, pytorch": ((2, 2, 3, 4), [1, 1, 2, 3], {
        "mode": "linear", "coordinate_transformation_mode": "pytorch_half_pixel"}),
    "linear, asymmetric": ((2, 2, 4), [1, 1, 2], {
        "mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
    "cubic": ((2, 1, 4, 4), [1, 1, 2, 2], {"mode": "cubic", "cubic_coeff_a": -0.75}),
}  # fmt: skip


@pytest.mark.parametrize("name", RESIZES)
def test_resize(name: str, assert_rule: AssertRule) -> None:
    shape, scales, attributes = RESIZES[name]
    inputs: dict[str, Array] = {"x": RNG.normal(size=shape), "s": np.array(scales, np.float32)}
    node = Node("Resize", ("x", "", "s"), ("y",), attributes)
    assert_rule(RuleCase(node, inputs, batched=["x"], settings=["s"]))


def test_resize_to_sizes(assert_rule: AssertRule) -> None:
    inputs = {"x": RNG.normal(size=(2, 3, 4, 5)), "n": np.array([2, 3, 7, 5], np.int64)}
    node = Node("Resize", ("x", "", "", "n"), ("y",), {"mode": "linear"})
    assert_rule(RuleCase(node, inputs))


def test_resize_of_named_axes(assert_rule: AssertRule) -> None:
    inputs: dict[str, Array] = {"x": RNG.normal(size=(2, 3, 4)), "s": np.array([2], np.float32)}
    node = Node("Resize", ("x", "", "s"), ("y",), {"axes": (-1,)})
    assert_rule(RuleCase(node, inputs, batched=["x"], settings=["s"]))
