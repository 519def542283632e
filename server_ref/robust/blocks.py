"""All updates of a round, a range of coordinates at a time.

Memory: a block of b coordinates of n updates is `b n` float32, and working on it takes as much
again at most; `block_size` chooses b so that both fit `room_bytes`. On top come one decoded chunk
with its indices (12 bytes per coordinate of it) and the result (8 bytes per coordinate of the
model). Every chunk is decoded once for each block that it touches.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.plan import Spans
from edge_sdk.values import Piece

ROOM_BYTES = 256 << 20
"""Default for what a block and the work on it may take."""

BYTES_PER_VALUE = 8
"""A float32, and as much again to work with."""

Rows = NDArray[np.float32]
"""Shape (coordinates, updates); NaN where an update did not arrive."""


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """An update that can be decoded again."""

    weight: float
    """Number of examples, as the device says."""
    pieces: Callable[[int, int], Iterable[Piece]]
    """First and end of a range of coordinates to at least the pieces that touch it; finite values,
    and the same each time."""
    where: Spans | None = None
    """Where the update's own coordinates lie in the whole vector; None: they are the whole. Pieces
    are in its own, the range is in the whole."""

    def coordinates(self, piece: Piece) -> NDArray[np.int64]:
        """Of a piece's values, in the whole vector."""
        order = np.arange(piece.where.size, dtype=np.int64)
        place = piece.where
        own: NDArray[np.int64] = place.first + order // place.run * place.step + order % place.run
        if self.where is None:
            return own
        firsts, sizes = np.array(self.where.runs, np.int64).reshape(-1, 2).T
        starts = np.cumsum(sizes) - sizes
        run = np.searchsorted(starts, own, side="right") - 1
        return own - starts[run] + firsts[run]


def block_size(updates: int, *, room_bytes: int) -> int:
    """Coordinates of a block that keeps within `room_bytes`, at least one."""
    return max(1, room_bytes // (BYTES_PER_VALUE * max(updates, 1)))


def blocks(
    updates: Sequence[Stored], dimension: int, *, room_bytes: int
) -> Iterator[tuple[int, Rows]]:
    """First coordinate and rows of one block after the other; a block is used before the next."""
    size = block_size(len(updates), room_bytes=room_bytes)
    for first in range(0, dimension, size):
        end = min(first + size, dimension)
        rows = np.full((end - first, len(updates)), np.nan, np.float32)
        for column, update in enumerate(updates):
            for piece in update.pieces(first, end):
                at = update.coordinates(piece)
                inside = (at >= first) & (at < end)
                rows[at[inside] - first, column] = piece.values[inside]
        yield first, rows
