"""What rules do along one axis: cut a piece out, frame it with zeros, mix it by a matrix."""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring.builder import Value


def cut(value: Value, axis: int, start: int, end: int) -> Value:
    """Elements `start` to `end` of one axis; itself where that is all of it."""
    if (start, end) == (0, value.shape[axis]):
        return value
    builder = value.builder
    bounds = (builder.ints([start]), builder.ints([end]), builder.ints([axis]))
    return builder.op("Slice", value, *bounds)


def framed(value: Value, axis: int, before: int, after: int) -> Value:
    """Zeros in front of and behind one axis; itself where there are none."""
    if not before and not after:
        return value
    pads = [0] * (2 * value.rank)
    pads[axis], pads[axis + value.rank] = before, after
    return value.builder.op("Pad", value, value.builder.ints(pads))


def mixed_back(value: Value, axis: int, matrix: NDArray[np.float64]) -> Value:
    """Transpose of a linear map along one axis: y = M x there, so dx = M' dy.

    One matrix product; the axis is moved to the end unless it is one of the last two.
    """
    last = value.rank - 1
    weights = matrix.astype(value.type.dtype)
    if axis == last - 1:
        return value.builder.constant(np.ascontiguousarray(weights.T)) @ value
    order = [*(a for a in range(value.rank) if a != axis), axis]
    mixed = value.transpose(*order) @ value.builder.constant(weights)
    return mixed.transpose(*sorted(range(value.rank), key=order.__getitem__))
