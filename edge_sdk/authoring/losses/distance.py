"""Distances between an output and a target of its shape."""

import math

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.losses.kind import Loss, Measured, spec_of
from edge_sdk.errors import Misuse


def mean_squared_error() -> Loss:
    """Mean of the squared difference over all elements."""

    def measure(output: Value, target: Value) -> Measured:
        difference, count = output - target, _elements(output)
        return Measured((difference * difference).sum() / count, difference / (count * 0.5))

    return Loss(name="mse", measure=measure)


def mean_absolute_error() -> Loss:
    """Mean of the absolute difference over all elements; flat where it is 0."""

    def measure(output: Value, target: Value) -> Measured:
        difference, count = output - target, _elements(output)
        distance, side = (output.builder.op(kind, difference) for kind in ("Abs", "Sign"))
        return Measured(distance.sum() / count, side / count)

    return Loss(name="l1", measure=measure)


def huber(*, delta: float = 1.0) -> Loss:
    """Mean over all elements of d^2 / 2 up to |d| = delta, and delta (|d| - delta / 2) beyond.

    Raises:
        Misuse: `delta` is not above 0.
    """
    if not 0 < delta < math.inf:
        raise Misuse(f"delta {delta}; it must be above 0")

    def measure(output: Value, target: Value) -> Measured:
        builder, difference, count = output.builder, output - target, _elements(output)
        bounds = (builder.constant(np.array(n, output.type.dtype)) for n in (-delta, delta))
        cut = builder.op("Clip", difference, *bounds)
        return Measured((cut * (difference - cut * 0.5)).sum() / count, cut / count)

    return Loss(name=spec_of("huber", {"delta": delta if delta != 1 else None}), measure=measure)


def _elements(output: Value) -> Value:
    return output.builder.op("Size", output).cast(output.type.dtype)
