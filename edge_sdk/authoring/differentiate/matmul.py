"""Rules for matrix products."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def gemm(call: Call) -> Cotangents:
    """Y = alpha A' B' + beta C, where ' transposes or not as the flags say.

    Each product's gradient is one Gemm again, its flags exchanged: no transpose is materialised.
    """
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    trans_a, trans_b = call.integer("transA", 0), call.integer("transB", 0)
    a, b, dy = call.x(0), call.x(1), call.dy
    da = db = dc = None
    if call.wants(0):
        da = _gemm(b, dy, trans_b, 1, alpha) if trans_a else _gemm(dy, b, 0, 1 - trans_b, alpha)
    if call.wants(1):
        db = _gemm(dy, a, 1, trans_a, alpha) if trans_b else _gemm(a, dy, 1 - trans_a, 0, alpha)
    if call.wants(2):
        dc = dy * beta
    return da, db, dc


def _gemm(a: Value, b: Value, trans_a: int, trans_b: int, alpha: float) -> Value:
    return a.builder.op("Gemm", a, b, transA=trans_a, transB=trans_b, alpha=float(alpha))


def matmul(call: Call) -> Cotangents:
    """Y = A B over the last two axes; axes before them broadcast, one-axis operands are vectors."""
    a, b, dy = call.x(0), call.x(1), call.dy
    if b.rank == 2 and a.rank > 2:
        return _matmul_by_matrix(call)
    row, column = _as_row(a), _as_column(b)
    if b.rank == 1:
        dy = _unsqueeze(dy, dy.rank)
    if a.rank == 1:
        dy = _unsqueeze(dy, dy.rank - 1)
    da = dy @ _swapped(column) if call.wants(0) else None
    db = _swapped(row) @ dy if call.wants(1) else None
    if da is not None and a.rank == 1:
        da = _squeeze(da, da.rank - 2)
    if db is not None and b.rank == 1:
        db = _squeeze(db, db.rank - 1)
    return da, db


def _matmul_by_matrix(call: Call) -> Cotangents:
    """A stack of rows times one matrix: the weight's gradient is one product over all rows."""
    a, b, dy = call.x(0), call.x(1), call.dy
    da = dy @ _swapped(b) if call.wants(0) else None
    if not call.wants(1):
        return da, None
    rows = a.reshape(-1, call.fixed(a, -1))
    return da, _gemm(rows, dy.reshape(-1, call.fixed(b, 1)), 1, 0, 1.0)


def _as_row(a: Value) -> Value:
    return _unsqueeze(a, 0) if a.rank == 1 else a


def _as_column(b: Value) -> Value:
    return _unsqueeze(b, 1) if b.rank == 1 else b


def _swapped(value: Value) -> Value:
    """The last two axes exchanged."""
    order = list(range(value.rank))
    order[-2:] = order[-1], order[-2]
    return value.transpose(*order)


def _unsqueeze(value: Value, axis: int) -> Value:
    return value.builder.op("Unsqueeze", value, value.builder.ints([axis]))


def _squeeze(value: Value, axis: int) -> Value:
    return value.builder.op("Squeeze", value, value.builder.ints([axis]))


RULES = {"Gemm": Rule(gemm), "MatMul": Rule(matmul)}
