"""Rules for operators that act on each element, with broadcasting (which the walk undoes)."""

from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def add(call: Call) -> Cotangents:
    """Gradients of a + b."""
    return call.dy, call.dy


def subtract(call: Call) -> Cotangents:
    """Gradients of a - b."""
    return call.dy, -call.dy if call.wants(1) else None


def multiply(call: Call) -> Cotangents:
    """Gradients of a b."""
    return (
        call.dy * call.x(1) if call.wants(0) else None,
        call.dy * call.x(0) if call.wants(1) else None,
    )


def divide(call: Call) -> Cotangents:
    """Gradients of y = a / b: dy / b and -dy y / b."""
    by_a = call.dy / call.x(1)
    return by_a, -(by_a * call.y()) if call.wants(1) else None


def negate(call: Call) -> Cotangents:
    """Gradient of -x."""
    return (-call.dy,)


def relu(call: Call) -> Cotangents:
    """Gradient is dy where y > 0, and 0 at the kink.

    Greater, Cast, Mul: on onnxruntime's CPU a quarter faster than Greater, Where and half the
    time of Sign, Mul (measured on 32x16x28x28).
    """
    y = call.y()
    zero = call.builder.constant(np.zeros((), y.type.dtype))
    return (call.dy * call.builder.op("Greater", y, zero).cast(y.type.dtype),)


def sigmoid(call: Call) -> Cotangents:
    """Gradient is dy y (1 - y)."""
    return (call.dy * (call.y() * (1.0 - call.y())),)


def tanh(call: Call) -> Cotangents:
    """Gradient is dy (1 - y^2)."""
    return (call.dy * (1.0 - call.y() * call.y()),)


def cast(call: Call) -> Cotangents:
    """Back to the input's element type."""
    return (call.dy.cast(call.x(0).type.dtype),)


def identity(call: Call) -> Cotangents:
    """Unchanged."""
    return (call.dy,)


RULES = {
    "Add": Rule(add),
    "Sub": Rule(subtract),
    "Mul": Rule(multiply),
    "Div": Rule(divide),
    "Neg": Rule(negate),
    "Relu": Rule(relu),
    "Sigmoid": Rule(sigmoid),
    "Tanh": Rule(tanh),
    "Cast": Rule(cast),
    "Identity": Rule(identity),
}
