"""Normalisations that the onnx library computes in single precision, or wrongly."""

import numpy as np
from onnx.reference.op_run import OpRun

from edge_sdk.authoring.evaluation_windows import Floats


class InstanceNormalization(OpRun):
    """ONNX InstanceNormalization."""

    op_domain = ""

    def _run(
        self, x: Floats, scale: Floats, bias: Floats, *, epsilon: float | None = None
    ) -> tuple[Floats]:
        axes = tuple(range(2, x.ndim))
        deviation = x - x.mean(axes, keepdims=True)
        spread = np.sqrt(x.var(axes, keepdims=True) + (1e-5 if epsilon is None else epsilon))
        column = (1, -1, *[1] * len(axes))
        result = deviation / spread * scale.reshape(column) + bias.reshape(column)
        return (np.asarray(result, x.dtype),)


class LpNormalization(OpRun):
    """ONNX LpNormalization; a vector of zeros stays one, as in onnxruntime."""

    op_domain = ""

    def _run(self, x: Floats, *, axis: int | None = None, p: int | None = None) -> tuple[Floats]:
        along = -1 if axis is None else axis
        length = np.linalg.norm(x, ord=p or 2, axis=along, keepdims=True)
        return (np.asarray(x / np.where(length == 0, 1, length), x.dtype),)


class LayerNormalization(OpRun):
    """ONNX LayerNormalization in the precision of its input."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        scale: Floats,
        bias: Floats | None = None,
        *,
        axis: int | None = None,
        epsilon: float | None = None,
        stash_type: int | None = None,  # noqa: ARG002 - says which precision, which is x's here
    ) -> tuple[Floats, ...]:
        axes = tuple(range((-1 if axis is None else axis) % x.ndim, x.ndim))
        mean = x.mean(axes, keepdims=True)
        variance = x.var(axes, keepdims=True) + (1e-5 if epsilon is None else epsilon)
        factor = np.asarray(1 / np.sqrt(variance), x.dtype)
        y = np.asarray((x - mean) * factor * scale, x.dtype)
        made = (y if bias is None else y + bias, mean, factor)
        return made[: len(self.onnx_node.output)]


class LRN(OpRun):
    """ONNX LRN; the library's visits as many channels as there are examples."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        *,
        alpha: float | None = None,
        beta: float | None = None,
        bias: float | None = None,
        size: int | None = None,
    ) -> tuple[Floats]:
        window = size or 1
        before = (window - 1) // 2
        frame = [(0, 0)] * x.ndim
        frame[1] = (before, window - 1 - before)
        squares = np.pad(x * x, frame)
        near = sum(squares[:, i : i + x.shape[1]] for i in range(window))
        scale = 1.0 if bias is None else bias
        scaled = scale + (1e-4 if alpha is None else alpha) / window * near
        return (np.asarray(x / scaled ** (0.75 if beta is None else beta), x.dtype),)


OPERATORS: tuple[type[OpRun], ...] = (
    InstanceNormalization,
    LayerNormalization,
    LpNormalization,
    LRN,
)
