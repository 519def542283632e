"""Operators written out by the functions that the standard defines them by.

So is what came after operator set `OPSET`, when a newer model is brought to it. The rest of such a
model is relabelled, which is exact as long as an operator kept its meaning; those that did not
are written out too, and the inference that follows checks every signature.
"""

import onnx
from onnx import defs, helper, inliner, shape_inference

from edge_sdk.authoring.graph import OPSET
from edge_sdk.errors import Unsupported

STANDARD = ("", "ai.onnx")

CHANGED = frozenset({"GroupNormalization"})
"""Operators whose inputs mean something else since: one scale per channel, no longer per group."""

WITHOUT_RULE = frozenset(
    {
        "CastLike",
        "CenterCropPad",
        "MeanVarianceNormalization",
        "NegativeLogLikelihoodLoss",
        "SoftmaxCrossEntropyLoss",
    }
)
"""Operators of `OPSET` that have a definition but no gradient rule of their own."""

_ROUNDS = 8
"""A function may use another one; deeper nesting than this is a fault of the file."""


def lowered(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with operator set `OPSET`.

    Raises:
        Unsupported: an operator came later and is not defined by a function.
    """
    for _ in range(_ROUNDS):
        later = sorted({node.op_type for node in proto.graph.node if _came_later(node)})
        if not later:
            break
        before = len(proto.graph.node)
        proto = _inlined(proto, later)
        left = next((node for node in proto.graph.node if node.op_type in later), None)
        if left is not None and len(proto.graph.node) == before:
            raise Unsupported(
                f"node {left.name or left.output[0]!r} ({left.op_type}): came after operator set "
                f"{OPSET} and has no definition by older operators; export with {OPSET} or older"
            )
    for entry in proto.opset_import:
        if entry.domain in STANDARD:
            entry.version = OPSET
    return proto


def without_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model, in operator set `OPSET`, with operators `WITHOUT_RULE` written out."""
    for _ in range(_ROUNDS):
        standard = {n.op_type for n in proto.graph.node if n.domain in STANDARD}
        found = sorted(standard & WITHOUT_RULE)
        if not found:
            break
        proto = _inlined(proto, found)
    return proto


def _inlined(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with calls of these operators replaced by their definitions.

    Which definition depends on types, which the library must find in the file: those of stored
    tensors, those that it infers, and attributes left to their defaults.
    """
    typed = onnx.ModelProto()
    typed.CopyFrom(proto)
    for node in typed.graph.node:
        if node.op_type in names and node.domain in STANDARD:
            _state_defaults(node, _version(proto))
    stated = {info.name for info in (*proto.graph.input, *proto.graph.value_info)}
    for tensor in proto.graph.initializer:
        if tensor.name not in stated:
            kind = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
            typed.graph.value_info.append(helper.make_value_info(tensor.name, kind))
    ids = [(domain, name) for name in names for domain in STANDARD]
    try:
        typed = shape_inference.infer_shapes(typed)
        return inliner.inline_selected_functions(typed, ids, inline_schema_functions=True)
    except (RuntimeError, defs.SchemaError) as error:
        raise Unsupported(
            f"cannot write out {', '.join(names)}: the library does not know all types that its "
            "definition asks for; export with it already written out"
        ) from error


def _version(proto: onnx.ModelProto) -> int:
    return int(next(o.version for o in proto.opset_import if o.domain in STANDARD))


def _state_defaults(node: onnx.NodeProto, version: int) -> None:
    """Write attributes that are left out with the value they then have."""
    stated = {attribute.name for attribute in node.attribute}
    for name, known in defs.get_schema(node.op_type, version, "").attributes.items():
        if name not in stated and known.default_value.name:
            node.attribute.append(known.default_value)


def _came_later(node: onnx.NodeProto) -> bool:
    """Whether a standard node has no form, or another one, in `OPSET`."""
    if node.domain not in STANDARD:
        return False
    if node.op_type in CHANGED:
        return True
    try:
        known = defs.get_schema(node.op_type, OPSET, "").attributes
    except defs.SchemaError:
        return True
    return any(attribute.name not in known for attribute in node.attribute)
