"""How much a graph computes: multiply-adds for one example, node by node."""

import math
from collections.abc import Callable, Iterable, Mapping

from edge_sdk.authoring.graph import Node, Type

Types = Mapping[str, Type]


def compute_of(nodes: Iterable[Node], types: Types) -> int:
    """Multiply-adds of `nodes` for one example, open sizes counted as 1.

    Matrix products and convolutions are counted exactly, recurrent layers by their matrices;
    anything else as one operation for each element it writes.
    """
    return sum(_compute(node, types) for node in nodes)


def kept_of(nodes: Iterable[Node], types: Types) -> int:
    """Elements that `nodes` write for one example, open sizes counted as 1.

    An upper estimate of what a backward pass needs of them.
    """
    return sum(elements_of(types[name]) for node in nodes for name in node.outputs if name in types)


def elements_of(kind: Type) -> int:
    """Elements of a value for one example, open sizes counted as 1."""
    return math.prod(_sizes(kind))


def _compute(node: Node, types: Types) -> int:
    count = _PRODUCTS.get(node.op)
    if count is not None:
        return count(node, types)
    return sum(elements_of(types[name]) for name in node.outputs if name)


def _sizes(kind: Type) -> list[int]:
    return [size if isinstance(size, int) else 1 for size in kind.shape or ()]


def _conv(node: Node, types: Types) -> int:
    """Each output element sums over one filter."""
    return elements_of(types[node.outputs[0]]) * math.prod(_sizes(types[node.inputs[1]])[1:])


def _conv_transpose(node: Node, types: Types) -> int:
    """Each input element spreads over one filter."""
    return elements_of(types[node.inputs[0]]) * math.prod(_sizes(types[node.inputs[1]])[1:])


def _product(node: Node, types: Types) -> int:
    inner = _sizes(types[node.inputs[0]])[0 if node.attributes.get("transA") else -1 :][:1]
    return elements_of(types[node.outputs[0]]) * math.prod(inner)


def _einsum(node: Node, types: Types) -> int:
    """All letters together span the loop."""
    equation = str(node.attributes.get("equation", "")).replace(" ", "").split("->")[0]
    sizes: dict[str, int] = {}
    for term, name in zip(equation.split(","), node.inputs, strict=False):
        sizes |= dict(zip(term, _sizes(types[name]), strict=False))
    return math.prod(sizes.values())


def _recurrent(node: Node, types: Types) -> int:
    steps = _sizes(types[node.inputs[0]])[0]
    return steps * sum(elements_of(types[name]) for name in node.inputs[1:3])


_PRODUCTS: Mapping[str, Callable[[Node, Types], int]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "MatMul": _product,
    "Gemm": _product,
    "Einsum": _einsum,
    "LSTM": _recurrent,
    "GRU": _recurrent,
    "RNN": _recurrent,
}
