"""Operators that pick and frame, by this package's own numpy code.

The onnx library's reference versions (1.23) take neither negative pads nor indices that are
smaller than the data on other axes.
"""

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Anything = NDArray[np.generic]
Ints = NDArray[np.int64]


class GatherElements(OpRun):
    """ONNX GatherElements."""

    op_domain = ""

    def _run(self, data: Anything, indices: Ints, *, axis: int | None = None) -> tuple[Anything]:
        return (np.asarray(data[_places(data.shape, indices, axis or 0)]),)


class ScatterElements(OpRun):
    """ONNX ScatterElements."""

    op_domain = ""

    def _run(
        self,
        data: Anything,
        indices: Ints,
        updates: Anything,
        *,
        axis: int | None = None,
        reduction: str | None = None,
    ) -> tuple[Anything]:
        result = data.copy()
        places = _places(data.shape, indices, axis or 0)
        if reduction in (None, "none"):
            result[places] = updates
            return (result,)
        by_name = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
        by_name[str(reduction)].at(result, places, updates)
        return (result,)


class Pad(OpRun):
    """ONNX Pad."""

    op_domain = ""

    def _run(
        self,
        data: Anything,
        pads: Ints,
        constant_value: Anything | None = None,
        axes: Ints | None = None,
        *,
        mode: str | None = None,
    ) -> tuple[Anything]:
        which = range(data.ndim) if axes is None else [int(a) for a in axes]
        kept, frame = [slice(None)] * data.ndim, [(0, 0)] * data.ndim
        for axis, before, after in zip(which, pads[: len(which)], pads[len(which) :], strict=True):
            kept[axis] = slice(max(0, -before), data.shape[axis] - max(0, -after))
            frame[axis] = (max(0, int(before)), max(0, int(after)))
        inner = data[tuple(kept)]
        if mode in (None, "constant"):
            value = data.dtype.type(0) if constant_value is None else constant_value.item()
            return (np.pad(inner, frame, constant_values=value),)
        return (np.pad(inner, frame, mode=mode),)  # type: ignore[call-overload]  # numpy has onnx's words


def _places(shape: tuple[int, ...], indices: Ints, axis: int) -> tuple[Ints, ...]:
    """Coordinates: each element's own, save on `axis`, where `indices` says."""
    own: list[Ints] = list(np.indices(indices.shape, sparse=True))
    own[axis] = np.where(indices < 0, indices + shape[axis], indices)
    return tuple(own)


OPERATORS: tuple[type[OpRun], ...] = (GatherElements, ScatterElements, Pad)
