"""The append-only log of one round's chunks: the truth from which every sum can be rebuilt.

A record is a head, the device's id (16 bytes) and the frame exactly as received. The head is the
magic `ECLG`, the frame's length and a CRC-32 over the rest of the record, little-endian.

One thread writes. It takes whatever uploads have queued meanwhile as one group, writes it with one
call and forces it to the disk with one fsync; only then are the uploads acknowledged, in the order
of the log. A crash can leave a torn record at the end, which nobody was told is safe: opening cuts
it off. After a failed write or fsync nothing of the group is kept: the file is reopened and cut
back to what is known to be durable before anything else is written.
"""

import dataclasses
import logging
import os
import queue
import struct
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

from edge_sdk.errors import Reason, Refused
from edge_sdk.wire import MAX_FRAME_BYTES
from server_ref.store.files import (
    Sync,
    refusing_storage,
    storage_refusal,
    sync_folder,
    write_all,
)

MAGIC = b"ECLG"
HEAD = struct.Struct("<4sII")
ID_BYTES = 16
GROUP_BYTES = 16 << 20
"""A group is closed when it holds this much."""

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """Where a frame stands in the log."""

    device: str
    offset: int
    """Of the frame's first byte."""
    size: int
    crc: int
    """CRC-32 of device id and frame: tells copies from other content."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Append:
    device: str
    record: bytes
    crc: int
    done: "Future[Entry]"


class ChunkLog:
    """One log file. `append` and `read` may be called from any thread."""

    def __init__(self, path: Path, *, sync: Sync = os.fsync) -> None:
        """Open or make the log and cut a torn tail off.

        Raises:
            Refused: `storage`.
        """
        self._path = path
        self._sync = sync
        self._queue: queue.SimpleQueue[_Append | None] = queue.SimpleQueue()
        self._broken = False
        with refusing_storage():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._end = self._recover()
            sync(self._handle)
            sync_folder(path.parent, sync=sync)
        self._thread = threading.Thread(target=self._write_groups, name="chunk-log", daemon=True)
        self._thread.start()

    @property
    def end(self) -> int:
        """Bytes that are durable."""
        return self._end

    def append(self, device: str, frame: bytes) -> "Future[Entry]":
        """Queue one frame; the result comes when it is durable, or `Refused(storage)`."""
        owner = bytes.fromhex(device)
        if len(owner) != ID_BYTES or not 0 < len(frame) <= MAX_FRAME_BYTES:
            raise ValueError(f"cannot log {len(frame)} bytes of device {device!r}")
        crc = zlib.crc32(frame, zlib.crc32(owner))
        done: Future[Entry] = Future()
        record = b"".join((HEAD.pack(MAGIC, len(frame), crc), owner, frame))
        self._queue.put(_Append(device, record, crc, done))
        return done

    def read(self, entry: Entry) -> bytes:
        """The frame at `entry`.

        Raises:
            Refused: `storage`, also when the disk no longer gives what was written.
        """
        with refusing_storage():
            frame = os.pread(self._handle, entry.size, entry.offset)
        if zlib.crc32(frame, zlib.crc32(bytes.fromhex(entry.device))) != entry.crc:
            raise Refused(Reason.STORAGE, f"the log is damaged at byte {entry.offset}")
        return frame

    def entries(self) -> Iterator[Entry]:
        """Every whole record, in the order of the log; meant for a log just opened."""
        size = os.fstat(self._handle).st_size
        position = 0
        while (found := self._record_at(position, size)) is not None:
            yield found
            position = found.offset + found.size

    def close(self) -> None:
        """Finish what is queued and let go of the file."""
        self._queue.put(None)
        self._thread.join()
        os.close(self._handle)

    def _recover(self) -> int:
        end = 0
        for entry in self.entries():
            end = entry.offset + entry.size
        torn = os.fstat(self._handle).st_size - end
        if torn:
            log.warning("cut a torn tail of %d bytes off %s", torn, self._path.name)
            os.ftruncate(self._handle, end)
        return end

    def _record_at(self, position: int, size: int) -> Entry | None:
        head = os.pread(self._handle, HEAD.size + ID_BYTES, position)
        if len(head) < HEAD.size + ID_BYTES:
            return None
        magic, length, crc = HEAD.unpack_from(head)
        start = position + len(head)
        if magic != MAGIC or not 0 < length <= min(MAX_FRAME_BYTES, size - start):
            return None
        owner = head[HEAD.size :]
        if zlib.crc32(os.pread(self._handle, length, start), zlib.crc32(owner)) != crc:
            return None
        return Entry(owner.hex(), start, length, crc)

    # ------------------------------------------------------------------ the writing thread

    def _write_groups(self) -> None:
        while (first := self._queue.get()) is not None:
            group, last = self._gather(first)
            try:
                self._write(b"".join(item.record for item in group))
            except OSError as error:
                self._broken = True
                log.error("cannot write %s: %s", self._path.name, error)  # noqa: TRY400 - the line says all
                for item in group:
                    item.done.set_exception(storage_refusal(error))
            else:
                self._acknowledge(group)
            if last:
                return

    def _gather(self, first: _Append) -> tuple[list[_Append], bool]:
        """Everything queued now, up to `GROUP_BYTES`; and whether the end was asked for."""
        group, size = [first], len(first.record)
        while size < GROUP_BYTES:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return group, True
            group.append(item)
            size += len(item.record)
        return group, False

    def _write(self, data: bytes) -> None:
        if self._broken:
            self._reopen()
        os.lseek(self._handle, self._end, os.SEEK_SET)
        write_all(self._handle, data)
        self._sync(self._handle)

    def _acknowledge(self, group: list[_Append]) -> None:
        for item in group:
            start = self._end + HEAD.size + ID_BYTES
            self._end += len(item.record)
            item.done.set_result(Entry(item.device, start, self._end - start, item.crc))

    def _reopen(self) -> None:
        """Forget what a failed write or fsync may have left; readers keep their descriptor."""
        fresh = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fresh, self._end)
            os.dup2(fresh, self._handle, inheritable=False)
        finally:
            os.close(fresh)
        self._broken = False
