"""How a vector is cut into rotation blocks without padding it as a whole.

The vector is tiled by as many blocks of the largest size as fit, then by ever smaller sizes (the
base-4 digits of the rest); what remains below 64 coordinates is one block of 64 padded with zeros.
FORMAT.md, section 5.1.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np

from edge_sdk.codecs.rotation import BLOCK_SIZES, Rows
from edge_sdk.values import Coordinates, Vector

SMALLEST = BLOCK_SIZES[-1]


@dataclasses.dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring blocks of one size within a chunk."""

    size: int
    """Coordinates of each block, padding included."""
    blocks: int
    block: int
    """Number of the first block within the chunk."""
    position: int
    """Number of the first coordinate within the chunk, padding counted."""
    first: int
    """First coordinate within the vector."""
    end: int
    """One past the last coordinate within the vector, padding not counted."""

    @property
    def width(self) -> int:
        """Coordinates of all blocks, padding included."""
        return self.size * self.blocks

    def rows_of(self, vector: Vector) -> Rows:
        """A copy of these blocks of `vector`, shape (blocks, size), zeros as padding."""
        rows = np.zeros(self.width, np.float32)
        rows[: self.end - self.first] = vector[self.first : self.end]
        return rows.reshape(self.blocks, self.size)


@dataclasses.dataclass(frozen=True, slots=True)
class Tiling:
    """The blocks of a vector of `dimension` coordinates, none larger than `largest`."""

    dimension: int
    largest: int

    def groups(self) -> Iterator[tuple[int, int]]:
        """(block size, number of such blocks), in the order of the coordinates."""
        rest = self.dimension
        for size in BLOCK_SIZES:
            if size > self.largest:
                continue
            count = -(-rest // size) if size == SMALLEST else rest // size
            if count:
                yield size, count
            rest -= size * count

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return sum(count for _, count in self.groups())

    def runs(self, first: int, end: int, *, most: int) -> Iterator[Run]:
        """Blocks `first` up to `end` as runs of at most `most` coordinates (but one block)."""
        number, place, block, position = 0, 0, 0, 0
        for size, count in self.groups():
            start, stop = max(first - number, 0), min(end - number, count)
            step = max(most // size, 1)
            for at in range(start, stop, step):
                taken = min(step, stop - at)
                begin = place + at * size
                finish = min(begin + taken * size, self.dimension)
                yield Run(size, taken, block, position, begin, finish)
                block += taken
                position += taken * size
            number += count
            place += size * count

    def widths(self, first: int, end: int) -> tuple[Coordinates, int]:
        """The coordinates of blocks `first` up to `end`, and their number with padding."""
        runs = list(self.runs(first, end, most=self.dimension + SMALLEST))
        where = Coordinates.span(runs[0].first, runs[-1].end - runs[0].first)
        return where, sum(run.width for run in runs)
