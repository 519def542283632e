"""Rules for functions of one real variable: exponentials, logarithms, roots, trigonometry."""

import math
from collections.abc import Callable

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Gradient, Rule

Slope = Callable[[Value, Value], Value]
"""From x and y = f(x), the derivative f'(x)."""


def by(slope: Slope) -> Rule:
    """The rule of a function with that derivative: dy f'(x)."""

    def gradient(call: Call) -> tuple[Value]:
        return (call.dy * slope(call.x(0), call.y()),)

    return Rule(gradient)


def over(slope: Slope) -> Rule:
    """As `by`, for a derivative whose reciprocal is simpler: dy / (1 / f'(x))."""

    def gradient(call: Call) -> tuple[Value]:
        return (call.dy / slope(call.x(0), call.y()),)

    return Rule(gradient)


def apply(kind: str, x: Value) -> Value:
    """One operator of one input."""
    return x.builder.op(kind, x)


def _root_of(x: Value) -> Value:
    return apply("Sqrt", x)


def _nowhere(_: Call) -> tuple[None]:
    """Steps are flat wherever they have a slope: nothing passes."""
    return (None,)


STEP: Gradient = _nowhere

RULES = {
    "Exp": by(lambda _, y: y),
    "Log": over(lambda x, _: x),
    "Sqrt": over(lambda _, y: y * 2.0),
    "Reciprocal": by(lambda _, y: -(y * y)),
    "Abs": by(lambda x, _: apply("Sign", x)),
    "Erf": by(lambda x, _: apply("Exp", -(x * x)) * (2 / math.sqrt(math.pi))),
    "Sin": by(lambda x, _: apply("Cos", x)),
    "Cos": by(lambda x, _: -apply("Sin", x)),
    "Tan": by(lambda _, y: y * y + 1.0),
    "Asin": over(lambda x, _: _root_of(1.0 - x * x)),
    "Acos": over(lambda x, _: -_root_of(1.0 - x * x)),
    "Atan": over(lambda x, _: x * x + 1.0),
    "Sinh": by(lambda x, _: apply("Cosh", x)),
    "Cosh": by(lambda x, _: apply("Sinh", x)),
    "Asinh": over(lambda x, _: _root_of(x * x + 1.0)),
    "Acosh": over(lambda x, _: _root_of(x * x - 1.0)),
    "Atanh": over(lambda x, _: 1.0 - x * x),
    "Sign": Rule(STEP),
    "Floor": Rule(STEP),
    "Ceil": Rule(STEP),
    "Round": Rule(STEP),
}
