"""Rules for pools over one, two or three spatial axes."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.window import Window, spread, window_of
from edge_sdk.authoring.graph import Type

Cotangents = Sequence[Value | None]


def max_pool(call: Call) -> Cotangents:
    """To the position that won, which the forward node's second output names.

    Those indices are flat over the whole input. Where windows tile it, MaxUnpool places the
    cotangents (not to a stated size: standard and runtimes disagree on what indices then mean);
    else they are added up where they land. Asking for indices takes onnxruntime's MaxPool off its
    fast path; comparing with the repeated maximum instead, ties broken by rank, was no faster as
    a whole on three networks (measured), and takes more memory.
    """
    if call.integer("storage_order", 0):
        raise call.unsupported("storage_order 1; export with 0")
    x, dy, places = call.x(0), call.dy, call.y(1)
    window = window_of(call, x, call.y(), call.integers("kernel_shape") or ())
    builder = call.builder
    if window.tiles:
        kernel, strides = window.kernel, window.strides
        placed = builder.op(
            "MaxUnpool", dy, places, typed=x.type, kernel_shape=kernel, strides=strides
        )
        return (placed,)
    size = builder.op("Reshape", builder.op("Size", x), builder.ints([1]))
    zero = np.zeros(1, x.type.dtype)
    flat = Type(x.type.dtype, (None,))
    zeros = builder.op("ConstantOfShape", size, value=zero, typed=flat)
    added = builder.op(
        "ScatterElements", zeros, places.reshape(-1), dy.reshape(-1), axis=0, reduction="add"
    )
    return (builder.op("Reshape", added, builder.op("Shape", x), typed=x.type),)


def average_pool(call: Call) -> Cotangents:
    """Each position of a window gets the same share of its cotangent."""
    x, dy = call.x(0), call.dy
    window = window_of(call, x, call.y(), call.integers("kernel_shape") or ())
    counts = _counts(window, with_pads=bool(call.integer("count_include_pad", 0)))
    if counts is None:
        raise call.unsupported("ceil_mode with count_include_pad; export without ceil_mode")
    share = dy * call.builder.constant((1 / counts).astype(x.type.dtype))
    if window.tiles:
        return (_repeated(share, window, x.type),)
    channels = call.fixed(x, 1)
    ones = np.ones((channels, 1, *window.kernel), x.type.dtype)
    return (spread(share, call.builder.constant(ones), window, channels),)


def _counts(window: Window, *, with_pads: bool) -> NDArray[np.float64] | None:
    """Divisor of each window, broadcasting against (batch, channels, space).

    None where windows hang over the stated padding and padding counts: runtimes differ there.
    """
    if with_pads:
        behind = zip(window.left_over, window.after, strict=True)
        if any(-over > after for over, after in behind):
            return None
        return np.full((1,) * (2 + len(window.kernel)), np.prod(window.kernel), np.float64)
    counts = np.ones((1, 1), np.float64)
    for axis in range(len(window.kernel)):
        start = np.arange(window.out[axis]) * window.strides[axis] - window.before[axis]
        taps = start[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        inside = ((taps >= 0) & (taps < window.size[axis])).sum(axis=1)
        counts = counts[..., None] * inside
    return counts.reshape(1, 1, *window.out)


def _repeated(value: Value, window: Window, typed: Type) -> Value:
    """Each element repeated over its window, for windows that tile the input.

    Resize, because it is thirty times faster than Expand between two Reshapes on onnxruntime.
    """
    scales = np.array([1, 1, *window.kernel], np.float32)
    return value.builder.op(
        "Resize",
        value,
        None,
        value.builder.constant(scales),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
        typed=typed,
    )


def global_average_pool(call: Call) -> Cotangents:
    """Every position gets the same share."""
    size = call.spatial(call.x(0))
    share = call.dy * (1 / float(np.prod(size)))
    return (call.builder.op("Expand", share, call.builder.ints([1, 1, *size])),)


def global_max_pool(call: Call) -> Cotangents:
    """To the position that won; equal ones share."""
    x, y, builder = call.x(0), call.y(), call.builder
    winners = builder.op("Equal", x, y).cast(x.type.dtype)
    space = range(2, x.rank)
    return (winners * (call.dy / winners.sum(*space, keepdims=True)),)


def lp_pool(call: Call) -> Cotangents:
    """As y = (sum |x|^p)^(1/p): dx = sign(x) |x|^(p-1) times its windows' sum of dy y^(1-p)."""
    x, y, power = call.x(0), call.y(), call.integer("p", 2)
    window = window_of(call, x, y, call.integers("kernel_shape") or ())
    channels = call.fixed(x, 1)
    ones = np.ones((channels, 1, *window.kernel), x.type.dtype)
    share = _over_power(call.dy, y, power)
    return (spread(share, call.builder.constant(ones), window, channels) * _slope(x, power),)


def global_lp_pool(call: Call) -> Cotangents:
    """As `lp_pool` with one window over everything."""
    x, power = call.x(0), call.integer("p", 2)
    return (_over_power(call.dy, call.y(), power) * _slope(x, power),)


def _over_power(dy: Value, y: Value, power: int) -> Value:
    """Cotangent over y^(p-1); 0 where y is 0, as all its taps are then."""
    if power == 1:
        return dy
    builder = dy.builder
    zero, one = (builder.constant(np.array(n, y.type.dtype)) for n in (0, 1))
    safe = builder.op("Where", builder.op("Equal", y, zero), one, y)
    exponent = builder.constant(np.array(power - 1, y.type.dtype))
    return dy / builder.op("Pow", safe, exponent)


def _slope(x: Value, power: int) -> Value:
    """sign(x) |x|^(p-1)."""
    builder = x.builder
    if power == 2:
        return x
    sign = builder.op("Sign", x)
    if power == 1:
        return sign
    exponent = builder.constant(np.array(power - 1, x.type.dtype))
    return sign * builder.op("Pow", builder.op("Abs", x), exponent)


def max_unpool(call: Call) -> Cotangents:
    """What was placed is picked again, by the same flat index."""
    flat = call.dy.reshape(-1)
    picked = call.builder.op("Gather", flat, call.x(1).reshape(-1), axis=0)
    return (picked.reshape_like(call.x(0)),)


def local_response(call: Call) -> Cotangents:
    """LRN: y = x d^-beta with d = bias + alpha / size times the sum of squares of near channels.

    So dx = dy d^-beta - 2 alpha beta / size x S'(dy x d^(-beta - 1)), S' the sum seen backwards.
    """
    x, dy, builder = call.x(0), call.dy, call.builder
    call.fixed(x, 1)
    size, beta = call.integer("size", 1), call.number("beta", 0.75)
    share = call.number("alpha", 1e-4) / size
    reach = ((size - 1) // 2, size - 1 - (size - 1) // 2)
    spread_of = _channel_sum(x * x, size, reach) * share + call.number("bias", 1.0)
    exponent = builder.constant(np.array(-beta, x.type.dtype))
    factor = builder.op("Pow", spread_of, exponent)
    back = _channel_sum(dy * x * factor / spread_of, size, reach[::-1])
    return (dy * factor - x * back * (2 * share * beta),)


def _channel_sum(value: Value, size: int, reach: tuple[int, int]) -> Value:
    """Sum over a window of channels, by a Conv over channels and all positions as an image."""
    ones = value.builder.constant(np.ones((1, 1, size, 1), value.type.dtype))
    channels = value.shape[1]
    assert isinstance(channels, int)  # noqa: S101 - `local_response` asked for it
    flat = value.reshape(0, 1, channels, -1)
    summed = value.builder.op("Conv", flat, ones, pads=(reach[0], 0, reach[1], 0))
    return summed.reshape_like(value)


RULES = {
    "MaxPool": Rule(max_pool),
    "AveragePool": Rule(average_pool),
    "GlobalAveragePool": Rule(global_average_pool),
    "GlobalMaxPool": Rule(global_max_pool),
    "LpPool": Rule(lp_pool),
    "GlobalLpPool": Rule(global_lp_pool),
    "MaxUnpool": Rule(max_unpool),
    "LRN": Rule(local_response),
}
