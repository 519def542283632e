"""Model versions on disk: exact weights, and the frames devices download."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np

from edge_sdk.errors import Corrupt
from edge_sdk.values import Vector
from server_ref.downlink import derive_seed, pack_snapshot
from server_ref.store import Folder, Sync, write_durably
from server_ref.store.records import RunRow, VersionRow


@dataclasses.dataclass(frozen=True, slots=True)
class Library:
    """The versions of one run. Everything here blocks: call it in a thread."""

    folder: Folder
    run: RunRow
    sync: Sync

    def publish(
        self, weights: Vector, *, version: int, number: int | None, codec: str
    ) -> VersionRow:
        """Write both files durably; nobody sees them before the row is recorded.

        Raises:
            Refused: `storage`.
        """
        frames = pack_snapshot(
            weights,
            run=self.run.run,
            version=version,
            codec=codec,
            seed=derive_seed(self.run.seed, "downlink", version),
        )
        exact = weights.astype("<f4").tobytes()
        write_durably(self.folder.weights(self.run.run, version), exact, sync=self.sync)
        write_durably(self.folder.frames(self.run.run, version), frames, sync=self.sync)
        return VersionRow(
            version, number, hashlib.sha256(exact).hexdigest(), hashlib.sha256(frames).hexdigest()
        )

    def weights(self, row: VersionRow) -> Vector:
        """The exact weights of a recorded version.

        Raises:
            Corrupt: the file is missing or not what was written.
        """
        path = self.folder.weights(self.run.run, row.version)
        try:
            exact = path.read_bytes()
        except OSError as error:
            raise Corrupt(f"version {row.version} cannot be read: {error.strerror}") from None
        if hashlib.sha256(exact).hexdigest() != row.weights_sha256:
            raise Corrupt(f"the weights of version {row.version} are damaged")
        return np.frombuffer(exact, "<f4").astype(np.float32)

    def frames(self, version: int) -> Path:
        """File of a version's frames."""
        return self.folder.frames(self.run.run, version)
