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


OPERATORS: tuple[type[OpRun], ...] = (InstanceNormalization, LpNormalization)
