"""Compute now what does not depend on the input or on parameters."""

import dataclasses

import numpy as np

from edge_sdk.authoring.evaluation import run_node
from edge_sdk.authoring.graph import Array, Graph, Node, Type
from edge_sdk.authoring.passes.kind import Pass
from edge_sdk.authoring.passes.tidy import RANDOM
from edge_sdk.errors import Unsupported

LARGEST_FOLDED = 1 << 24
"""Elements; larger results stay computed, or a small file could ask for any memory."""


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes of constant inputs, and `Shape` of known shapes, by constants."""
    constants = dict(graph.constants)
    types = dict(graph.types)
    kept: list[Node] = []
    for node in graph.nodes:
        outputs = _folded(node, constants, graph)
        if outputs is None:
            kept.append(node)
            continue
        for name, array in zip(node.outputs, outputs, strict=False):
            if name:
                constants[name] = array
                types[name] = Type(array.dtype, array.shape)
    return dataclasses.replace(graph, nodes=tuple(kept), constants=constants, types=types)


def _folded(node: Node, constants: dict[str, Array], graph: Graph) -> list[Array] | None:
    """Outputs of a node that can be computed now; None where it cannot or should not be."""
    known = _static_shape(graph, node.inputs[0]) if node.op == "Shape" else None
    if known is not None:
        return run_node(
            Node("Shape", ("x",), ("y",), node.attributes), {"x": np.broadcast_to(0.0, known)}
        )
    if node.op in RANDOM or not node.inputs or not all(n in constants for n in node.inputs if n):
        return None
    for name in node.outputs:
        shape = _static_shape(graph, name) if name else ()
        if shape is None or np.prod(shape, dtype=np.float64) > LARGEST_FOLDED:
            return None
    try:
        return run_node(node, constants)
    except Exception as error:  # the reference implementation raises whatever numpy does
        raise Unsupported(f"{node}: cannot be computed from its constants: {error}") from error


def _static_shape(graph: Graph, name: str) -> tuple[int, ...] | None:
    shape = graph.types[name].shape
    if shape is None:
        return None
    sizes = tuple(size for size in shape if isinstance(size, int))
    return sizes if len(sizes) == len(shape) else None


FOLD_CONSTANTS = Pass("fold constants", fold_constants)
