"""Rules for normalised exponentials."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def softmax(call: Call) -> Cotangents:
    """Gradient is y (dy - sum(dy y))."""
    axis = call.integer("axis", -1)
    weighted = call.dy * call.y()
    return (weighted - call.y() * weighted.sum(axis, keepdims=True),)


def log_softmax(call: Call) -> Cotangents:
    """Gradient is dy - exp(y) sum(dy)."""
    axis = call.integer("axis", -1)
    share = call.builder.op("Exp", call.y())
    return (call.dy - share * call.dy.sum(axis, keepdims=True),)


RULES = {"Softmax": Rule(softmax), "LogSoftmax": Rule(log_softmax)}
