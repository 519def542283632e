"""The demonstration's processes: one aggregator, many devices, each with a log file of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Process:
    """A running program and where it writes."""

    name: str
    popen: "subprocess.Popen[bytes]"
    log: Path

    def tail(self, lines: int = 12) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


@dataclass(frozen=True, slots=True)
class Announcement:
    """Where the aggregator listens and what opens it."""

    url: str
    join_token: str
    operator_token: str


def start(name: str, arguments: Sequence[str], *, log: Path, **environment: str) -> Process:
    """Start `python -m ARGUMENTS` with its output in `log`."""
    with log.open("wb") as stream:
        popen = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
    return Process(name=name, popen=popen, log=log)


def wait_announced(server: Process, file: Path, *, patience_s: float = 60.0) -> Announcement:
    """Wait until the aggregator listens.

    Raises:
        Unavailable: it ended or stayed silent; the message ends with its log.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if file.exists():
            told = json.loads(file.read_text())
            return Announcement(
                url=told["url"],
                join_token=told["join_token"],
                operator_token=told["operator_token"],
            )
        if server.popen.poll() is not None:
            break
        time.sleep(0.05)
    raise Unavailable(f"the aggregator did not start:\n{server.tail()}")


def stop(processes: Sequence[Process], *, patience_s: float = 10.0) -> None:
    """Ask all to end, then insist."""
    for process in processes:
        if process.popen.poll() is None:
            process.popen.terminate()
    deadline = time.monotonic() + patience_s
    for process in processes:
        try:
            process.popen.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.popen.kill()
            process.popen.wait()
