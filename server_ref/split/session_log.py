"""The messages of one device's session: the truth from which the server's half is rebuilt.

The file begins with the magic `ESPL` and the attempt (u64, little-endian); each record is a size
and a CRC-32 (u32 each) and the message exactly as received. A record is forced to the disk before
its message is answered. A crash can leave a torn record at the end, which nobody was told is safe:
reading stops there and the next append cuts it off. Everything here blocks: call it in a thread.
"""

import os
import struct
import zlib
from pathlib import Path

from server_ref.store.files import Sync, refusing_storage, sync_folder, write_all

_HEAD = struct.Struct("<4sQ")
_RECORD = struct.Struct("<II")
_MAGIC = b"ESPL"


class SessionLog:
    """One file; opened for each use, since sessions are many and idle most of the time."""

    def __init__(self, path: Path, *, sync: Sync = os.fsync) -> None:
        self._path = path
        self._sync = sync
        self._end: int | None = None
        """Where the next record goes; None until the file was read or begun."""

    def begin(self, attempt: int) -> None:
        """Throw away what was there.

        Raises:
            Refused: `storage`.
        """
        with refusing_storage():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path.touch(mode=0o600)
            with self._path.open("r+b", buffering=0) as file:
                file.truncate(0)
                write_all(file.fileno(), _HEAD.pack(_MAGIC, attempt))
                self._sync(file.fileno())
            sync_folder(self._path.parent, sync=self._sync)
        self._end = _HEAD.size

    def read(self) -> tuple[int, list[bytes]] | None:
        """Attempt and messages; None where there is no session.

        Raises:
            Refused: `storage`.
        """
        with refusing_storage():
            if not self._path.exists():
                return None
            data = self._path.read_bytes()
        if len(data) < _HEAD.size or data[:4] != _MAGIC:
            return None
        messages: list[bytes] = []
        at = _HEAD.size
        while at + _RECORD.size <= len(data):
            size, crc = _RECORD.unpack_from(data, at)
            message = data[at + _RECORD.size : at + _RECORD.size + size]
            if len(message) < size or zlib.crc32(message) != crc:
                break
            messages.append(message)
            at += _RECORD.size + size
        self._end = at
        return int(_HEAD.unpack_from(data)[1]), messages

    def append(self, message: bytes) -> None:
        """Keep one more message, durably.

        Raises:
            Refused: `storage`; the message is not kept.
        """
        if self._end is None:
            raise RuntimeError("the log was neither begun nor read")
        with refusing_storage():
            record = _RECORD.pack(len(message), zlib.crc32(message)) + message
            with self._path.open("r+b", buffering=0) as file:
                file.truncate(self._end)
                file.seek(self._end)
                write_all(file.fileno(), record)
                self._sync(file.fileno())
        self._end += _RECORD.size + len(message)
