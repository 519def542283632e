"""The rule for transposed convolutions: a Conv from output to input, read backwards."""

import dataclasses
from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.along import cut
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.conv import weight_gradient
from edge_sdk.authoring.differentiate.window import Window, plain_window

Cotangents = Sequence[Value | None]


def conv_transpose(call: Call) -> Cotangents:
    """Y spreads X by W (C, M / groups, kernel): windows slide over Y and there is one per X.

    So X's gradient is the Conv of dY by W, and W's is that Conv's weight gradient with the parts
    of input and cotangent exchanged.
    """
    x, w, dy = call.x(0), call.x(1), call.dy
    window = _window(call, x, w)
    groups = call.integer("group", 1)
    return (
        _gathered(dy, w, window, groups) if call.wants(0) else None,
        weight_gradient(dy, x, window, groups) if call.wants(1) else None,
        dy.sum(0, *range(2, dy.rank)) if call.wants(2) else None,
    )


def _gathered(dy: Value, w: Value, window: Window, groups: int) -> Value:
    """Conv over `dy`; positions that only output padding made room for are cut off."""
    gradient = dy.builder.op(
        "Conv",
        dy,
        w,
        kernel_shape=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        pads=window.before + tuple(max(0, -over) for over in window.left_over),
        group=groups,
    )
    for axis, size in enumerate(window.out):
        gradient = cut(gradient, axis + 2, 0, size)
    return gradient


def _window(call: Call, x: Value, w: Value) -> Window:
    """Windows over the output, one for each input position, with the padding resolved."""
    plain = plain_window(call, over=call.y(), made=x, kernel=call.spatial(w))
    axes = len(plain.kernel)
    mode = call.text("auto_pad", "NOTSET")
    shape = call.integers("output_shape")
    if shape is None and mode in ("NOTSET", "VALID"):
        pads = call.integers("pads") or (0,) * (2 * axes)
        before = pads[:axes] if mode == "NOTSET" else (0,) * axes
        return dataclasses.replace(plain, before=before)
    grow = call.integers("output_padding") or (0,) * axes
    total = [r + g - n for r, g, n in zip(plain.reach, grow, plain.size, strict=True)]
    if min(total) < 0:
        raise call.unsupported("its output_shape is larger than its windows reach")
    half = tuple(t // 2 for t in total)
    if mode != "SAME_UPPER":
        half = tuple(t - h for t, h in zip(total, half, strict=True))
    return dataclasses.replace(plain, before=half)


RULES = {"ConvTranspose": Rule(conv_transpose)}
