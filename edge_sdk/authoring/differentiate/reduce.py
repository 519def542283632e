"""Rules for reductions over axes, and running sums."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.curve import apply

Cotangents = Sequence[Value | None]


def reduced_axes(call: Call) -> tuple[int, ...]:
    """The axes that a reduction removes, counted from the front."""
    rank = call.x(0).rank
    if not call.has(1):
        listed: Sequence[int] = ()
    else:
        known = call.x(1).constant
        if known is None:
            raise call.unsupported("its axes must be known when the plan is made")
        listed = [int(axis) for axis in known.reshape(-1)]
    if listed:
        return tuple(sorted(axis % rank for axis in listed))
    return () if call.integer("noop_with_empty_axes", 0) else tuple(range(rank))


def count_over(x: Value, axes: Sequence[int]) -> Value | float:
    """How many elements each sum over `axes` has: a number now, or a 0-d value at run time."""
    known = [size for axis in axes if isinstance(size := x.shape[axis], int)]
    if len(known) == len(axes):
        return float(math.prod(known))
    kept = [x.shape[axis] for axis in range(x.rank) if axis not in axes]
    others = [size for size in kept if isinstance(size, int)]
    if len(others) == len(kept) and 0 not in others:
        return x.builder.op("Size", x).cast(x.type.dtype) / float(math.prod(others))
    open_axes = [axis for axis in axes if not isinstance(x.shape[axis], int)]
    shape = x.builder.op("Shape", x)
    which = x.builder.op("Gather", shape, x.builder.ints(open_axes), axis=0)
    many = x.builder.op("ReduceProd", which, keepdims=0).cast(x.type.dtype)
    return many * float(math.prod(known))


def mean_over(x: Value, axes: Sequence[int]) -> Value:
    """Mean over `axes`, which stay as axes of size 1."""
    return x.builder.op("ReduceMean", x, x.builder.ints(axes), keepdims=1)


def spread_over(value: Value, x: Value, axes: Sequence[int]) -> Value:
    """`value`, with `axes` of size 1, repeated over them to the shape of `x`."""
    if not axes:
        return value
    if all(isinstance(x.shape[axis], int) for axis in axes):
        # Size 1 leaves an axis as it is, so open ones need no look-up at run time.
        sizes = [x.shape[axis] if axis in axes else 1 for axis in range(x.rank)]
        shape = x.builder.ints([size if isinstance(size, int) else 1 for size in sizes])
    else:
        shape = x.builder.op("Shape", x)
    return x.builder.op("Expand", value, shape, typed=x.type)


def _kept(call: Call, value: Value) -> Value:
    """`value`, of the result's shape, with the removed axes back as axes of size 1."""
    axes = reduced_axes(call)
    if call.integer("keepdims", 1) or not axes:
        return value
    return call.builder.op("Unsqueeze", value, call.builder.ints(axes))


def reduce_sum(call: Call) -> Cotangents:
    """Every summand gets dy."""
    return (spread_over(_kept(call, call.dy), call.x(0), reduced_axes(call)),)


def reduce_mean(call: Call) -> Cotangents:
    """Every summand gets dy / n."""
    x, axes = call.x(0), reduced_axes(call)
    return (spread_over(_kept(call, call.dy) / count_over(x, axes), x, axes),)


Slope = Callable[[Call, Value, Value], Value]
"""From x and y = f(x), kept axes: the derivative of y by each element of x."""


def _by(slope: Slope) -> Rule:
    def gradient(call: Call) -> Cotangents:
        if not reduced_axes(call):
            raise call.unsupported("it reduces no axes, of which runtimes disagree what it means")
        y = _kept(call, call.y())
        return (_kept(call, call.dy) * slope(call, call.x(0), y),)

    return Rule(gradient)


def _reached(call: Call, x: Value, y: Value) -> Value:
    """Of Max and Min: equal shares to the elements that equal the result."""
    mask = call.builder.op("Equal", x, y).cast(x.type.dtype)
    return mask / mask.sum(*reduced_axes(call), keepdims=True)


def _direction(call: Call, x: Value, y: Value) -> Value:
    """Slope x / |x|, and 0 for the zero vector."""
    one = call.builder.constant(np.ones((), x.type.dtype))
    return x / call.builder.op("Where", _is_zero(y), one, y)


def _inverse_sum(call: Call, x: Value, y: Value) -> Value:
    """1 / sum, the same for every summand."""
    return spread_over(apply("Exp", -y), x, reduced_axes(call))


def _others(call: Call, x: Value, _: Value) -> Value:
    """The product of all other elements, zeros among them."""
    builder, axes = call.builder, reduced_axes(call)
    zero, one = (builder.constant(np.array(n, x.type.dtype)) for n in (0, 1))
    is_zero = _is_zero(x)
    filled = builder.op("Where", is_zero, one, x)
    rest = builder.op("ReduceProd", filled, builder.ints(axes), keepdims=1)
    zeros = is_zero.cast(x.type.dtype).sum(*axes, keepdims=True)
    beside_none = builder.op("Where", _is_zero(zeros), rest / filled, zero)
    alone = builder.op("Where", builder.op("Equal", zeros, one), rest, zero)
    return builder.op("Where", is_zero, alone, beside_none)


def _is_zero(x: Value) -> Value:
    return x.builder.op("Equal", x, x.builder.constant(np.zeros((), x.type.dtype)))


def cumulative_sum(call: Call) -> Cotangents:
    """A running sum from the other end."""
    back = call.builder.op(
        "CumSum",
        call.dy,
        call.x(1),
        exclusive=call.integer("exclusive", 0),
        reverse=1 - call.integer("reverse", 0),
    )
    return back, None


RULES = {
    "ReduceSum": Rule(reduce_sum),
    "ReduceMean": Rule(reduce_mean),
    "ReduceMax": _by(_reached),
    "ReduceMin": _by(_reached),
    "ReduceL1": _by(lambda _, x, __: apply("Sign", x)),
    "ReduceL2": _by(_direction),
    "ReduceSumSquare": _by(lambda _, x, __: x * 2.0),
    "ReduceLogSum": _by(_inverse_sum),
    "ReduceLogSumExp": _by(lambda _, x, y: apply("Exp", x - y)),
    "ReduceProd": _by(_others),
    "CumSum": Rule(cumulative_sum),
}
