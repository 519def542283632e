"""Operators that `evaluation` runs by this package's own numpy code (see `evaluation_windows`)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

from edge_sdk.authoring.evaluation_windows import (
    Floats,
    convolve,
    convolve_back,
    maxima,
    resolved_pads,
)
from edge_sdk.errors import Unsupported

Ints = Sequence[int] | None


class Conv(OpRun):
    """ONNX Conv."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        w: Floats,
        b: Floats | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Ints = None,
        group: int | None = None,
        kernel_shape: Ints = None,  # noqa: ARG002 - stands in w
        pads: Ints = None,
        strides: Ints = None,
    ) -> tuple[Floats]:
        ones = (1,) * (x.ndim - 2)
        kernel, strides, dilations = w.shape[2:], strides or ones, dilations or ones
        padding = resolved_pads(
            auto_pad, pads, size=x.shape[2:], kernel=kernel, strides=strides, dilations=dilations
        )
        y = convolve(x, w, groups=group or 1, pads=padding, strides=strides, dilations=dilations)
        return (_with_bias(y, b),)


class ConvTranspose(OpRun):
    """ONNX ConvTranspose."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        w: Floats,
        b: Floats | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Ints = None,
        group: int | None = None,
        kernel_shape: Ints = None,  # noqa: ARG002 - stands in w
        output_padding: Ints = None,
        output_shape: Ints = None,
        pads: Ints = None,
        strides: Ints = None,
    ) -> tuple[Floats]:
        ones = (1,) * (x.ndim - 2)
        strides, dilations = strides or ones, dilations or ones
        grow = output_padding or [0] * len(ones)
        if output_shape or auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            out = output_shape or [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
            total = [
                (n - 1) * s + (k - 1) * d + 1 + g - o
                for n, s, k, d, g, o in zip(
                    x.shape[2:], strides, w.shape[2:], dilations, grow, out[-len(ones) :],
                    strict=True,
                )
            ]  # fmt: skip
            small, large = [t // 2 for t in total], [t - t // 2 for t in total]
            pads = small + large if auto_pad == "SAME_UPPER" else large + small
        elif auto_pad == "VALID" or not pads:
            pads = [0] * (2 * len(ones))
        y = convolve_back(
            x, w, groups=group or 1, pads=pads, strides=strides, dilations=dilations, grow=grow
        )
        return (_with_bias(y, b),)


class MaxPool(OpRun):
    """ONNX MaxPool with row-major indices."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        *,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Ints = None,
        kernel_shape: Ints = None,
        pads: Ints = None,
        storage_order: int | None = None,
        strides: Ints = None,
    ) -> tuple[Floats | NDArray[np.int64], ...]:
        if storage_order:
            raise Unsupported("MaxPool with column-major indices")
        kernel = kernel_shape or ()
        ones = (1,) * len(kernel)
        strides, dilations, size = strides or ones, dilations or ones, x.shape[2:]
        padding = resolved_pads(
            auto_pad, pads, size=size, kernel=kernel, strides=strides, dilations=dilations
        )
        before, after = padding[: len(kernel)], padding[len(kernel) :]
        out = []
        for n, k, s, d, b, a in zip(size, kernel, strides, dilations, before, after, strict=True):
            steps = (n + b + a - (k - 1) * d - 1) / s
            count = (math.ceil(steps) if ceil_mode else math.floor(steps)) + 1
            out.append(count - 1 if (count - 1) * s >= n + b else count)  # none starts behind
        values, places = maxima(
            x, out=out, kernel=kernel, before=before, strides=strides, dilations=dilations
        )
        return (values, places)[: len(self.onnx_node.output)]


class MaxUnpool(OpRun):
    """ONNX MaxUnpool of windows that tile the output."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        places: NDArray[np.int64],
        output_shape: NDArray[np.int64] | None = None,
        *,
        kernel_shape: Ints = None,
        pads: Ints = None,
        strides: Ints = None,
    ) -> tuple[Floats]:
        kernel = kernel_shape or ()
        if output_shape is not None or any(pads or ()) or list(strides or ()) != list(kernel):
            raise Unsupported("MaxUnpool of windows that do not tile")
        size = [n * k for n, k in zip(x.shape[2:], kernel, strict=True)]
        result = np.zeros((*x.shape[:2], *size), x.dtype)
        result.reshape(-1)[places.reshape(-1)] = x.reshape(-1)
        return (result,)


class GlobalMaxPool(OpRun):
    """ONNX GlobalMaxPool."""

    op_domain = ""

    def _run(self, x: Floats) -> tuple[Floats]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class GlobalLpPool(OpRun):
    """ONNX GlobalLpPool."""

    op_domain = ""

    def _run(self, x: Floats, *, p: int | None = None) -> tuple[Floats]:
        power = p or 2
        total = (np.abs(x) ** power).sum(axis=tuple(range(2, x.ndim)), keepdims=True)
        return ((total ** (1 / power)).astype(x.dtype),)


OPERATORS: tuple[type[OpRun], ...] = (
    Conv,
    ConvTranspose,
    GlobalLpPool,
    GlobalMaxPool,
    MaxPool,
    MaxUnpool,
)


def _with_bias(y: Floats, b: Floats | None) -> Floats:
    return y if b is None else y + b.reshape(1, -1, *[1] * (y.ndim - 2))
