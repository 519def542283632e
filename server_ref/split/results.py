"""What finished sessions leave for the round's average: the change of the server's part.

Imports no engine, so that counting a split update needs none.
"""

import dataclasses
import os
import zlib
from pathlib import Path

import numpy as np

from edge_sdk.errors import Reason, Refused
from edge_sdk.values import Vector
from server_ref.store.files import Sync, refusing_storage, write_durably


@dataclasses.dataclass(frozen=True, slots=True)
class Results:
    """The results of one round's sessions. Everything here blocks: call it in a thread."""

    folder: Path
    size: int
    """Coordinates of the server's part."""
    sync: Sync = os.fsync

    def log(self, device: str) -> Path:
        """File of a device's session."""
        return self.folder / f"{device}.session"

    def write(self, device: str, change: Vector) -> None:
        """Keep the change of a device's copy, durably.

        Raises:
            Refused: `storage`.
        """
        body = change.astype("<f4").tobytes()
        check = zlib.crc32(body).to_bytes(4, "little")
        write_durably(self._path(device), check + body, mode=0o600, sync=self.sync)

    def drop(self, device: str) -> None:
        """Forget it, where it is there."""
        with refusing_storage():
            self._path(device).unlink(missing_ok=True)

    def read(self, device: str) -> Vector:
        """The change of a device's copy, float32 of length `size`.

        Raises:
            Refused: `incomplete` while its session has not ended; `storage`.
        """
        try:
            data = self._path(device).read_bytes()
        except FileNotFoundError:
            raise Refused(Reason.INCOMPLETE, "the split session has not ended") from None
        except OSError as error:
            raise Refused(Reason.STORAGE, f"cannot read a result: {error.strerror}") from None
        body = data[4:]
        if len(body) != 4 * self.size or zlib.crc32(body).to_bytes(4, "little") != data[:4]:
            raise Refused(Reason.INCOMPLETE, "the split session's result is damaged")
        return np.frombuffer(body, "<f4").astype(np.float32)

    def _path(self, device: str) -> Path:
        return self.folder / f"{device}.result"
