"""An ONNX file from anywhere -> a `Graph` of standard operators of one operator set.

Steps: parse, check, inline model functions, bring to `OPSET`, write out a runtime's fusions, name
the batch axis, infer types.
Whatever is wrong with the file ends as `Malformed` with one line.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # has no stubs
from onnx import checker, defs, inliner, shape_inference, version_converter

from edge_sdk.authoring.batch_axis import name_batch_axis
from edge_sdk.authoring.fusions import without_fusions
from edge_sdk.authoring.graph import OPSET, Array, Attribute, Graph, Node, Type
from edge_sdk.authoring.newer import STANDARD, lowered, without_functions
from edge_sdk.authoring.onnx_form import from_node, to_array, to_type
from edge_sdk.errors import Corrupt, Unsupported

_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)

OLDEST_OPSET = 13
"""Softmax, Squeeze and the reductions changed meaning before it."""


def read_graph(model: bytes | Path | onnx.ModelProto) -> Graph:
    """Read a forward model.

    Args:
        model: an ONNX file's bytes, its path, or the parsed model.

    Returns:
        The graph. Its parameters are the float32 initializers with at least one axis, in the
        file's order; everything else that is stored is a constant, masks of minus infinity too.

    Raises:
        Malformed: not a sound ONNX model (`Corrupt`), or one this release cannot take
            (`Unsupported`); one line that names the cause.
        OSError: the path cannot be read.
    """
    try:
        return _graph(_typed(_checked(_parsed(model))).graph)
    except UnicodeDecodeError as error:
        raise Corrupt("model has a text that is not UTF-8") from error


def _checked(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, sound, without functions of its own and in operator set `OPSET`."""
    try:
        checker.check_model(proto)
    except checker.ValidationError as error:
        raise Corrupt(f"not a sound ONNX model: {_line(error)}") from error
    proto = _without_labels(_modern(inliner.inline_local_functions(proto)))
    proto = without_functions(without_fusions(proto))
    if not all(isinstance(text, str) for text in _texts(proto.graph)):
        raise Corrupt("model has a name that is not UTF-8")  # protobuf hands it out as bytes
    return proto


def _without_labels(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without outputs that are not float beside ones that are, and what only they need.

    Classifiers of scikit-learn give the class's label beside its probability.
    """
    floats = [o for o in proto.graph.output if o.type.tensor_type.elem_type in _FLOATS]
    if not floats or len(floats) == len(proto.graph.output):
        return proto
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    wanted = {info.name for info in floats}
    kept = []
    for node in reversed(proto.graph.node):
        inner = any(a.type in (a.GRAPH, a.GRAPHS) for a in node.attribute)
        if inner:
            return proto  # what a subgraph reads from outside cannot be seen here
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    del copy.graph.node[:], copy.graph.output[:]
    copy.graph.node.extend(reversed(kept))
    copy.graph.output.extend(floats)
    return copy


def _texts(graph: onnx.GraphProto) -> Iterator[object]:
    """Every name in a graph."""
    yield graph.name
    for named in (*graph.input, *graph.output, *graph.initializer):
        yield named.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _typed(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the batch axis named and every type inferred anew."""
    proto = name_batch_axis(proto)
    try:
        return shape_inference.infer_shapes(
            proto, check_type=True, strict_mode=True, data_prop=True
        )
    except (shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise Corrupt(f"types or shapes do not fit: {_line(error)}") from error


def _parsed(model: bytes | Path | onnx.ModelProto) -> onnx.ModelProto:
    if isinstance(model, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        return copy
    try:
        if isinstance(model, Path):
            return onnx.load_model(model, format="protobuf")
        proto = onnx.load_model_from_string(model, format="protobuf")
    except DecodeError as error:
        raise Corrupt("not an ONNX file") from error
    except (checker.ValidationError, ValueError) as error:
        raise Corrupt(f"weights stored beside the model: {_line(error)}") from error
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in proto.graph.initializer):
        raise Unsupported("weights are stored in another file; give the model's path")
    return proto


def _modern(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model in operator set `OPSET`.

    Older ones go through the converter of the onnx library, newer ones through `lowered`.
    """
    version = _version(proto)
    if version > OPSET:
        proto = lowered(proto)
    elif version < OPSET:
        try:
            proto = version_converter.convert_version(proto, OPSET)
        except RuntimeError as error:
            raise Unsupported(f"cannot bring to operator set {OPSET}: {_line(error)}") from error
    try:
        checker.check_model(proto)
    except checker.ValidationError as error:
        raise Unsupported(f"has no form in operator set {OPSET}: {_line(error)}") from error
    return proto


def _version(proto: onnx.ModelProto) -> int:
    """The operator set the model is written in."""
    version = next((o.version for o in proto.opset_import if o.domain in STANDARD), 0)
    newest = defs.onnx_opset_version()
    if not OLDEST_OPSET <= version <= newest:
        raise Unsupported(
            f"operator set {version}; export with one from {OLDEST_OPSET} to {newest}, the newest "
            "that the onnx library installed here knows"
        )
    return version


def _graph(proto: onnx.GraphProto) -> Graph:
    if proto.sparse_initializer:
        raise Unsupported("sparse weights; store them dense")
    stored: dict[str, Array] = {t.name: to_array(t) for t in proto.initializer}
    nodes = [from_node(node) for node in proto.node]
    constants = {n.outputs[0]: _constant(n) for n in nodes if n.op == "Constant"}
    parameters = {n: a for n, a in stored.items() if _is_weight(n, a)}
    constants |= {name: a for name, a in stored.items() if name not in parameters}
    infos = [*proto.value_info, *proto.output, *(i for i in proto.input if i.name not in stored)]
    types = {info.name: to_type(info.type, info.name) for info in infos}
    types |= {name: Type(a.dtype, a.shape) for name, a in (parameters | constants).items()}
    return Graph(
        name=proto.name,
        inputs=tuple(info.name for info in proto.input if info.name not in stored),
        outputs=tuple(info.name for info in proto.output),
        nodes=tuple(node for node in nodes if node.op != "Constant"),
        types=_complete(nodes, types),
        parameters=parameters,
        constants=constants,
    )


def _is_weight(name: str, array: Array) -> bool:
    """Whether a stored tensor may be trained; one that holds minus infinity is a mask."""
    if array.dtype != np.float32 or not array.ndim:
        return False
    masked = array == -np.inf
    if not (np.isfinite(array) | masked).all():
        raise Corrupt(f"weight {name!r} holds NaN or infinity")
    return not masked.any()


def _constant(node: Node) -> Array:
    """Content of a Constant node: a tensor, or numbers."""
    value = next(iter(node.attributes.values()), None)
    if isinstance(value, np.ndarray):
        return value
    if value is None or isinstance(value, str) or not _is_numbers(value):
        raise Unsupported(f"{node}: a constant that is not a dense tensor of numbers")
    real = "value_float" in node.attributes or "value_floats" in node.attributes
    return np.array(value, np.float32 if real else np.int64)


def _is_numbers(value: Attribute) -> bool:
    return not isinstance(value, tuple) or not any(isinstance(v, str) for v in value)


def _complete(nodes: list[Node], types: dict[str, Type]) -> dict[str, Type]:
    """`types`, once every value is in it."""
    for node in nodes:
        for name in node.outputs:
            if name and name not in types:
                raise Unsupported(f"{node}: the type of its output {name!r} is not known")
    return types


def _line(error: Exception) -> str:
    """First line of a library's message, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
