"""Downloads: stored frames put together for one device. Calls that read block."""

import bisect
import dataclasses
import hashlib
import itertools
import threading
from collections.abc import Collection, Sequence

from edge_sdk.errors import Reason, Refused
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.values import CheckIn
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.publishing import Library
from server_ref.downlink import Contents, Slice, bytes_of, choose
from server_ref.store import records

MOST_TAGS = 256
"""Downloads whose digest is remembered."""


@dataclasses.dataclass(frozen=True, slots=True)
class Download:
    """Bytes that never change: slices of stored files, one after another."""

    slices: tuple[Slice, ...]
    sha256: str
    library: Library = dataclasses.field(repr=False)

    @property
    def size(self) -> int:
        """Bytes."""
        return bytes_of(self.slices)

    def read(self, offset: int, size: int) -> bytes:
        """A range of it."""
        ends = list(itertools.accumulate(part.size for part in self.slices))
        found: list[bytes] = []
        first = bisect.bisect_right(ends, offset)
        for part, end in zip(self.slices[first:], ends[first:], strict=True):
            skip = offset - (end - part.size)
            room = min(part.size - skip, size)
            if room <= 0:
                break
            wanted = dataclasses.replace(part, offset=part.offset + skip, size=room)
            found.append(self.library.read(wanted))
            offset, size = offset + room, size - room
        return b"".join(found)


class Shelf:
    """The versions that are kept, for whoever downloads."""

    def __init__(self, parts: RunParts) -> None:
        self._parts = parts
        self._newest = -1
        self._kept: dict[int, Contents] = {}
        self._tags: dict[tuple[Slice, ...], str] = {}
        self._lock = threading.Lock()

    def download(
        self, version: int, *, have: int | None, stage: int | None, held_stage: int | None
    ) -> Download:
        """What leads from `have` to `version` for least bytes; see `interfaces.Transport.model`.

        Raises:
            Refused: `not-found`.
        """
        kept = self._contents(version)
        if version not in kept:
            raise Refused(Reason.NOT_FOUND, "no such version")
        slices = choose(
            kept,
            version=version,
            wanted=self._segments(stage),
            have=have,
            held=self._segments(held_stage),
        )
        try:
            return Download(tuple(slices), self._tag(slices), self._parts.library)
        except FileNotFoundError:  # dropped this very moment
            raise Refused(Reason.NOT_FOUND, "no such version any more") from None

    def bytes_for(self, request: CheckIn, version: int, stage: int) -> int | None:
        """Bytes that a device with these holdings has to fetch; None where that cannot be told."""
        have, held = 0, None
        if request.holds_run == self._parts.run.run and request.holds_version is not None:
            have, held = request.holds_version, request.holds_stage
        kept = self._contents(version)
        if version not in kept or not self._is_stage(held):
            return None
        if version == 0 or (have == version and held in {None, stage}):
            return 0
        wanted, holds = self._segments(stage), self._segments(held)
        return bytes_of(choose(kept, version=version, wanted=wanted, have=have, held=holds))

    def _contents(self, version: int) -> dict[int, Contents]:
        """By version; read again when a newer one is asked for."""
        with self._lock:
            return self._looked_up(version)

    def _looked_up(self, version: int) -> dict[int, Contents]:
        newest = self._parts.read(lambda c: records.last_version(c, self._parts.run.run))
        if newest != self._newest or version not in self._kept:
            rows = self._parts.read(lambda c: records.versions(c, self._parts.run.run))
            known = {r.version: self._kept.get(r.version) for r in rows}
            self._kept = {
                row.version: known[row.version] or self._parts.library.contents(row) for row in rows
            }
            self._newest = newest
        return self._kept

    def _is_stage(self, stage: int | None) -> bool:
        if stage == DEVICE_PARTS and self._parts.plan.split is not None:
            return True
        return stage is None or stage < self._parts.plan.stages

    def _segments(self, stage: int | None) -> Sequence[int]:
        if not self._is_stage(stage):
            raise Refused(Reason.NOT_FOUND, "no such stage")
        segments = self._parts.library.segments
        chosen = segments.all if stage is None else segments.of_stage(stage)
        return [segment.number for segment in chosen]

    def _tag(self, slices: Collection[Slice]) -> str:
        key = tuple(slices)
        with self._lock:
            known = self._tags.get(key)
        if known is not None:
            return known
        digest = hashlib.sha256()
        for part in key:
            digest.update(self._parts.library.read(part))
        with self._lock:
            if len(self._tags) >= MOST_TAGS:
                self._tags.pop(next(iter(self._tags)))
            self._tags[key] = digest.hexdigest()
        return digest.hexdigest()
