"""Which stored frames bring a device to a version for the least bytes. Pure."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

Part = tuple[int, int]
"""Offset and size of a segment's frames in a file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Contents:
    """Where the segments of one version stand in its files, by number."""

    snapshot: tuple[Part, ...]
    delta: tuple[Part, ...] | None = None
    """From the version before; None where there is no such file."""


@dataclasses.dataclass(frozen=True, slots=True)
class Slice:
    """A segment's frames in one version's file."""

    version: int
    kind: Literal["snapshot", "delta"]
    offset: int
    size: int


def choose(
    kept: Mapping[int, Contents],
    *,
    version: int,
    wanted: Sequence[int],
    have: int | None,
    held: Collection[int],
) -> list[Slice]:
    """What to send, in the order in which to send it.

    For each wanted segment the deltas from version `have`, or a snapshot where that is smaller or
    the deltas do not all exist any more.

    Args:
        kept: versions whose files exist.
        version: to arrive at; one of `kept`.
        wanted: numbers of segments, rising.
        have: version that is held; None where nothing is.
        held: segments that are held in it.
    """
    slices: list[Slice] = []
    for segment in wanted:
        snapshot = Slice(version, "snapshot", *kept[version].snapshot[segment])
        deltas = _deltas(kept, segment, have, version) if segment in held else None
        cheaper = deltas is not None and bytes_of(deltas) < snapshot.size
        slices += deltas if deltas is not None and cheaper else [snapshot]
    return slices


def bytes_of(slices: Sequence[Slice]) -> int:
    """Size of a download."""
    return sum(part.size for part in slices)


def _deltas(
    kept: Mapping[int, Contents], segment: int, have: int | None, version: int
) -> list[Slice] | None:
    """The deltas after `have` up to `version`; None where they do not all exist."""
    if have is None or have > version:
        return None
    found: list[Slice] = []
    for number in range(have + 1, version + 1):
        contents = kept.get(number)
        if contents is None or contents.delta is None:
            return None
        found.append(Slice(number, "delta", *contents.delta[segment]))
    return found
