"""BatchNormalization for training, for evaluation, and as operators every runtime has.

Exporters write it in inference form. `TRAIN_BATCH_NORM` brings it to the standard's training form,
whose further outputs are the running statistics after the batch: running * momentum + batch *
(1 - momentum), the variance divided by n as the standard has it. `FREEZE_BATCH_NORM` goes back.
onnxruntime's wheel cannot run the training form: `LOWER_BATCH_NORM` writes it out.
"""

import collections
import dataclasses
from collections.abc import Mapping

import numpy as np

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.differentiate.normalise import centred, filled
from edge_sdk.authoring.graph import Graph, Node
from edge_sdk.authoring.passes.kind import Pass

_DEFAULT_EPSILON, _DEFAULT_MOMENTUM = 1e-5, 0.9


def running_statistics(graph: Graph) -> Mapping[str, str]:
    """By name of each running mean and variance in training form, the value that follows it."""
    pairs: dict[str, str] = {}
    for node in graph.nodes:
        if _in_training(node):
            pairs |= zip(node.inputs[3:5], node.outputs[1:3], strict=True)
    return pairs


def train_batch_norm(graph: Graph) -> Graph:
    """Training form wherever the running statistics are parameters that nothing else reads."""
    builder = Builder(graph)
    readers = collections.Counter(name for node in graph.nodes for name in node.inputs)
    builder.nodes = []
    for node in graph.nodes:
        if node.op != "BatchNormalization":
            builder.nodes.append(node)
        elif all(name in graph.parameters and readers[name] == 1 for name in node.inputs[3:5]):
            outputs = [node.outputs[0]]
            for name in node.inputs[3:5]:
                outputs.append(builder.fresh("running"))
                builder.types[outputs[-1]] = graph.types[name]
            attributes = {**node.attributes, "training_mode": 1}
            changed = dataclasses.replace(node, outputs=tuple(outputs), attributes=attributes)
            builder.nodes.append(changed)
        else:
            builder.nodes.append(_frozen(node))
    return dataclasses.replace(graph, nodes=tuple(builder.nodes), types=builder.types)


def freeze_batch_norm(graph: Graph) -> Graph:
    """Inference form everywhere: statistics are inputs like any other.

    A variance that is a parameter was averaged over devices and perhaps sent with loss, so it may
    come out below 0: it is then read as 0.
    """
    builder = Builder(graph)
    builder.nodes = []
    for node in graph.nodes:
        frozen = _frozen(node)
        if frozen is not node and node.inputs[4] in graph.parameters:
            variance = builder.value(node.inputs[4])
            zero = builder.constant(np.zeros((), variance.type.dtype))
            kept = builder.op("Max", variance, zero)
            frozen = dataclasses.replace(frozen, inputs=(*node.inputs[:4], kept.name))
        builder.nodes.append(frozen)
    return dataclasses.replace(
        graph, nodes=tuple(builder.nodes), types=builder.types, constants=builder.constants
    )


def lower_batch_norm(graph: Graph) -> Graph:
    """The training form by reductions and an inference BatchNormalization as fused affine map."""
    if not any(map(_in_training, graph.nodes)):
        return graph
    builder = Builder(graph)
    builder.nodes = []
    for node in graph.nodes:
        if _in_training(node):
            _lower(builder, node)
        else:
            builder.nodes.append(node)
    return dataclasses.replace(
        graph, nodes=tuple(builder.nodes), types=builder.types, constants=builder.constants
    )


def _lower(builder: Builder, node: Node) -> None:
    x, scale, bias, mean, variance = map(builder.value, node.inputs)
    batch = centred(x, (0, *range(2, x.rank)))
    batch_mean, batch_variance = (v.reshape(-1) for v in (batch.mean, batch.variance))
    epsilon = node.attributes.get("epsilon", _DEFAULT_EPSILON)
    normal = (batch.deviation, scale, bias, filled(scale, 0), batch_variance)
    builder.op(node.op, *normal, named=node.outputs[0], typed=x.type, epsilon=epsilon)
    momentum = node.attributes.get("momentum", _DEFAULT_MOMENTUM)
    share = float(momentum) if isinstance(momentum, int | float) else _DEFAULT_MOMENTUM
    pairs = ((mean, batch_mean), (variance, batch_variance))
    for output, (running, fresh) in zip(node.outputs[1:], pairs, strict=True):
        builder.op("Add", running * share, fresh * (1 - share), named=output, typed=running.type)


def _in_training(node: Node) -> bool:
    return node.op == "BatchNormalization" and bool(node.attributes.get("training_mode", 0))


def _frozen(node: Node) -> Node:
    if not _in_training(node):
        return node
    attributes = {k: v for k, v in node.attributes.items() if k != "training_mode"}
    return dataclasses.replace(node, outputs=node.outputs[:1], attributes=attributes)


def _none_in_training(graph: Graph) -> bool:
    return not any(map(_in_training, graph.nodes))


_NONE_LEFT = (("no BatchNormalization is in training form", _none_in_training),)

TRAIN_BATCH_NORM = Pass("train batch norm", train_batch_norm)
FREEZE_BATCH_NORM = Pass("freeze batch norm", freeze_batch_norm, ensures=_NONE_LEFT)
LOWER_BATCH_NORM = Pass("lower batch norm", lower_batch_norm, ensures=_NONE_LEFT)
