"""Runs nodes and models in numpy: the onnx library's reference with own convolutions and pools.

Slow and exact: for folding constants, and for checking gradients in float64.
"""

from collections.abc import Mapping

import numpy as np
from onnx import reference

from edge_sdk.authoring import (
    evaluation_norms,
    evaluation_ops,
    evaluation_pieces,
    evaluation_recurrent,
    evaluation_resize,
    evaluation_scalars,
)
from edge_sdk.authoring.graph import OPSET, Array, Node
from edge_sdk.authoring.onnx_form import to_node

_OPERATORS = [
    *evaluation_ops.OPERATORS,
    *evaluation_pieces.OPERATORS,
    *evaluation_recurrent.OPERATORS,
    *evaluation_resize.OPERATORS,
    *evaluation_scalars.OPERATORS,
    *evaluation_norms.OPERATORS,
]


def run_node(node: Node, inputs: Mapping[str, Array]) -> list[Array]:
    """Outputs of one node, in its order."""
    evaluator = reference.ReferenceEvaluator(to_node(node), opsets={"": OPSET}, new_ops=_OPERATORS)
    feeds = {name: inputs[name] for name in node.inputs if name}
    with np.errstate(all="ignore"):  # as runtimes do
        return [np.asarray(output) for output in evaluator.run(None, feeds)]


def run_model(model: bytes, feeds: Mapping[str, Array]) -> list[Array]:
    """Outputs of a model, in its order."""
    evaluator = reference.ReferenceEvaluator(model, new_ops=_OPERATORS)
    with np.errstate(all="ignore"):  # as runtimes do
        outputs = evaluator.run(None, dict(feeds))
    return [np.asarray(output) for output in outputs]
