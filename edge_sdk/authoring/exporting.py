"""Trained weights back into the forward model they came from."""

from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import numpy_helper

from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import Vector


def with_weights(
    model: bytes | Path | onnx.ModelProto, plan: Plan, weights: Vector, *, stage: int | None = None
) -> bytes:
    """The forward model with other weights, nothing else changed.

    Args:
        model: what `plan` was built from.
        plan: names the weights.
        weights: flat, in the layout of `stage`.
        stage: the last, which is the whole model, where None. Of an earlier one the blocks are
            taken and the temporary head is left out.

    Raises:
        Misuse: `weights` have another length, or the model has no such weights.
        Malformed: `model` is not an ONNX model.
        OSError: the path cannot be read.
    """
    number = plan.stages - 1 if stage is None else stage
    layout = plan.layout(number)
    if weights.shape != (layout.size,):
        raise Misuse(f"weights of shape {weights.shape}, stage {number} has {layout.size}")
    proto = _copied(model)
    stored = {tensor.name: tensor for tensor in proto.graph.initializer}
    whole = {parameter.name for parameter in plan.layout(plan.stages - 1).parameters}
    for name, array in layout.split(weights).items():
        if name not in whole:
            continue
        tensor = stored.get(name)
        if tensor is None or tuple(tensor.dims) != array.shape:
            raise Misuse(f"the model has no weight {name!r} of shape {array.shape}")
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), name))
    return bytes(proto.SerializeToString(deterministic=True))


def _copied(model: bytes | Path | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        if isinstance(model, Path):
            return onnx.load_model(model, format="protobuf")
        return onnx.load_model_from_string(model, format="protobuf")
    except DecodeError as error:
        raise Corrupt("not an ONNX file") from error
