"""Quantizer levels in few bits: signed whole numbers, most of them zero or small.

Significance planes: which coordinates are not zero, which of those are at least 2, which of those
at least 3, and so on; each plane is a list of positions among the survivors of the one before.
What is left of the last survivors is written as whole numbers, and one bit each tells the signs.
FORMAT.md, section S.9.
"""

import numpy as np

from edge_sdk.codecs.cursor import Cursor, pack_bits, pack_varint
from edge_sdk.codecs.gaps import (
    Whole,
    read_numbers,
    read_positions,
    write_numbers,
    write_positions,
)
from edge_sdk.errors import Corrupt

MAX_LEVEL = 1 << 20
"""Largest magnitude of a level."""

MAX_PLANES = 15
"""Most planes after the first."""

MAX_SHIFT = 15
"""Most bits of a number that are written as they are."""

_FEW = 64
"""With fewer survivors another plane costs more than it saves."""
_USEFUL_PLANES = 6


def write_levels(positions: Whole, levels: Whole, *, span: int) -> bytes:
    """Levels that are not zero, at ascending `positions` below `span`."""
    parts = [_write_subset(positions, span)]
    rest = np.abs(levels)
    planes: list[bytes] = []
    while len(rest) >= _FEW and len(planes) < _USEFUL_PLANES and rest.max() > 1:
        more = np.flatnonzero(rest > 1)
        planes.append(_write_subset(more, len(rest)))
        rest = rest[more] - 1
    if len(positions):
        parts += [bytes([len(planes)]), *planes, write_numbers(rest - 1)]
        parts.append(pack_bits(levels < 0))
    return b"".join(parts)


def read_levels(cursor: Cursor, *, span: int) -> tuple[Whole, Whole]:
    """Ascending positions below `span` and the level, not zero, at each.

    Raises:
        Malformed: the bytes end early or break the format.
    """
    positions = _read_subset(cursor, span)
    if not len(positions):
        return positions, positions
    planes = cursor.unsigned(1)
    if planes > MAX_PLANES:
        raise Corrupt(f"{planes} planes")
    levels = np.ones(len(positions), np.int64)
    survivors = np.arange(len(positions))
    for _ in range(planes):
        survivors = survivors[_read_subset(cursor, len(survivors))]
        levels[survivors] += 1
    levels[survivors] += read_numbers(cursor, len(survivors), below=MAX_LEVEL - planes)
    np.negative(levels, where=cursor.bits(len(levels)).astype(np.bool_), out=levels)
    return positions, levels


def write_small(numbers: Whole) -> bytes:
    """Whole numbers, most of them small; the count goes elsewhere and is at least 1.

    The lowest bits, where they are as good as random, are written as they are, the rest by planes.
    """
    shift = min(max((int(numbers.sum()) // len(numbers)).bit_length() - 2, 0), MAX_SHIFT)
    rest = numbers >> shift
    planes: list[bytes] = []
    while len(rest) >= _FEW and len(planes) < _USEFUL_PLANES and rest.any():
        more = np.flatnonzero(rest)
        planes.append(_write_subset(more, len(rest)))
        rest = rest[more] - 1
    low = [(numbers >> plane & 1).astype(np.uint8) for plane in range(shift)]
    parts = [bytes([shift, len(planes)]), *planes, write_numbers(rest)]
    return b"".join([*parts, pack_bits(np.concatenate(low))] if low else parts)


def read_small(cursor: Cursor, count: int) -> Whole:
    """`count` whole numbers, at least one, each below `MAX_LEVEL`.

    Raises:
        Malformed: the bytes end early or break the format.
    """
    shift, planes = cursor.unsigned(1), cursor.unsigned(1)
    if shift > MAX_SHIFT or planes > MAX_PLANES:
        raise Corrupt(f"shift {shift}, {planes} planes")
    numbers = np.zeros(count, np.int64)
    survivors = np.arange(count)
    for _ in range(planes):
        survivors = survivors[_read_subset(cursor, len(survivors))]
        numbers[survivors] += 1
    numbers[survivors] += read_numbers(cursor, len(survivors), below=(MAX_LEVEL >> shift) - planes)
    numbers <<= shift
    low = cursor.bits(shift * count).reshape(shift, count)
    for plane in range(shift):
        numbers |= low[plane].astype(np.int64) << plane
    return numbers


def _write_subset(members: Whole, size: int) -> bytes:
    """Which of `size` things are members: their number, then members or the others if fewer."""
    if 2 * len(members) > size:
        others = np.ones(size, np.bool_)
        others[members] = False
        return pack_varint(len(members)) + write_positions(np.flatnonzero(others))
    return pack_varint(len(members)) + write_positions(members)


def _read_subset(cursor: Cursor, size: int) -> Whole:
    count = cursor.varint()
    if count > size:
        raise Corrupt(f"{count} members of {size}")
    if 2 * count <= size:
        return read_positions(cursor, count, span=size)
    members = np.ones(size, np.bool_)
    members[read_positions(cursor, size - count, span=size)] = False
    return np.flatnonzero(members)
