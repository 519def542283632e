"""The rule for Resize: a linear map along each axis by itself, whose transpose goes back.

`axis_map` finds the map of one axis, so every mode and way of mapping coordinates is covered.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.along import mixed_back
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.evaluation_resize import axis_map
from edge_sdk.authoring.graph import Array

Cotangents = Sequence[Value | None]


def resize(call: Call) -> Cotangents:
    """Sum over each block where elements were only repeated, else a matrix for each axis."""
    x, gradient = call.x(0), call.dy
    if call.text("coordinate_transformation_mode", "half_pixel") == "tf_crop_and_resize":
        raise call.unsupported("cropping; slice first and resize then")
    if call.text("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise call.unsupported("keep_aspect_ratio_policy; export with the sizes it leads to")
    matrices = {axis: _matrix(call, axis) for axis in range(x.rank) if _moves(call, axis)}
    factors = {axis: _repeats(matrix) for axis, matrix in matrices.items()}
    if x.rank > 2 and all(factors.values()) and min(factors, default=2) >= 2:
        return (_block_sums(gradient, [factors.get(a) or 1 for a in range(2, x.rank)]),)
    for axis, matrix in matrices.items():
        gradient = mixed_back(gradient, axis, matrix)
    return (gradient,)


def _block_sums(value: Value, blocks: list[int]) -> Value:
    """Sum over blocks of the spatial axes: their mean, times their size."""
    mean = value.builder.op("AveragePool", value, kernel_shape=tuple(blocks), strides=tuple(blocks))
    return mean * float(np.prod(blocks))


def _moves(call: Call, axis: int) -> bool:
    """Whether an axis changes at all: an open one must keep its size."""
    scales = call.x(2).constant if call.has(2) else None
    if scales is not None and scales.size:
        return bool(_by_axis(call, scales)[axis] != 1)
    return call.x(0).shape[axis] != call.dy.shape[axis]


def _by_axis(call: Call, scales: Array) -> NDArray[np.float64]:
    """One scale for each axis; 1 where none is given."""
    every = np.ones(call.x(0).rank)
    axes = call.integers("axes") or tuple(range(call.x(0).rank))
    every[list(axes)] = np.asarray(scales, np.float64)
    return every


def _matrix(call: Call, axis: int) -> NDArray[np.float64]:
    """The map of one axis, (out, in)."""
    size, out = call.fixed(call.x(0), axis), call.fixed(call.dy, axis)
    scales = call.x(2).constant if call.has(2) else None
    scale = float(_by_axis(call, scales)[axis]) if scales is not None and scales.size else None
    matrix = axis_map(size, scale=scale, out=out, attributes=call.node.attributes)
    if matrix.shape != (out, size):
        raise call.unsupported("its sizes and scales do not fit")
    return matrix


def _repeats(matrix: NDArray[np.float64]) -> int | None:
    """How often each element stands in a row where that is all the map does; None otherwise."""
    out, size = matrix.shape
    factor: int = out // size
    if out % size or not np.array_equal(matrix, np.repeat(np.eye(size), factor, axis=0)):
        return None
    return factor


RULES = {"Resize": Rule(resize, fixed=frozenset({1, 2}))}
