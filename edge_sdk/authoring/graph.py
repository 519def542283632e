"""A computation graph as plain frozen data; every pass is a function from one to another.

Values are named and written once (SSA); nodes stand in an order in which they can run. Only
standard operators of `OPSET` occur. The batch axis is the symbol `conventions.BATCH_AXIS`.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

OPSET = 20
"""Operator set of every graph in this room and in plans; onnxruntime 1.17 and later runs it."""

Array = NDArray[np.generic]
Dimension = int | str | None
"""A size, a symbol for a size known at run time, or None where inference could not tell."""
Attribute = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Array


@dataclasses.dataclass(frozen=True, slots=True)
class Type:
    """Element type and shape of a value."""

    dtype: np.dtype[np.generic]
    shape: tuple[Dimension, ...] | None
    """None where not even the number of axes is known."""

    @property
    def is_float(self) -> bool:
        """Whether gradients can flow through such a value."""
        return self.dtype.kind == "f"

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ", ".join(str(d) for d in self.shape)
        return f"{self.dtype}[{dims}]"


@dataclasses.dataclass(frozen=True, slots=True)
class Node:
    """One operator call. An input or output that is left out has the empty name."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Attribute] = dataclasses.field(default_factory=dict)
    name: str = ""

    def __str__(self) -> str:
        label = self.name or (self.outputs[0] if self.outputs else "")
        return f"node {label!r} ({self.op})"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Inputs, weights, constants, nodes and outputs, with the type of every value."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    types: Mapping[str, Type]
    parameters: Mapping[str, Array] = dataclasses.field(default_factory=dict)
    """Initial values of what may be trained, in layout order. Never folded into constants."""
    constants: Mapping[str, Array] = dataclasses.field(default_factory=dict)

    def producers(self) -> dict[str, Node]:
        """The node that writes each value."""
        return {output: node for node in self.nodes for output in node.outputs if output}


def depending_on(
    nodes: Iterable[Node], roots: Iterable[str], *, through: Mapping[str, Type]
) -> set[str]:
    """Values that a change of `roots` can change smoothly: reached through float values only."""
    reached = set(roots)
    for node in nodes:
        if reached.intersection(node.inputs):
            reached.update(o for o in node.outputs if o and through[o].is_float)
    return reached


def needed_for(nodes: Iterable[Node], outputs: Iterable[str]) -> tuple[Node, ...]:
    """The nodes, in order, without which `outputs` cannot be computed."""
    wanted = set(outputs)
    kept: list[Node] = []
    for node in reversed(tuple(nodes)):
        if wanted.intersection(node.outputs):
            wanted.update(name for name in node.inputs if name)
            kept.append(node)
    return tuple(reversed(kept))
