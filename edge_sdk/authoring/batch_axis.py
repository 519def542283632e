"""The batch axis of a model: one symbol, also where the file fixed it.

A fixed batch is made open by letting every Reshape and Expand that names it work it out, and then
by trying: three examples in one batch must give what they give one by one.
"""

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference

from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array
from edge_sdk.errors import Unsupported
from edge_sdk.plan.conventions import BATCH_AXIS

_EXAMPLES = 3


def name_batch_axis(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model whose inputs have the batch symbol on axis 0; all other axes must be known.

    Raises:
        Unsupported: an input has no batch axis or another open one, or a fixed batch that cannot
            be made open.
    """
    fed = _fed(proto.graph)
    for info in fed:
        dims = info.type.tensor_type.shape.dim
        if not dims:
            raise Unsupported(f"input {info.name!r} has no batch axis")
        for axis, dim in enumerate(dims):
            if axis and not dim.HasField("dim_value"):
                raise Unsupported(
                    f"input {info.name!r}: axis {axis} is open; only the batch axis may be"
                )
    fixed = {info.name: info.type.tensor_type.shape.dim[0].dim_value for info in fed}
    opened = _symbolic(proto)
    if any(fixed.values()):
        if len(set(fixed.values())) > 1:
            raise Unsupported(f"inputs have different batch sizes fixed: {fixed}")
        opened = _without_fixed_batch(proto, opened, next(iter(fixed.values())))
    return opened


def _fed(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    stored = {tensor.name for tensor in graph.initializer}
    return [info for info in graph.input if info.name not in stored]


def _symbolic(proto: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    for info in _fed(copy.graph):
        info.type.tensor_type.shape.dim[0].dim_param = BATCH_AXIS
    for info in copy.graph.output:
        info.type.tensor_type.ClearField("shape")  # stated shapes may use other symbols
    del copy.graph.value_info[:]
    return copy


def _without_fixed_batch(
    proto: onnx.ModelProto, opened: onnx.ModelProto, size: int
) -> onnx.ModelProto:
    """The opened model if it treats examples as the fixed one does."""
    _open_shapes(proto, opened, size)
    name = _fed(proto.graph)[0].name
    try:
        mixes = not _same_by_one(proto, opened, size)
    except Exception as error:  # numpy and the reference raise whatever they meet
        lines = str(error).splitlines() or [type(error).__name__]
        raise Unsupported(
            f"input {name!r} has batch size {size} fixed and cannot be made open "
            f"({lines[0][:120]}); export with a dynamic batch axis"
        ) from error
    if mixes:
        raise Unsupported(
            f"input {name!r} has batch size {size} fixed and the model mixes its examples; "
            "export with a dynamic batch axis"
        )
    return opened


def _open_shapes(proto: onnx.ModelProto, opened: onnx.ModelProto, size: int) -> None:
    """In `opened`, shapes that name the batch size first get -1 there and every other size."""
    inferred = shape_inference.infer_shapes(proto, data_prop=True).graph
    shapes = {
        info.name: [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (*inferred.value_info, *inferred.output)
    }
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    for node in opened.graph.node:
        asked = constants.get(node.input[1]) if len(node.input) > 1 else None
        made = shapes.get(node.output[0], [])
        if asked is None or not asked.size or not made or made[0] != size or 0 in made[1:]:
            continue
        if node.op_type == "Reshape" and asked[0] in (size, 0):
            shape = np.array([-1, *made[1:]], np.int64)
            name = f"{node.output[0]}.open_shape"
            opened.graph.initializer.append(numpy_helper.from_array(shape, name))
            node.input[1] = name


def _same_by_one(proto: onnx.ModelProto, opened: onnx.ModelProto, size: int) -> bool:
    """Whether several batches at once give what each gives alone."""
    rng = np.random.default_rng(0)
    feeds = [_drawn(proto.graph, rng) for _ in range(_EXAMPLES)]
    alone = [run_model(proto.SerializeToString(), feed) for feed in feeds]
    together = run_model(
        opened.SerializeToString(),
        {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]},
    )
    for outputs, output in zip(zip(*alone, strict=True), together, strict=True):
        expected = np.concatenate(outputs)
        if output.shape != expected.shape or output.shape[0] != size * _EXAMPLES:
            return False
        if not np.allclose(output, expected, rtol=1e-3, atol=1e-4, equal_nan=True):
            return False
    return True


def _drawn(graph: onnx.GraphProto, rng: np.random.Generator) -> dict[str, Array]:
    """Random inputs: normal floats, whole numbers 0 and 1."""
    feeds: dict[str, Array] = {}
    for info in _fed(graph):
        kind = info.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [dim.dim_value for dim in kind.shape.dim]
        drawn = rng.normal(size=shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
        feeds[info.name] = drawn.astype(dtype)
    return feeds
