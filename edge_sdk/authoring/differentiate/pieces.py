"""Rules for operators that cut, join, frame or mask: Concat, Split, Slice, Pad, Trilu."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.along import cut, framed, mixed_back
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def concat(call: Call) -> Cotangents:
    """Each input gets its own piece back."""
    axis = call.integer("axis", 0)
    axis += call.dy.rank if axis < 0 else 0
    at, pieces = 0, []
    for index in range(len(call.node.inputs)):
        size = call.fixed(call.x(index), axis)
        pieces.append(cut(call.dy, axis, at, at + size) if call.wants(index) else None)
        at += size
    return pieces


def split(call: Call) -> Cotangents:
    """The pieces joined; zeros where nothing depends on one."""
    axis = call.integer("axis", 0)
    pieces: list[Value] = []
    for index, cotangent in enumerate(call.cotangents):
        pieces.append(cotangent or call.builder.zeros_like(call.y(index)))
    return call.builder.op("Concat", *pieces, axis=axis), None


def slice_(call: Call) -> Cotangents:
    """Zeros around; between, where steps are longer than one; backwards for negative steps."""
    x, gradient = call.x(0), call.dy
    starts, ends = _constants(call, 1), _constants(call, 2)
    axes = _constants(call, 3) if call.has(3) else list(range(len(starts)))
    steps = _constants(call, 4) if call.has(4) else [1] * len(starts)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if (start, step) == (0, 1) and end >= np.iinfo(np.int32).max:
            continue  # all of it
        at = axis % x.rank
        size = call.fixed(x, at)
        gradient = _spread_along(gradient, at, range(*slice(start, end, step).indices(size)), size)
    return (gradient,)


def _spread_along(value: Value, axis: int, places: range, size: int) -> Value:
    """Element i of `value` goes to `places[i]` of an axis of `size` zeros."""
    if not places:
        return framed(value, axis, 0, size)
    if places.step < 0:
        value, places = _reversed(value, axis), places[::-1]
    if places.step > 1:
        value = _with_gaps(value, axis, len(places), places.step)
    return framed(value, axis, places[0], size - places[-1] - 1)


def _reversed(value: Value, axis: int) -> Value:
    builder = value.builder
    far = np.iinfo(np.int64).min
    bounds = (builder.ints([-1]), builder.ints([far]), builder.ints([axis]), builder.ints([-1]))
    return builder.op("Slice", value, *bounds, typed=value.type)


def _with_gaps(value: Value, axis: int, count: int, step: int) -> Value:
    """Zeros between neighbours, none behind the last: (n) to (n, 1) to (n, step) and flat."""
    builder = value.builder
    alone = builder.op("Unsqueeze", value, builder.ints([axis + 1]))
    wide = framed(alone, axis + 1, 0, step - 1)
    flat = wide.reshape(*[0] * axis, count * step, *_rest(value, axis))
    return cut(flat, axis, 0, (count - 1) * step + 1)


def _rest(value: Value, axis: int) -> list[int]:
    """Sizes behind `axis`, of which one may be open."""
    return [size if isinstance(size, int) else -1 for size in value.shape[axis + 1 :]]


def pad(call: Call) -> Cotangents:
    """Constant frames are cut off again; mirrored and repeated edges add to where they came from.

    A negative pad cuts, so its gradient is a frame of zeros.
    """
    x, gradient = call.x(0), call.dy
    pads = _constants(call, 1)
    axes = _constants(call, 3) if call.has(3) else list(range(x.rank))
    mode = call.text("mode", "constant")
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if not (before or after):
            continue
        at = axis % x.rank
        size = call.fixed(x, at)
        if mode == "constant":
            inner = cut(gradient, at, max(0, before), max(0, before) + _kept(size, before, after))
            gradient = framed(inner, at, max(0, -before), max(0, -after))
        else:
            gradient = mixed_back(gradient, at, _sources(mode, size, before, after))
    return (gradient,)


def _kept(size: int, before: int, after: int) -> int:
    """Elements of the input that are left."""
    return size + min(0, before) + min(0, after)


def _sources(mode: str, size: int, before: int, after: int) -> NDArray[np.float64]:
    """0/1 matrix (out, in): which input each output was copied from."""
    numbers = np.arange(size)[max(0, -before) : size - max(0, -after)]
    frame = (max(0, before), max(0, after))
    picked = np.pad(numbers, frame, mode=mode)  # type: ignore[call-overload]  # numpy has onnx's words
    chosen: NDArray[np.float64] = np.eye(size)[picked]
    return chosen


def trilu(call: Call) -> Cotangents:
    """The same triangle of the cotangent."""
    diagonal = call.x(1) if call.has(1) else None
    upper = call.integer("upper", 1)
    return call.builder.op("Trilu", call.dy, diagonal, upper=upper), None


def _constants(call: Call, index: int) -> list[int]:
    """A vector of whole numbers that must be known now."""
    array = call.x(index).constant
    if array is None:
        raise call.unsupported(f"its input {index} must be a constant")
    return [int(number) for number in np.asarray(array).reshape(-1)]


RULES = {
    "Concat": Rule(concat),
    "Split": Rule(split, every_output=True),
    "Slice": Rule(slice_),
    "Pad": Rule(pad, fixed=frozenset({2})),
    "Trilu": Rule(trilu),
}
