"""Rules for operators that move elements without changing them."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def reshape(call: Call) -> Cotangents:
    """Back to the input's axes."""
    return call.dy.reshape_like(call.x(0)), None


def transpose(call: Call) -> Cotangents:
    """The inverse order of axes; without `perm` the operator reverses them."""
    rank = call.x(0).rank
    order = call.integers("perm") or tuple(reversed(range(rank)))
    return (call.dy.transpose(*sorted(range(rank), key=order.__getitem__)),)


RULES = {
    "Reshape": Rule(reshape),
    "Flatten": Rule(reshape),
    "Squeeze": Rule(reshape),
    "Unsqueeze": Rule(reshape),
    "Transpose": Rule(transpose),
}
