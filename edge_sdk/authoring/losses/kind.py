"""What a loss is, and pieces that several are made of."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.graph import Node, Type

INTEGER = np.dtype(np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What a loss makes of one batch."""

    loss: Value
    """0-d, mean over the batch."""
    cotangent: Value
    """Of the value that `Loss.seat` names."""
    correct: Value | None = None
    """int64, 0-d: how many were right; None where nothing is counted."""
    counted: Value | None = None
    """int64, 0-d: of how many; None where that is the number of examples."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """One way to measure."""

    name: str
    """Name and settings, as the manifest shows them."""
    seat: Callable[[Value], Value] = lambda output: output
    """From the model's output, the value the loss reads."""
    target: Callable[[Value], Type] = lambda output: output.type
    """From that value, the type of the target, batch axis first."""
    measure: Callable[[Value, Value], Measured]
    """From that value and the target."""
    classes: Callable[[Value], int | None] = lambda _: None
    """Number of classes that targets may name; None where they name none, or others as well."""


def spec_of(name: str, settings: Mapping[str, object]) -> str:
    """Name and settings; those that are None, False or 0.0 are left out, True is named only."""
    shown = [
        key if value is True else f"{key}={value}"
        for key, value in settings.items()
        if value is not None
        and value is not False
        and not (value == 0 and isinstance(value, float))
    ]
    return f"{name}:{','.join(shown)}" if shown else name


def maker_of(output: Value, kind: str) -> Node | None:
    """The node that writes `output`, where it is of that kind."""
    nodes = (node for node in output.builder.nodes if output.name in node.outputs)
    return next((node for node in nodes if node.op == kind), None)


def before_sigmoid(output: Value) -> Value:
    """The score in front of a final Sigmoid, or the output itself."""
    maker = maker_of(output, "Sigmoid")
    return output.builder.value(maker.inputs[0]) if maker else output


def one_hot(target: Value, axis: int, count: int, dtype: np.dtype[np.generic]) -> Value:
    """Class numbers as 1 at their class along a new axis, else 0."""
    builder, rank = target.builder, target.rank + 1
    numbers = np.arange(count, dtype=np.int64)
    shape = [count if a == axis else 1 for a in range(rank)]
    column = builder.op("Unsqueeze", target, builder.ints([axis]))
    return builder.op("Equal", column, builder.constant(numbers.reshape(shape))).cast(dtype)


def not_zero(total: Value) -> Value:
    """The divisor of a mean, 1 where nothing is counted."""
    builder, dtype = total.builder, total.type.dtype
    one, zero = (builder.constant(np.array(n, dtype)) for n in (1, 0))
    return builder.op("Where", builder.op("Equal", total, zero), one, total)
