"""A plan's own model, ready for use: cut out of the evaluation graph, with weights inside.

An evaluation graph is the model without dropout and with frozen statistics, followed by loss and
hits. What belongs to the model is found from its form: the model's output is the last value that
does not depend on the target, and that every way from the input to an output of the graph passes.
"""

import onnx
from onnx import helper, numpy_helper, shape_inference

from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan import Plan
from edge_sdk.values import Vector

OUTPUT = "output"


def inference_model(plan: Plan, weights: Vector, *, stage: int | None = None) -> bytes:
    """An ONNX model from the plan's input to what its loss reads.

    For a classifier these are the scores: a softmax or sigmoid at the model's end is part of the
    loss and not in the plan. `with_weights` keeps it, but needs the model the plan was built from.

    Args:
        plan: whose model it is.
        weights: flat, in the layout of `stage`.
        stage: the last, which is the whole model, where None.

    Raises:
        Misuse: `weights` have another length.
        Unsupported: the model's output cannot be told from the graph.
        Malformed: the graph is no ONNX model.
    """
    number = plan.stages - 1 if stage is None else stage
    layout = plan.layout(number)
    if weights.shape != (layout.size,):
        raise Misuse(f"weights of shape {weights.shape}, stage {number} has {layout.size}")
    proto = onnx.load_model_from_string(plan.evaluate_graph(number))
    graph = proto.graph
    output = _model_output(graph, plan.input.name, plan.target.name)
    kept = _needed(graph, output)
    initializers = {tensor.name: tensor for tensor in graph.initializer}
    tensors = layout.split(weights)
    names = {name for node in kept for name in node.input}
    held = [initializers[name] for name in sorted(names & initializers.keys())]
    held += [numpy_helper.from_array(tensors[n], n) for n in sorted(names & tensors.keys())]
    called = next(name for name in (OUTPUT, f"{OUTPUT}.model") if name not in names | {output})
    kept.append(helper.make_node("Identity", [output], [called]))
    made = helper.make_graph(
        kept,
        plan.name,
        [one for one in graph.input if one.name == plan.input.name],
        [helper.make_tensor_value_info(called, onnx.TensorProto.FLOAT, None)],
        held,
    )
    model = helper.make_model(made, opset_imports=proto.opset_import, producer_name="edge-sdk")
    model.ir_version = proto.ir_version
    model = shape_inference.infer_shapes(model)
    return bytes(model.SerializeToString(deterministic=True))


def _model_output(graph: onnx.GraphProto, source: str, target: str) -> str:
    """The last value on every way from `source` that does not depend on `target`.

    Walking the nodes in their order, `front` are the values made from the source that a later node
    still reads. Where that is one value alone, everything later passes it.
    """
    from_source, from_target = {source}, {target}
    last_use = {n: at for at, node in enumerate(graph.node) for n in node.input}
    ends = {one.name for one in graph.output}
    front, found = {source}, None
    for at, node in enumerate(graph.node):
        reads = set(node.input)
        if reads & from_target:
            from_target.update(node.output)
        if reads & from_source:
            from_source.update(node.output)
            front |= {n for n in node.output if n in last_use or n in ends}
        front = {n for n in front if last_use.get(n, -1) > at or n in ends}
        if len(front) == 1 and not front & from_target:
            found = next(iter(front))
    if found is None or found == source:
        raise Unsupported("where the model ends and its loss begins cannot be told from the plan")
    return found


def _needed(graph: onnx.GraphProto, output: str) -> list[onnx.NodeProto]:
    """The nodes that make `output`, in order."""
    wanted, kept = {output}, []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]
