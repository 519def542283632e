"""Graph pieces <-> ONNX protobuf, and type inference of a single node.

One of the three files that know the onnx library, with `reading` and `evaluation`.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edge_sdk.authoring.graph import OPSET, Array, Attribute, Dimension, Graph, Node, Type
from edge_sdk.errors import Corrupt, Unsupported

IR_VERSION = 9
"""ONNX file version written; goes with operator set 20."""

_PROPAGATED_ELEMENTS = 4096
"""Constants up to this size are shown to type inference; shapes and axes are far smaller."""


def to_model(graph: Graph, *, inputs: Sequence[str] | None = None) -> bytes:
    """The graph as an ONNX file; equal graphs give equal bytes.

    Args:
        graph: what to write.
        inputs: everything fed at run time, in order, parameters among it; the graph's own inputs
            where None. Parameters that are not fed are stored.
    """
    fed = graph.inputs if inputs is None else inputs
    held = {n: a for n, a in {**graph.parameters, **graph.constants}.items() if n not in fed}
    made = {output for node in graph.nodes for output in node.outputs}
    inner = sorted(made.difference(graph.outputs, [""]))
    proto = helper.make_graph(
        [to_node(node) for node in graph.nodes],
        graph.name or "graph",
        [_value_info(name, graph.types[name]) for name in fed],
        [_value_info(name, graph.types[name]) for name in graph.outputs],
        [numpy_helper.from_array(np.asarray(a, order="C"), n) for n, a in held.items()],
        value_info=[_value_info(name, graph.types[name]) for name in inner],
    )
    model = helper.make_model(
        proto,
        producer_name="edge-sdk",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    return bytes(model.SerializeToString(deterministic=True))


def to_node(node: Node) -> onnx.NodeProto:
    """One node as protobuf."""
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=node.name or None)
    for key, value in sorted(node.attributes.items()):
        proto.attribute.append(_attribute(key, value))
    return proto


def from_node(proto: onnx.NodeProto) -> Node:
    """One node from protobuf.

    Raises:
        Unsupported: the operator is not a standard one, or holds subgraphs.
    """
    node = Node(proto.op_type, tuple(proto.input), tuple(proto.output), name=proto.name)
    if proto.domain not in ("", "ai.onnx"):
        raise Unsupported(
            f"{node}: domain {proto.domain!r} is not standard ONNX; export the model again "
            "without runtime-specific optimisation"
        )
    attributes = {a.name: _from_attribute(node, a) for a in proto.attribute}
    return Node(node.op, node.inputs, node.outputs, attributes, node.name)


def to_array(tensor: onnx.TensorProto) -> Array:
    """A stored tensor's content.

    Raises:
        Corrupt: its bytes, shape and type do not fit each other.
    """
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise Corrupt(f"stored tensor {tensor.name!r}: {str(error)[:200]}") from error


def to_type(proto: onnx.TypeProto, name: str) -> Type:
    """The type that a value's protobuf declares.

    Raises:
        Unsupported: it is not a tensor of numbers.
    """
    if not proto.HasField("tensor_type") or not proto.tensor_type.elem_type:
        raise Unsupported(f"value {name!r} is not a dense tensor of known type")
    tensor = proto.tensor_type
    dtype = helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if not tensor.HasField("shape"):
        return Type(dtype, None)
    return Type(dtype, tuple(_dimension(d) for d in tensor.shape.dim))


def from_type(kind: Type) -> onnx.TypeProto:
    """A type as protobuf."""
    element = helper.np_dtype_to_tensor_dtype(kind.dtype)
    return helper.make_tensor_type_proto(element, kind.shape)


def element_type(dtype: np.dtype[np.generic]) -> int:
    """ONNX's number for an element type, as `Cast` takes it."""
    return int(helper.np_dtype_to_tensor_dtype(dtype))


def infer_outputs(
    node: Node, types: Mapping[str, Type], constants: Mapping[str, Array]
) -> dict[str, Type]:
    """Types of a node's outputs by the operator's own inference rule.

    Raises:
        Unsupported: the operator does not take such inputs.
    """
    small = {
        name: numpy_helper.from_array(constants[name])
        for name in node.inputs
        if name in constants and constants[name].size <= _PROPAGATED_ELEMENTS
    }
    try:
        outputs = onnx.shape_inference.infer_node_outputs(
            onnx.defs.get_schema(node.op, OPSET, ""),
            to_node(node),
            {name: from_type(types[name]) for name in node.inputs if name},
            small,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
    except (onnx.shape_inference.InferenceError, onnx.defs.SchemaError) as error:
        line = str(error).splitlines()[0][:200]
        raise Unsupported(f"{node}: its types do not fit its inputs: {line}") from error
    made = {name: to_type(proto, name) for name, proto in outputs.items()}
    if node.op == "Resize":
        made[node.outputs[0]] = _resized(node, types, constants, made[node.outputs[0]])
    return made


def _resized(
    node: Node, types: Mapping[str, Type], constants: Mapping[str, Array], made: Type
) -> Type:
    """Type of a Resize, which the library gives up on when one size of the input is open."""
    before = types[node.inputs[0]].shape
    given = [constants.get(name) for name in (*node.inputs[2:4], "", "")[:2]]
    how = next((array for array in given if array is not None and array.size), None)
    if before is None or how is None or "keep_aspect_ratio_policy" in node.attributes:
        return made
    axes = node.attributes.get("axes", tuple(range(len(before))))
    shape = list(before)
    for axis, number in zip(axes, how.tolist(), strict=True):  # type: ignore[arg-type]  # axes are whole numbers
        size = shape[axis]
        if how.dtype.kind == "i":
            shape[axis] = number
        elif number != 1:
            shape[axis] = math.floor(size * number) if isinstance(size, int) else None
    return Type(made.dtype, tuple(shape))


def _attribute(key: str, value: Attribute) -> onnx.AttributeProto:
    if isinstance(value, np.ndarray):
        return helper.make_attribute(key, numpy_helper.from_array(value))
    if value == ():  # the library cannot tell an empty list's type; only integers are left empty
        return helper.make_attribute(key, [], attr_type=onnx.AttributeProto.INTS)
    return helper.make_attribute(key, value)


def _from_attribute(node: Node, proto: onnx.AttributeProto) -> Attribute:
    kinds = onnx.AttributeProto
    if proto.type in (kinds.GRAPH, kinds.GRAPHS):
        raise Unsupported(
            f"{node}: control flow cannot be differentiated; export the model with it unrolled"
        )
    value = helper.get_attribute_value(proto)
    if proto.type == kinds.TENSOR:
        return to_array(value)
    if proto.type == kinds.STRING:
        return str(value, "utf-8")
    if proto.type == kinds.STRINGS:
        return tuple(str(text, "utf-8") for text in value)
    if proto.type in (kinds.INTS, kinds.FLOATS):
        return tuple(value)
    if proto.type in (kinds.INT, kinds.FLOAT):
        return value  # type: ignore[no-any-return]  # int or float, by the line above
    raise Unsupported(f"{node}: attribute {proto.name!r} is not a number, text or tensor")


def _value_info(name: str, kind: Type) -> onnx.ValueInfoProto:
    return helper.make_value_info(name, from_type(kind))


def _dimension(proto: onnx.TensorShapeProto.Dimension) -> Dimension:
    if proto.HasField("dim_value"):
        return proto.dim_value
    return proto.dim_param or None
