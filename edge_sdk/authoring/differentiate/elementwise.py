"""Rules for arithmetic and choice on each element, with broadcasting (which the walk undoes)."""

from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def add(call: Call) -> Cotangents:
    """Gradients of a + b + ..."""
    return [call.dy] * len(call.node.inputs)


def mean(call: Call) -> Cotangents:
    """Gradients of (a + b + ...) / n."""
    count = len(call.node.inputs)
    return [call.dy * (1 / count)] * count


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


def power(call: Call) -> Cotangents:
    """Gradients of y = a^b: dy b a^(b - 1), and dy y log a where a > 0 (0 elsewhere)."""
    return (
        call.dy * _slope_of_power(call) if call.wants(0) else None,
        call.dy * _slope_of_exponent(call) if call.wants(1) else None,
    )


def _slope_of_power(call: Call) -> Value:
    """The slope b a^(b - 1); 0 where b is 0, also for a = 0."""
    a, b = call.x(0), call.x(1)
    known = b.constant
    if known is not None and known.size == 1:
        if known.item() == 2:
            return a * 2.0
        if known.item() == 3:
            return a * a * 3.0
    exponent = b.cast(a.type.dtype)
    zero = call.builder.constant(np.zeros((), a.type.dtype))
    slope = call.builder.op("Pow", a, exponent - 1.0) * exponent
    if known is not None and (known != 0).all():
        return slope
    return call.builder.op("Where", call.builder.op("Equal", exponent, zero), zero, slope)


def _slope_of_exponent(call: Call) -> Value:
    a = call.x(0)
    zero, one = (call.builder.constant(np.array(n, a.type.dtype)) for n in (0, 1))
    positive = call.builder.op("Greater", a, zero)
    log = call.builder.op("Log", call.builder.op("Where", positive, a, one))
    return call.y() * log


def clip(call: Call) -> Cotangents:
    """Gradient is dy where the bounds changed nothing, the bounds themselves included."""
    kept = call.builder.op("Equal", call.x(0), call.y())
    return (call.dy * kept.cast(call.dy.type.dtype),)


def where(call: Call) -> Cotangents:
    """To the side that was taken."""
    zero = call.builder.constant(np.zeros((), call.dy.type.dtype))
    return (
        None,
        call.builder.op("Where", call.x(0), call.dy, zero) if call.wants(1) else None,
        call.builder.op("Where", call.x(0), zero, call.dy) if call.wants(2) else None,
    )


def extremum(call: Call) -> Cotangents:
    """Of Max and Min: to the inputs that equal the result, in equal shares."""
    dtype, y = call.dy.type.dtype, call.y()
    count = len(call.node.inputs)
    reached = [call.builder.op("Equal", call.x(i), y).cast(dtype) for i in range(count)]
    if count == 1:
        return (call.dy,)
    share = call.dy / call.builder.op("Sum", *reached)
    return [share * mask if call.wants(i) else None for i, mask in enumerate(reached)]


def cast(call: Call) -> Cotangents:
    """Back to the input's element type."""
    return (call.dy.cast(call.x(0).type.dtype),)


def identity(call: Call) -> Cotangents:
    """Unchanged."""
    return (call.dy,)


RULES = {
    "Add": Rule(add),
    "Sum": Rule(add),
    "Mean": Rule(mean),
    "Sub": Rule(subtract),
    "Mul": Rule(multiply),
    "Div": Rule(divide),
    "Neg": Rule(negate),
    "Pow": Rule(power),
    "Clip": Rule(clip, fixed=frozenset({1, 2})),
    "Where": Rule(where),
    "Max": Rule(extremum),
    "Min": Rule(extremum),
    "Cast": Rule(cast),
    "Identity": Rule(identity),
}
