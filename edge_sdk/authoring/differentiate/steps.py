"""Rows of all steps of a sequence, and the pieces of single steps and gates."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value


def split_steps(value: Value, count: int) -> tuple[Value, ...]:
    """The rows of each step; every step has as many."""
    return (value,) if count == 1 else tuple(value.builder.split_evenly(value, 0, count))


def split_columns(value: Value, gates: int, *, first: int = 1) -> list[Value]:
    """The columns of each gate; with `first` above 1, that many gates together and the rest."""
    columns = value.shape[1]
    assert isinstance(columns, int)  # noqa: S101 - the weights say it
    each = columns // gates
    if first > 1:
        return value.builder.split(value, 1, [first * each, columns - first * each])
    return value.builder.split(value, 1, [each] * gates)


def joined(values: Sequence[Value], axis: int) -> Value:
    """Concat; itself where there is one."""
    if len(values) == 1:
        return values[0]
    return values[0].builder.op("Concat", *values, axis=axis)


def plus(a: Value | None, b: Value | None) -> Value | None:
    """Sum of what there is."""
    if a is None or b is None:
        return b if a is None else a
    return a + b


def product_over_rows(a: Value, b: Value) -> Value:
    """As a' b: the sum over rows of outer products."""
    return a.builder.op("Gemm", a, b, transA=1)


def sigmoid(value: Value) -> Value:
    """Elementwise."""
    return value.builder.op("Sigmoid", value)


def tanh(value: Value) -> Value:
    """Elementwise."""
    return value.builder.op("Tanh", value)
