"""Model versions on disk: exact weights, what devices download, and what the next step needs."""

import dataclasses
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt
from edge_sdk.plan import Segments, read_model
from edge_sdk.values import Vector
from server_ref.aggregate import Moments, averaged
from server_ref.downlink import Contents, Downlink, Slice, derive_seed
from server_ref.store import Folder, Sync, write_durably
from server_ref.store.records import RunRow, VersionRow

MOMENTS = ("momentum", "second")
AVERAGE, DELTA, MEMORIES = "average", "delta", "memories"
"""Names of a version's files besides `weights` and `frames`."""


@dataclasses.dataclass(frozen=True, slots=True)
class ModelState:
    """All that the next version is made from."""

    version: int
    weights: Vector = dataclasses.field(repr=False)
    """Exact, of the whole model."""
    replica: Vector = dataclasses.field(repr=False)
    """What up-to-date devices hold of it."""
    average: Vector = dataclasses.field(repr=False)
    """Mean of the versions of its stage, the plan's own weights left out."""
    moments: Moments = dataclasses.field(repr=False)
    memories: NDArray[np.float64] = dataclasses.field(repr=False)
    """Sum of weight times memory over devices."""


@dataclasses.dataclass(frozen=True, slots=True)
class Library:
    """The versions of one run. Everything here blocks: call it in a thread."""

    folder: Folder
    run: RunRow
    sync: Sync
    segments: Segments
    downlink: Downlink

    def publish(
        self,
        weights: Vector,
        base: ModelState | None,
        *,
        number: int | None,
        moments: Moments | None = None,
        memories: NDArray[np.float64] | None = None,
        since: int = 0,
    ) -> VersionRow:
        """Write a version's files durably; nobody sees them before the row is recorded.

        Args:
            weights: of the whole model.
            base: the version before; None for version 0.
            number: of the round that made it, if one did.
            moments: history of the server's optimizer; none where it begins afresh.
            memories: sum of memories; as before where not given.
            since: the mean of versions begins behind this one: where the model grew, means with
                what came before are of no use.

        Raises:
            Refused: `storage`.
        """
        version = 0 if base is None else base.version + 1
        published = self.downlink.publish(
            weights,
            None if base is None else base.replica,
            version=version,
            seed_of=lambda segment: derive_seed(self.run.seed, "downlink", version, segment),
        )
        files = {name: vector.astype("<f4").tobytes() for name, vector in (moments or {}).items()}
        if base is not None:
            average = averaged(base.average, weights, version - since)
            files[AVERAGE] = average.astype("<f4").tobytes()
            kept = base.memories if memories is None else memories
            if kept.any():
                files[MEMORIES] = kept.astype("<f8").tobytes()
        if published.delta is not None:
            files[DELTA] = published.delta
        exact = weights.astype("<f4").tobytes()
        for name, data in ({"weights": exact, "frames": published.snapshot} | files).items():
            write_durably(self.file(version, name), data, sync=self.sync)
        return VersionRow(
            version=version,
            round=number,
            weights_sha256=hashlib.sha256(exact).hexdigest(),
            frames_sha256=hashlib.sha256(published.snapshot).hexdigest(),
            files={name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
            contents=published.contents,
        )

    def state(self, row: VersionRow) -> ModelState:
        """A recorded version as the next one is made from it.

        Raises:
            Corrupt: a file is missing or not what was written.
        """
        weights = self.weights(row)
        size = self.segments.size
        frames = self._read(row.version, "frames", row.frames_sha256)
        held = read_model(
            frames,
            run=self.run.run,
            version=row.version,
            segments=self.segments.all,
            held={},
            have=None,
        )
        replica = weights.copy()
        for segment in self.segments.all:
            segment.where.put(held[segment.number], replica)
        moments = {name: self._vector(row, name) for name in MOMENTS if name in row.files}
        memories = np.zeros(size)
        if MEMORIES in row.files:
            data = self._read(row.version, MEMORIES, row.files[MEMORIES])
            memories = np.frombuffer(data, "<f8").astype(np.float64)
        average = self.average(row)
        return ModelState(row.version, weights, replica, average, moments, memories)

    def weights(self, row: VersionRow) -> Vector:
        """The exact weights of a recorded version.

        Raises:
            Corrupt: the file is missing or not what was written.
        """
        exact = self._read(row.version, "weights", row.weights_sha256)
        return np.frombuffer(exact, "<f4").astype(np.float32)

    def average(self, row: VersionRow) -> Vector:
        """The mean of all versions of its stage up to this one but the plan's own weights.

        Version 0, and versions of releases that kept no mean, give their own weights.

        Raises:
            Corrupt: the file is missing or not what was written.
        """
        return self._vector(row, AVERAGE) if AVERAGE in row.files else self.weights(row)

    def contents(self, row: VersionRow) -> Contents:
        """Where a version's segments stand in its files."""
        if row.contents is not None:
            return row.contents
        return Contents(((0, self.file(row.version, "frames").stat().st_size),))

    def read(self, part: Slice) -> bytes:
        """Stored frames."""
        with self.file(part.version, "delta" if part.kind == "delta" else "frames").open("rb") as f:
            f.seek(part.offset)
            return f.read(part.size)

    def file(self, version: int, name: str) -> Path:
        """One file of a version."""
        return self.folder.model_file(self.run.run, version, name)

    def keep(self, versions: Iterable[int]) -> None:
        """Remove the files of all versions but these."""
        kept = set(versions)
        for path in self.file(0, "weights").parent.iterdir():
            if path.stem.isdecimal() and int(path.stem) not in kept:
                path.unlink(missing_ok=True)

    # ------------------------------------------------------------------ devices' memories

    def write_memory(self, device: str, number: int, memory: Vector) -> str:
        """Write a device's memory as round `number` leaves it; its SHA-256.

        Raises:
            Refused: `storage`.
        """
        data = memory.astype("<f4").tobytes()
        path = self.folder.memory(self.run.run, device, number)
        write_durably(path, data, mode=0o600, sync=self.sync)
        return hashlib.sha256(data).hexdigest()

    def memory(self, device: str, number: int, sha256: str) -> Vector:
        """What `write_memory` wrote.

        Raises:
            Corrupt: the file is missing or not what was written.
        """
        path = self.folder.memory(self.run.run, device, number)
        return np.frombuffer(_checked(path, sha256, "a memory"), "<f4").astype(np.float32)

    def keep_memories(self, rounds: Mapping[str, int]) -> None:
        """Remove every file of a memory but those of these rounds, by device."""
        folder = self.folder.memory(self.run.run, "", 0).parent
        kept = {self.folder.memory(self.run.run, one, number) for one, number in rounds.items()}
        for path in folder.iterdir() if folder.exists() else ():
            if path not in kept:
                path.unlink(missing_ok=True)

    def _vector(self, row: VersionRow, name: str) -> Vector:
        data = self._read(row.version, name, row.files[name])
        return np.frombuffer(data, "<f4").astype(np.float32)

    def _read(self, version: int, name: str, sha256: str) -> bytes:
        return _checked(self.file(version, name), sha256, f"the {name} of version {version}")


def _checked(path: Path, sha256: str, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Corrupt(f"{what} cannot be read: {error.strerror}") from None
    if hashlib.sha256(data).hexdigest() != sha256:
        raise Corrupt(f"{what} are damaged")
    return data
