"""Elementwise operators whose code in the onnx library is inexact, or fails on some shapes."""

import math

import numpy as np
from onnx.reference.op_run import OpRun

from edge_sdk.authoring.evaluation_windows import Floats


class Erf(OpRun):
    """ONNX Erf; the library's is of single precision."""

    op_domain = ""

    def _run(self, x: Floats) -> tuple[Floats]:
        return (_erf(x),)


class Gelu(OpRun):
    """ONNX Gelu, which the library computes by its own Erf."""

    op_domain = ""

    def _run(self, x: Floats, *, approximate: str | None = None) -> tuple[Floats]:
        if approximate == "tanh":
            rise = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        else:
            rise = _erf(x / math.sqrt(2))
        return (np.asarray(0.5 * x * (1 + rise), x.dtype),)


class Mean(OpRun):
    """ONNX Mean; the library's cannot broadcast its first input."""

    op_domain = ""

    def _run(self, *inputs: Floats) -> tuple[Floats]:
        total = inputs[0]
        for further in inputs[1:]:
            total = np.asarray(total + further)
        return (np.asarray(total / len(inputs), inputs[0].dtype),)


class Softsign(OpRun):
    """ONNX Softsign; the library's fails on a scalar."""

    op_domain = ""

    def _run(self, x: Floats) -> tuple[Floats]:
        return (np.asarray(x / (1 + np.abs(x)), x.dtype),)


def _erf(x: Floats) -> Floats:
    flat = [math.erf(value) for value in x.reshape(-1).tolist()]
    return np.array(flat, x.dtype).reshape(x.shape)


OPERATORS: tuple[type[OpRun], ...] = (Erf, Gelu, Mean, Softsign)
