"""Dropout that is on in training and gone in evaluation, its mask a function of a seed.

Runtimes draw their own random numbers, which differ between runtimes and go on from call to call.
`LOWER_DROPOUT` writes the mask out in whole-number arithmetic instead: a hash of the element's
position, the node and the graph input `seed`. Equal seeds give equal masks on any machine.
"""

import dataclasses

import numpy as np

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate.normalise import dropped_share, is_dropping
from edge_sdk.authoring.graph import Graph, Node, Type
from edge_sdk.authoring.passes.kind import Pass
from edge_sdk.plan.conventions import SEED

_BITS = 32
_MASK = (1 << _BITS) - 1
_ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97))
"""Shift and multiplier of each round. Below 2**31, so that products of 32 bits stay in int64."""
_LAST_SHIFT = 15
_STRIDE = 0x9E3779B1
"""Between the numbers of one node's mask and the next node's: 2**32 / golden ratio."""


def train_dropout(graph: Graph) -> Graph:
    """Every Dropout drops, whether or not the exporter had it switched on."""
    builder = Builder(graph)
    builder.nodes = []
    for node in graph.nodes:
        if node.op == "Dropout":
            inputs = (*node.inputs, "")[:2]
            on = builder.constant(np.array(True))
            builder.nodes.append(dataclasses.replace(node, inputs=(*inputs, on.name)))
        else:
            builder.nodes.append(node)
    return dataclasses.replace(
        graph, nodes=tuple(builder.nodes), types=builder.types, constants=builder.constants
    )


def without_dropout(graph: Graph) -> Graph:
    """Every Dropout passes its input on."""
    nodes = (
        dataclasses.replace(
            node, op="Identity", inputs=node.inputs[:1], outputs=node.outputs[:1], attributes={}
        )
        if node.op == "Dropout"
        else node
        for node in graph.nodes
    )
    return dataclasses.replace(graph, nodes=tuple(nodes))


def lower_dropout(graph: Graph) -> Graph:
    """Masks by hashing; the graph gets the input `seed` if any Dropout drops."""
    builder = Builder(graph)
    builder.nodes = []
    seed: Value | None = None
    number = 0
    for node in graph.nodes:
        if node.op != "Dropout":
            builder.nodes.append(node)
        elif not is_dropping(builder, node):
            builder.op("Identity", builder.value(node.inputs[0]), named=node.outputs[0])
        else:
            if seed is None:
                seed = builder.input(SEED, Type(np.dtype(np.int64), ()))
            number += 1
            _lower(builder, node, seed, number)
    if seed is None:
        return graph
    return dataclasses.replace(
        graph,
        inputs=(*graph.inputs, SEED),
        nodes=tuple(builder.nodes),
        types=builder.types,
        constants=builder.constants,
    )


def _lower(builder: Builder, node: Node, seed: Value, number: int) -> None:
    x = builder.value(node.inputs[0])
    share = dropped_share(builder, node)
    length = builder.op("Size", x)
    bounds = (builder.constant(np.array(n, np.int64)) for n in (0, 1))
    first, step = bounds
    count = builder.op("Range", first, length, step, typed=Type(np.dtype(np.int64), (None,)))
    start = _hashed(_low(seed + (number * _STRIDE & _MASK)))
    drawn = _hashed(_low(count + start))
    bound = builder.constant(np.array(round(share * (1 << _BITS)), np.int64))
    flat = builder.op("GreaterOrEqual", drawn, bound)
    kept = Type(np.dtype(np.bool_), x.shape)
    named = node.outputs[1] if len(node.outputs) > 1 else ""
    mask = builder.op("Reshape", flat, builder.op("Shape", x), named=named, typed=kept)
    grown = mask.cast(x.type.dtype) * (1 / (1 - share))
    builder.op("Mul", x, grown, named=node.outputs[0], typed=x.type)


def _hashed(value: Value) -> Value:
    """An integer hash of 32 bits by xor-shift and multiplication, after Mueller and Wellons."""
    for shift, multiplier in _ROUNDS:
        value = _low(_folded(value, shift) * multiplier)
    return _folded(value, _LAST_SHIFT)


def _folded(value: Value, shift: int) -> Value:
    """Of the value and its high bits moved down, the exclusive or."""
    builder = value.builder
    unsigned = value.cast(np.dtype(np.uint64))
    by = builder.constant(np.array(shift, np.uint64))
    moved = builder.op("BitShift", unsigned, by, direction="RIGHT").cast(np.dtype(np.int64))
    return builder.op("BitwiseXor", value, moved)


def _low(value: Value) -> Value:
    """The low 32 bits."""
    builder = value.builder
    return builder.op("BitwiseAnd", value, builder.constant(np.array(_MASK, np.int64)))


def _none_left(graph: Graph) -> bool:
    return not any(node.op == "Dropout" for node in graph.nodes)


_NONE_LEFT = (("no Dropout is left", _none_left),)

TRAIN_DROPOUT = Pass("train dropout", train_dropout)
WITHOUT_DROPOUT = Pass("without dropout", without_dropout, ensures=_NONE_LEFT)
LOWER_DROPOUT = Pass("lower dropout", lower_dropout, ensures=_NONE_LEFT)
