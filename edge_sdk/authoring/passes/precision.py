"""The same computation in float64, for checking gradients."""

import dataclasses

import numpy as np

from edge_sdk.authoring.graph import Array, Attribute, Graph, Node, Type
from edge_sdk.authoring.onnx_form import element_type
from edge_sdk.authoring.passes.kind import Pass

_SINGLE, _DOUBLE = np.dtype(np.float32), np.dtype(np.float64)


def to_float64(graph: Graph) -> Graph:
    """Every float32 value, weight, constant and conversion becomes float64."""
    return dataclasses.replace(
        graph,
        nodes=tuple(_node(node) for node in graph.nodes),
        types={
            name: Type(_DOUBLE if kind.dtype == _SINGLE else kind.dtype, kind.shape)
            for name, kind in graph.types.items()
        },
        parameters={name: _array(a) for name, a in graph.parameters.items()},
        constants={name: _array(a) for name, a in graph.constants.items()},
    )


def _array(array: Array) -> Array:
    return array.astype(_DOUBLE) if array.dtype == _SINGLE else array


def _node(node: Node) -> Node:
    """Tensors in attributes, and the element types that `Cast` and its like name by number."""
    attributes: dict[str, Attribute] = {}
    for key, value in node.attributes.items():
        if isinstance(value, np.ndarray):
            attributes[key] = _array(value)
        elif key in ("to", "dtype") and value == element_type(_SINGLE):
            attributes[key] = element_type(_DOUBLE)
        else:
            attributes[key] = value
    if node.op == "ConstantOfShape":
        attributes.setdefault("value", np.zeros(1, _DOUBLE))  # left out it is a float32 zero
    return dataclasses.replace(node, attributes=attributes)


def _no_single(graph: Graph) -> bool:
    return all(kind.dtype != _SINGLE for kind in graph.types.values())


TO_FLOAT64 = Pass("to float64", to_float64, ensures=(("no float32 value is left", _no_single),))
