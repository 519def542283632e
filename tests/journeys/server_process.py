"""A real aggregator process for journeys: started, killed and started again on one state folder."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

PATIENCE_S = 60.0


class ServerProcess:
    """`python -m server_ref` on one port and one state folder.

    `program` may be another one that takes the same arguments.
    """

    def __init__(
        self,
        plan: Path,
        folder: Path,
        options: Sequence[str] = (),
        *,
        program: Sequence[str] = ("-m", "server_ref"),
        state: Path | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.state = state or folder / "state"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._announcement = folder / "announcement.json"
        self._command = [
            str(plan),
            "--state", str(self.state), "--port", str(self.port),
            "--announce", str(self._announcement), *options,
        ]  # fmt: skip
        self._program = program
        self._popen: subprocess.Popen[bytes] | None = None
        self.join_token = ""
        self.operator_token = ""

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._popen is not None and self._popen.poll() is None

    def has_died(self, *, within_s: float) -> bool:
        """Whether the process has ended, or does so soon."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            if self._popen is not None:
                self._popen.wait(within_s)
        return not self.running

    def start(self, program: Sequence[str] | None = None) -> None:
        """Start, and wait until it listens; `program` for this once."""
        self._announcement.unlink(missing_ok=True)
        command = [sys.executable, *(program or self._program), *self._command]
        with (self.folder / "server.log").open("ab") as log:
            self._popen = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE_S
        while not self._announcement.exists():
            if self._popen.poll() is not None or time.monotonic() > deadline:
                raise AssertionError((self.folder / "server.log").read_text())
            time.sleep(0.02)
        told = json.loads(self._announcement.read_text())
        self.join_token = told["join_token"] or self.join_token
        self.operator_token = told["operator_token"] or self.operator_token

    def kill(self) -> None:
        """`kill -9`: no handler runs, nothing is flushed."""
        self._end(signal.SIGKILL)

    def interrupt(self) -> None:
        """Ctrl-C."""
        self._end(signal.SIGINT)

    def _end(self, number: signal.Signals) -> None:
        if self._popen is not None and self._popen.poll() is None:
            self._popen.send_signal(number)
            self._popen.wait(PATIENCE_S)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def start_device(url: str, token: str, data: Path, state: Path) -> "subprocess.Popen[bytes]":
    """`python -m rpi_demo` with its output appended to `STATE.log`."""
    with state.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [
                sys.executable, "-m", "rpi_demo", "--server", url, "--data", str(data),
                "--state", str(state), "--name", state.name,
            ],
            stdout=log,
            stderr=log,
            env={**os.environ, "EDGE_SDK_JOIN_TOKEN": token},
        )  # fmt: skip
