"""Clean-up: what nobody reads goes, what is computed twice is computed once."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from edge_sdk.authoring.graph import Attribute, Graph, Node, needed_for
from edge_sdk.authoring.passes.kind import Pass

RANDOM = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
     "RandomUniformLike"}
)  # fmt: skip
"""Operators whose equal calls differ: never folded, never merged."""


def remove_unused(graph: Graph) -> Graph:
    """Drop nodes, constants and types no output needs. Inputs and parameters stay."""
    nodes = needed_for(graph.nodes, graph.outputs)
    read = {name for node in nodes for name in node.inputs} | set(graph.outputs)
    constants = {name: array for name, array in graph.constants.items() if name in read}
    named = {name for node in nodes for name in node.outputs}
    named.update(graph.inputs, graph.parameters, constants)
    types = {name: kind for name, kind in graph.types.items() if name in named}
    return dataclasses.replace(graph, nodes=nodes, constants=constants, types=types)


def remove_identities(graph: Graph) -> Graph:
    """Drop Identity, and Cast to the type that is already there.

    One that gives an output of the graph goes too where it can hand its name to what it copies.
    """
    other_name: dict[str, str] = {}
    made = {name for node in graph.nodes for name in node.outputs}
    kept: list[Node] = []
    for node in graph.nodes:
        source = other_name.get(node.inputs[0], node.inputs[0]) if node.inputs else ""
        if not _copies(node, graph):
            kept.append(node)
        elif node.outputs[0] not in graph.outputs:
            other_name[node.outputs[0]] = source
        elif source in made and source not in {*graph.outputs, *other_name}:
            other_name[source] = node.outputs[0]
        else:
            kept.append(node)

    def new(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_followed(name, other_name) for name in names)

    nodes = tuple(
        dataclasses.replace(node, inputs=new(node.inputs), outputs=new(node.outputs))
        for node in kept
    )
    return dataclasses.replace(graph, nodes=nodes)


def _followed(name: str, other_name: Mapping[str, str]) -> str:
    while name in other_name:
        name = other_name[name]
    return name


def _copies(node: Node, graph: Graph) -> bool:
    if node.op == "Cast":
        return graph.types[node.inputs[0]].dtype == graph.types[node.outputs[0]].dtype
    return node.op == "Identity"


def merge_equal_nodes(graph: Graph) -> Graph:
    """Compute equal calls once, hold equal constants once. Outputs keep their names."""
    seen: dict[object, Node] = {}
    first_of: dict[str, str] = {}
    other_name: dict[str, str] = {}
    for name, array in graph.constants.items():
        other_name[name] = first_of.setdefault(_hashable(array), name)
    kept: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(other_name.get(name, name) for name in node.inputs)
        renamed = dataclasses.replace(node, inputs=inputs)
        first = seen.setdefault(_key(renamed), renamed)
        named = any(name in graph.outputs for name in node.outputs)
        if first is renamed or named or node.op in RANDOM:
            kept.append(renamed)
        else:
            other_name |= dict(zip(node.outputs, first.outputs, strict=True))
    return dataclasses.replace(graph, nodes=tuple(kept))


def _key(node: Node) -> object:
    attributes = sorted((name, _hashable(value)) for name, value in node.attributes.items())
    return node.op, node.inputs, tuple(bool(name) for name in node.outputs), tuple(attributes)


def _hashable(value: Attribute) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}{value.tobytes().hex()}"
    return repr(value)


def _none_twice(graph: Graph) -> bool:
    seen: set[object] = set()
    for node in graph.nodes:
        if node.op in RANDOM or not set(graph.outputs).isdisjoint(node.outputs):
            continue
        key = _key(node)
        if key in seen:
            return False
        seen.add(key)
    return True


def _all_read(graph: Graph) -> bool:
    return needed_for(graph.nodes, graph.outputs) == graph.nodes


REMOVE_UNUSED = Pass(
    "remove unused", remove_unused, ensures=(("every node leads to an output", _all_read),)
)
REMOVE_IDENTITIES = Pass("remove identities", remove_identities)
MERGE_EQUAL_NODES = Pass(
    "merge equal nodes",
    merge_equal_nodes,
    ensures=(("no two nodes compute the same, save random ones and outputs", _none_twice),),
)
