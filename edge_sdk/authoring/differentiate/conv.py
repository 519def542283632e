"""Rules for convolutions over one, two or three spatial axes."""

import itertools
import math
from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.depthwise import WIDEST, depthwise_weight_gradient
from edge_sdk.authoring.differentiate.window import Window, padded, spread, window_of

Cotangents = Sequence[Value | None]

ROWS = 16
"""Least number of rows that a matrix product is worth starting for; shifts are stacked up to it."""

FEW_CHANNELS, MOST_TAPS = 8, 9
"""Below so many channels and above so many taps the Conv is faster."""


def conv(call: Call) -> Cotangents:
    """Y = X * W + b. X is (N, C, space), W is (M, C / groups, kernel)."""
    x, w, dy = call.x(0), call.x(1), call.dy
    window = window_of(call, x, call.y(), call.spatial(w))
    groups = call.integer("group", 1)
    return (
        _input_gradient(dy, w, window, groups) if call.wants(0) else None,
        weight_gradient(x, dy, window, groups) if call.wants(1) else None,
        dy.sum(0, *range(2, dy.rank)) if call.wants(2) else None,
    )


def _input_gradient(dy: Value, w: Value, window: Window, groups: int) -> Value:
    """A pointwise layer goes back as one; any other by ConvTranspose with the forward's window."""
    ones = (1,) * len(window.kernel)
    if groups == 1 and window.kernel == window.strides == ones and not any(window.pads):
        back = w.transpose(1, 0, *range(2, w.rank))
        return dy.builder.op("Conv", dy, back, kernel_shape=ones)
    return spread(dy, w, window, groups)


def weight_gradient(x: Value, dy: Value, window: Window, groups: int) -> Value:
    """A matrix product for each tap of the kernel, or for each row of them; else a Conv.

    `x` is what the windows slide over and `dy` the cotangent of what they give, both of a known
    number of channels.

    Measured for 28 layers of 3x3, 5x5 and 7x7 taps on one thread (CPU time): one product for each
    tap takes 0.45 to 0.9 of the Conv's time from 8 channels on and holds one shifted copy of the
    input at a time. All shifts in one product take longer (0.5 to 1.4) and hold a copy per tap.
    """
    taps, channels = math.prod(window.kernel), _channels(x)
    if groups == 1 and (channels >= FEW_CHANNELS or taps <= MOST_TAPS):
        return _weight_gradient_by_products(x, dy, window)
    if groups == channels and x.rank == 4 and window.out[1] <= WIDEST:
        return depthwise_weight_gradient(x, dy, window, channels)
    return _weight_gradient_by_conv(x, dy, window, groups)


def _channels(value: Value) -> int:
    size = value.shape[1]
    assert isinstance(size, int)  # noqa: S101 - the weight says it, and inference checked
    return size


def _weight_gradient_by_products(x: Value, dy: Value, window: Window) -> Value:
    """Each tap of the kernel sees the input shifted; one product for each, or for a few stacked."""
    builder, channels, filters = x.builder, _channels(x), _channels(dy)
    space = range(2, x.rank)
    around = padded(x.transpose(1, 0, *space), window)
    rows = dy.transpose(1, 0, *space).reshape(filters, -1)
    taps = list(itertools.product(*map(range, window.kernel)))
    together = min(len(taps), math.ceil(ROWS / channels))
    products: list[Value] = []
    for first in range(0, len(taps), together):
        shifts = [_shifted(around, tap, window) for tap in taps[first : first + together]]
        stacked = builder.op("Concat", *shifts, axis=0) if len(shifts) > 1 else shifts[0]
        columns = stacked.reshape(len(shifts) * channels, -1)
        products.append(builder.op("Gemm", rows, columns, transB=1))
    product = builder.op("Concat", *products, axis=1) if len(products) > 1 else products[0]
    taps_first = product.reshape(filters, *window.kernel, channels)
    return taps_first.transpose(0, taps_first.rank - 1, *range(1, taps_first.rank - 1))


def _shifted(around: Value, tap: Sequence[int], window: Window) -> Value:
    """What one tap sees: a value for each window position."""
    builder = around.builder
    start = [t * d for t, d in zip(tap, window.dilations, strict=True)]
    end = [b + (o - 1) * s + 1 for b, o, s in zip(start, window.out, window.strides, strict=True)]
    axes = builder.ints(list(range(2, around.rank)))
    whole = all(
        not b and e == size for b, e, size in zip(start, end, around.shape[2:], strict=True)
    )
    if whole and set(window.strides) == {1}:
        return around
    ends = (builder.ints(start), builder.ints(end), axes, builder.ints(window.strides))
    return builder.op("Slice", around, *ends)


def _weight_gradient_by_conv(x: Value, dy: Value, window: Window, groups: int) -> Value:
    """Slide the cotangent over the input: a Conv with batch and channels exchanged.

    Strides and dilations exchange roles. With groups, the group axis joins the batch axis, which
    is the channel axis of the exchanged Conv.
    """
    space = range(2, x.rank)
    if groups == 1:
        swapped = x.transpose(1, 0, *space)
    else:
        each = _channels(x) // groups
        split = x.reshape(-1, groups, each, *window.size)
        order = (2, 1, 0, *(axis + 1 for axis in space))
        swapped = split.transpose(*order).reshape(each, -1, *window.size)
    behind = tuple(-over for over in window.left_over)  # may be negative: fewer positions read
    gradient = x.builder.op(
        "Conv",
        swapped,
        dy.transpose(1, 0, *space),
        kernel_shape=window.out,
        strides=window.dilations,
        dilations=window.strides,
        pads=window.before + tuple(max(0, pad) for pad in behind),
        group=groups,
    )
    return _cropped(gradient, window).transpose(1, 0, *space)


def _cropped(gradient: Value, window: Window) -> Value:
    """Without the taps that positions behind the last window would add."""
    builder = gradient.builder
    axes = [
        axis + 2
        for axis, (over, dilation) in enumerate(
            zip(window.left_over, window.dilations, strict=True)
        )
        if over >= dilation
    ]
    if not axes:
        return gradient
    ends = [window.kernel[axis - 2] for axis in axes]
    start = builder.ints([0] * len(axes))
    return builder.op("Slice", gradient, start, builder.ints(ends), builder.ints(axes))


RULES = {"Conv": Rule(conv)}
