"""Runs nodes and models in numpy by the onnx library's reference implementation.

Slow and exact: for folding constants, and for checking gradients in float64.
"""

from collections.abc import Mapping

import numpy as np
from onnx import reference

from edge_sdk.authoring.graph import OPSET, Array, Node
from edge_sdk.authoring.onnx_form import to_node


def run_node(node: Node, inputs: Mapping[str, Array]) -> list[Array]:
    """Outputs of one node, in its order."""
    evaluator = reference.ReferenceEvaluator(to_node(node), opsets={"": OPSET})
    feeds = {name: inputs[name] for name in node.inputs if name}
    return [np.asarray(output) for output in evaluator.run(None, feeds)]


def run_model(model: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs of a model, in its order."""
    outputs = reference.ReferenceEvaluator(model).run(None, dict(feeds))
    return [np.asarray(output) for output in outputs]
