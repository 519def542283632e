"""Rules for operators that pick or place elements by number.

What was picked goes back by scattering with addition, which counts elements picked twice; what
was placed is picked again.
"""

from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.along import framed
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.graph import Type

Cotangents = Sequence[Value | None]


def gather(call: Call) -> Cotangents:
    """Rows added up by ScatterND, which takes whole rows at once; embeddings are this.

    One fixed row (`x[:, 0]`) is only framed with zeros.
    """
    x, indices = call.x(0), call.x(1)
    axis = call.integer("axis", 0) % x.rank
    known, size = indices.constant, x.shape[axis]
    if known is not None and known.size == 1 and isinstance(size, int):
        at = int(known.reshape(-1)[0]) % size
        one = call.builder.shape_with(x, axis, 1)
        typed = Type(x.type.dtype, (*x.shape[:axis], 1, *x.shape[axis + 1 :]))
        row = call.builder.op("Reshape", call.dy, one, typed=typed)
        return framed(row, axis, at, size - at - 1), None
    order = [axis, *(a for a in range(x.rank) if a != axis)]
    wide = x.transpose(*order) if axis else x
    rows = _moved_to_front(call.dy, axis, indices.rank)
    numbers = _unsqueeze(indices.cast(np.dtype(np.int64)), indices.rank)
    added = _scatter_nd(call.builder.zeros_like(wide), numbers, rows)
    return added.transpose(*sorted(range(x.rank), key=order.__getitem__)), None


def _moved_to_front(value: Value, axis: int, count: int) -> Value:
    """`count` axes that start at `axis`, in front of the others."""
    block = range(axis, axis + count)
    return value.transpose(*block, *(a for a in range(value.rank) if a not in block))


def gather_elements(call: Call) -> Cotangents:
    """Added up where they were picked."""
    axis = call.integer("axis", 0)
    zeros = call.builder.zeros_like(call.x(0))
    placed = call.builder.op(
        "ScatterElements", zeros, call.x(1), call.dy, axis=axis, reduction="add", typed=zeros.type
    )
    return placed, None


def gather_nd(call: Call) -> Cotangents:
    """Added up where they were picked; batch axes become leading coordinates."""
    indices = call.x(1)
    for axis in reversed(range(call.integer("batch_dims", 0))):
        indices = _with_coordinate(indices, axis)
    return _scatter_nd(call.builder.zeros_like(call.x(0)), indices, call.dy), None


def _with_coordinate(indices: Value, axis: int) -> Value:
    """Each tuple of `indices` led by its own position on `axis`."""
    builder = indices.builder
    begin, end = builder.ints([axis]), builder.ints([axis + 1])
    whole = builder.op("Shape", indices)
    size = builder.op("Squeeze", builder.op("Slice", whole, begin, end), builder.ints([0]))
    zero, one = (builder.constant(np.array(n, np.int64)) for n in (0, 1))
    numbers = builder.op("Range", zero, size, one)
    column = numbers.reshape(*[-1 if a == axis else 1 for a in range(indices.rank)])
    tuples = builder.op("Slice", whole, builder.ints([0]), builder.ints([-1]))
    shape = builder.op("Concat", tuples, builder.ints([1]), axis=0)
    typed = Type(indices.type.dtype, (*indices.shape[:-1], 1))
    return builder.op(
        "Concat", builder.op("Expand", column, shape, typed=typed), indices, axis=indices.rank - 1
    )


def scatter_nd(call: Call) -> Cotangents:
    """What was overwritten gets nothing; what was written gets what it wrote to."""
    indices, dy = call.x(1), call.dy
    adds = _adds(call)
    data = updates = None
    if call.wants(0):
        nothing = call.builder.zeros_like(call.x(2))
        data = dy if adds else call.builder.op("ScatterND", dy, indices, nothing, typed=dy.type)
    if call.wants(2):
        updates = call.builder.op("GatherND", dy, indices)
    return data, None, updates


def scatter_elements(call: Call) -> Cotangents:
    """As `scatter_nd`, element by element along one axis."""
    indices, dy, axis = call.x(1), call.dy, call.integer("axis", 0)
    adds = _adds(call)
    data = updates = None
    if call.wants(0):
        data = dy
        if not adds:
            nothing = call.builder.zeros_like(call.x(2))
            data = call.builder.op(
                "ScatterElements", dy, indices, nothing, axis=axis, typed=dy.type
            )
    if call.wants(2):
        updates = call.builder.op("GatherElements", dy, indices, axis=axis)
    return data, None, updates


def top_k(call: Call) -> Cotangents:
    """The values go back to where the second output found them."""
    axis, zeros = call.integer("axis", -1), call.builder.zeros_like(call.x(0))
    placed = call.builder.op(
        "ScatterElements", zeros, call.y(1), call.dy, axis=axis, typed=zeros.type
    )
    return placed, None


def compress(call: Call) -> Cotangents:
    """What was kept goes back to where it stood."""
    x, builder = call.x(0), call.builder
    kept = builder.op("NonZero", call.x(1))
    numbers = builder.op("Transpose", kept)
    if "axis" not in call.node.attributes:
        flat = builder.op("Reshape", x, builder.ints([-1]))
        return _scatter_nd(builder.zeros_like(flat), numbers, call.dy).reshape_like(x), None
    axis = call.integer("axis", 0) % x.rank
    order = [axis, *(a for a in range(x.rank) if a != axis)]
    wide = builder.zeros_like(x.transpose(*order))
    placed = _scatter_nd(wide, numbers, call.dy.transpose(*order))
    return placed.transpose(*sorted(range(x.rank), key=order.__getitem__)), None


def reverse_sequence(call: Call) -> Cotangents:
    """Reversed again."""
    batch, time = call.integer("batch_axis", 1), call.integer("time_axis", 0)
    back = call.builder.op("ReverseSequence", call.dy, call.x(1), batch_axis=batch, time_axis=time)
    return back, None


def _adds(call: Call) -> bool:
    """Whether values are added to what stands there rather than replace it."""
    reduction = call.text("reduction", "none")
    if reduction not in ("none", "add"):
        raise call.unsupported(f"reduction {reduction!r}; 'none' and 'add' have one")
    return reduction == "add"


def _scatter_nd(zeros: Value, indices: Value, updates: Value) -> Value:
    return zeros.builder.op("ScatterND", zeros, indices, updates, reduction="add", typed=zeros.type)


def _unsqueeze(value: Value, axis: int) -> Value:
    return value.builder.op("Unsqueeze", value, value.builder.ints([axis]))


RULES = {
    "Gather": Rule(gather),
    "GatherElements": Rule(gather_elements),
    "GatherND": Rule(gather_nd),
    "ScatterND": Rule(scatter_nd),
    "ScatterElements": Rule(scatter_elements),
    "TopK": Rule(top_k),
    "Compress": Rule(compress),
    "ReverseSequence": Rule(reverse_sequence),
}
