"""The only ways into the operating system that readers use: files under a root, and commands.

Everything hangs off one `root`, so that a reader can be pointed at a recorded tree of any board. A
file may be absent, forbidden, unplugged between two reads or failing with an input/output error;
all of these are None here, because a reader must go on in each case. `denied` tells the one that a
person can repair from the others.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

MAX_FILE_BYTES = 65536
"""More than any file of sysfs or procfs that is read here."""

MAX_NAMES = 4096
"""Entries looked at in one folder."""

COMMAND_TIMEOUT_S = 3.0

_CLOSE_ON_EXEC = getattr(os, "O_CLOEXEC", 0)


class SystemFiles:
    """Small text files of the system below `root`; paths are relative to it, as `sys/class/hwmon`.

    No method raises for what the system does.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self._base = str(root).rstrip("/")

    def text(self, path: str) -> str | None:
        """The file's text without white space or NULs at its ends; None when it cannot be read."""
        data = self.read_bytes(path)
        return None if data is None else data.decode("utf-8", "replace").strip(" \t\r\n\0")

    def number(self, path: str) -> int | None:
        """The integer that the file holds in decimal; None when there is none."""
        text = self.text(path)
        if text is None or len(text) > 24:
            return None
        try:
            return int(text)
        except ValueError:
            return None

    def names(self, folder: str) -> list[str]:
        """Names in a folder, sorted so that `hwmon10` follows `hwmon9`; empty without one."""
        try:
            with os.scandir(self.root / folder) as entries:
                found = [entry.name for entry, _ in zip(entries, range(MAX_NAMES), strict=False)]
        except (OSError, ValueError):
            return []
        return sorted(found, key=lambda name: (len(name), name))

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder, readable or not."""
        return os.path.lexists(self.root / path)

    def denied(self, path: str) -> bool:
        """Whether the file is there but this user may not read it."""
        return self.exists(path) and not self.may_read(path)

    def may_read(self, path: str) -> bool:
        """Whether this user may open the file."""
        return os.access(self.root / path, os.R_OK)

    def read_bytes(self, path: str) -> bytes | None:
        """At most `MAX_FILE_BYTES` of the file; None when it cannot be read."""
        # Plain system calls: samplers come here several times a second, and buffered files and
        # path objects cost ten times as much.
        try:
            descriptor = os.open(f"{self._base}/{path}", os.O_RDONLY | _CLOSE_ON_EXEC)
        except (OSError, ValueError):
            return None
        try:
            data = b""
            while len(data) < MAX_FILE_BYTES:
                piece = os.read(descriptor, MAX_FILE_BYTES - len(data))
                if not piece:
                    break
                data += piece
        except OSError:
            return None
        finally:
            os.close(descriptor)
        return data


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left behind."""

    status: int
    output: str
    """Standard output and standard error together."""


Run = Callable[[Sequence[str]], Finished | None]
"""Runs a command without a shell; None when there is no such command or it never ended."""


def run_command(words: Sequence[str]) -> Finished | None:
    """Run a command of this machine for at most `COMMAND_TIMEOUT_S` seconds."""
    program = shutil.which(words[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed words of this package, never a shell
            [program, *words[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return Finished(done.returncode, done.stdout[:MAX_FILE_BYTES].decode("utf-8", "replace"))


def device_model(files: SystemFiles) -> str | None:
    """What the board calls itself, e.g. `Raspberry Pi 4 Model B Rev 1.4`; None without a name."""
    for path in ("proc/device-tree/model", "sys/firmware/devicetree/base/model"):
        if model := files.text(path):
            return model
    return files.text("sys/class/dmi/id/product_name") or None
