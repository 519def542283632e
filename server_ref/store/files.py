"""Files that are whole or absent, and where they stand."""

import contextlib
import dataclasses
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from edge_sdk.errors import Misuse, Reason, Refused

Sync = Callable[[int], None]
"""Forces a file descriptor's data to the disk; `os.fsync`, or a test's stand-in."""

RETRY_AFTER_S = 30.0
"""What devices are told while the disk is full or read-only."""


LEAST_FREE_BYTES = 16 << 20
"""With less room than this a server counts as not ready."""


def storage_refusal(error: Exception) -> Refused:
    """The refusal for a disk that does not take what it must; names no path."""
    code = errno.errorcode.get(error.errno or 0, "") if isinstance(error, OSError) else ""
    detail = f"the server cannot write ({code or type(error).__name__})"
    return Refused(Reason.STORAGE, detail, retry_after_s=RETRY_AFTER_S)


@contextlib.contextmanager
def refusing_storage() -> Iterator[None]:
    """Turn `OSError` into `Refused(storage)`."""
    try:
        yield
    except OSError as error:
        raise storage_refusal(error) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Folder:
    """Names every path below the state folder; ids are checked before they come here."""

    root: Path

    @property
    def database(self) -> Path:
        """SQLite file."""
        return self.root / "state.sqlite3"

    @property
    def operator_token(self) -> Path:
        """The operator's token, for its owner's eyes only."""
        return self.root / "operator.token"

    def trouble(self) -> str | None:
        """Why nothing could be written here now; None where it seems that it could."""
        try:
            found = os.statvfs(self.root)
        except OSError as error:
            return f"the state folder cannot be seen: {error.strerror}"
        if found.f_flag & os.ST_RDONLY:
            return "the state folder is read-only"
        if found.f_bavail * found.f_frsize < LEAST_FREE_BYTES:
            return "the disk is full"
        return None

    def chunk_log(self, run: str, number: int) -> Path:
        """Log of one round."""
        return self.root / "runs" / run / "chunks" / f"{number:08d}.log"

    def forget_chunk_logs(self, run: str, *, before: int) -> None:
        """Remove the logs of all rounds before this one.

        Raises:
            OSError: one could not be removed.
        """
        for path in self.chunk_log(run, 0).parent.glob("*.log"):
            if path.stem.isdecimal() and int(path.stem) < before:
                path.unlink(missing_ok=True)

    def split_sessions(self, run: str, number: int) -> Path:
        """Folder of one round's split sessions."""
        return self.root / "runs" / run / "split" / f"{number:08d}"

    def model_file(self, run: str, version: int, name: str) -> Path:
        """A file of one version."""
        return self.root / "runs" / run / "models" / f"{version:08d}.{name}"

    def weights(self, run: str, version: int) -> Path:
        """Exact weights of one version."""
        return self.model_file(run, version, "weights")

    def memory(self, run: str, device: str, number: int) -> Path:
        """A device's Artemis memory as a round left it."""
        return self.root / "runs" / run / "memories" / f"{device}-{number:08d}.memory"


@contextlib.contextmanager
def lock_folder(root: Path) -> Iterator[Folder]:
    """Make the folder and hold it for this process alone.

    Raises:
        Misuse: another server holds it, or it cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misuse(f"cannot use {root}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise Misuse(f"another server is using {root}") from None
    try:
        yield Folder(root)
    finally:
        os.close(handle)


def write_durably(path: Path, data: bytes, *, mode: int = 0o644, sync: Sync = os.fsync) -> None:
    """Write, fsync, rename, fsync the folder: after a crash the old or the new file is there.

    Raises:
        Refused: `storage`.
    """
    partial = path.with_name(path.name + ".partial")
    with refusing_storage():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
        try:
            write_all(handle, data)
            sync(handle)
        finally:
            os.close(handle)
        partial.replace(path)
        sync_folder(path.parent, sync=sync)


def sync_folder(folder: Path, *, sync: Sync) -> None:
    """Make names created in `folder`, or renamed within it, survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes | memoryview) -> None:
    """Write all of `data`: a single call may take less."""
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]
