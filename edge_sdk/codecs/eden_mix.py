"""Which rotated coordinates of mixed EDEN have how many bits, and what that takes.

FORMAT.md, section 5.7.
"""

import dataclasses
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.blocks import Run, Tiling
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.signs import random_words, stream_key
from edge_sdk.errors import Misuse
from edge_sdk.values import Place

WHOLE = 1 << 16
"""One bit, in the parts that a mix is counted in."""

MOST_LEVEL = 8 * WHOLE - 1

HEAD_BYTES = 3

_LEAST_KEPT = 8
"""Coordinates that a block sends at least: the scale divides by what they sum up to."""
_SHORT_BELOW = 5
"""With fewer whole bits than this a scale takes two bytes instead of four."""
_PURPOSE = 0x4B53414D
"""`MASK`: the stream that chooses coordinates."""

Numbers = NDArray[np.intp]


@dataclasses.dataclass(frozen=True, slots=True)
class Mix:
    """How many bits the coordinates of a block have."""

    level: int
    """Bits per coordinate in 2**-16, 0 to `MOST_LEVEL`."""

    @property
    def bits(self) -> int:
        """Bits of the coarser coordinates, 0 to 7; the finer ones have one more."""
        return self.level >> 16

    @property
    def share(self) -> int:
        """Share of the finer ones, in 2**-16."""
        return self.level & (WHOLE - 1)

    @property
    def scale_bytes(self) -> int:
        """Size of one block's scale."""
        return 2 if self.bits < _SHORT_BELOW else 4

    def finer(self, size: int) -> int:
        """How many coordinates of a block of `size` are finer."""
        count = (size * self.share + WHOLE // 2) // WHOLE
        return count if self.bits else max(count, _LEAST_KEPT)

    def block_bytes(self, size: int) -> float:
        """What a block takes, scale included, when codes are not filled up to bytes."""
        return self.scale_bytes + (self.bits * size + self.finer(size)) / 8

    def chunks(self, tiling: Tiling, chunk_bytes: int) -> int:
        """The fewest chunks that surely hold all blocks.

        Raises:
            Misuse: one block does not fit.
        """
        filling = 2 * self.bits + 1
        unit = max(self.block_bytes(size) for size, _ in tiling.groups())
        room = min(int((chunk_bytes - HEAD_BYTES - filling) / unit), MAX_SPAN // tiling.largest)
        if room < 1:
            raise Misuse(f"no EDEN block of {unit} bytes fits into {chunk_bytes}")
        return -(-tiling.blocks // room)

    def wire_bytes(self, tiling: Tiling, chunk_bytes: int) -> float:
        """All frames of an update, headers included, within half a byte per plane."""
        blocks = sum(count * self.block_bytes(size) for size, count in tiling.groups())
        each = FRAME_HEADER_BYTES + HEAD_BYTES + (2 * self.bits + 1) / 2
        return blocks + each * self.chunks(tiling, chunk_bytes)


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """Coordinates of one chunk that have equally many bits."""

    bits: int
    columns: Mapping[int, Numbers]
    """By block size: which coordinates of every such block, ascending."""

    def count(self, runs: Iterable[Run]) -> int:
        """How many there are in these runs."""
        return sum(run.blocks * len(self.columns[run.size]) for run in runs)


def parts_of(mix: Mix, tiling: Tiling, place: Place) -> tuple[Part, ...]:
    """The finer and the coarser coordinates of one chunk; those without bits are left out.

    The finer ones of a block of n are those with the smallest of n random words.
    """
    low, high = place.seed & 0xFFFFFFFF, place.seed >> 32
    finer: dict[int, Numbers] = {}
    coarser: dict[int, Numbers] = {}
    for size, _ in tiling.groups():
        words = random_words(
            stream_key(_PURPOSE, low, high, place.index, size), first=0, count=size
        )
        order = np.argsort(words, kind="stable")
        finer[size] = np.sort(order[: mix.finer(size)])
        coarser[size] = np.sort(order[mix.finer(size) :])
    parts = (Part(mix.bits + 1, finer), Part(mix.bits, coarser))
    return parts if mix.bits else parts[:1]
