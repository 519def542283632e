"""Many split sessions at once: does the server's memory stay within its bound, and how fast is it?

    python -m benchmarks.split_load [--quick] [--json FILE] [--sessions N] [--batches N]

A real server process (two training threads) and as many devices as sessions in another, over
loopback. All sessions are opened, then every device trains its batches, then, with all sessions
still open, the server's memory is read. The stated bound is

    before + 40 MB + sessions x (1.25 x copy of the server's part with its state + 256 KiB)

the 40 MB for what two threads need while they train, `before` being the server's resident memory
with all devices enrolled and no session.
"""

import argparse
import asyncio
import dataclasses
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS, SERVER_PART
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Enrol, Task, Vector
from edge_sdk.values.splitting import SplitBegin, SplitEnd
from rpi_demo import processes

EACH_BYTES = 256 * 1024
TRAINING_BYTES = 40e6
COPIES = 1.25
BATCH = 16


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """What was measured."""

    sessions: int
    batches: int
    copy_mb: float
    """One session's copy of the server's part with its optimizer state."""
    before_mb: float
    open_mb: float
    """With all sessions open and trained."""
    bound_mb: float
    batches_per_s: float
    worst_answer_s: float
    message_bytes: int

    @property
    def kept(self) -> bool:
        """Whether memory stayed within the bound."""
        return self.open_mb <= self.bound_mb


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Many split sessions at once.")
    parser.add_argument("--quick", action="store_true", help="20 sessions")
    parser.add_argument("--json", type=Path, help="write figures here")
    parser.add_argument("--sessions", type=int, default=200)
    parser.add_argument("--batches", type=int, default=5, help="of each session")
    options = parser.parse_args()
    sessions = 20 if options.quick else options.sessions
    found = measure(sessions, options.batches)
    print(
        f"{found.sessions} sessions, {found.batches} batches of {BATCH} each, "
        f"{found.message_bytes} bytes a message; a copy is {found.copy_mb:.2f} MB\n"
        f"server: {found.before_mb:.0f} MB before, {found.open_mb:.0f} MB with all open, bound "
        f"{found.bound_mb:.0f} MB: {'kept' if found.kept else 'BROKEN'}\n"
        f"{found.batches_per_s:.0f} batches a second; slowest answer {found.worst_answer_s:.2f} s"
    )
    if options.json:
        options.json.write_text(json.dumps(dataclasses.asdict(found)) + "\n", encoding="utf-8")


def measure(sessions: int, batches: int) -> Found:
    """Start a server, load it, stop it."""
    plan = build_plan(zoo.cnn(), loss="cross-entropy", name="load", cut="auto")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "load.plan").write_bytes(plan.data)
        config = f'ways = ["split"]\nsplit_sessions = {sessions}\njoin_uses = {sessions}\n'
        (root / "load.toml").write_text(f"{config}cohort = {sessions}\nbatch_size = {BATCH}\n")
        words = [str(root / "load.plan"), "--config", str(root / "load.toml"), "--port", "0"]
        words += ["--state", str(root / "state"), "--announce", str(root / "told.json")]
        server = processes.start("server", ["server_ref", *words], log=root / "server.log")
        try:
            told = processes.wait_announced(server, root / "told.json")
            fleet = _Fleet(plan, told.url, told.join_token, server.popen.pid)
            return asyncio.run(fleet.run(sessions, batches))
        finally:
            processes.stop([server])


class _Fleet:
    """All devices of one measurement."""

    def __init__(self, plan: Plan, url: str, join_token: str, server: int) -> None:
        self._plan = plan
        self._url = url
        self._join_token = join_token
        self._server = server
        self._engine = PartEngine(plan, 0)
        self._start = plan.segments().stage(DEVICE_PARTS).take(plan.initial_weights())

    async def run(self, sessions: int, batches: int) -> Found:
        """Open, train, look, end."""
        copy = PartEngine(self._plan, SERVER_PART)
        size = copy.start(np.zeros(copy.layout.size, np.float32)).size_bytes
        devices = [_Device(self._plan, self._engine, self._start) for _ in range(sessions)]
        for device in devices:
            await device.join(self._url, self._join_token)
        before_mb = resident_mb(self._server)
        await asyncio.gather(*(device.open() for device in devices))
        began_s = time.perf_counter()
        await asyncio.gather(*(device.train(batches) for device in devices))
        took_s = time.perf_counter() - began_s
        open_mb = resident_mb(self._server)
        await asyncio.gather(*(device.end() for device in devices))
        return Found(
            sessions=sessions,
            batches=batches,
            copy_mb=size / 1e6,
            before_mb=before_mb,
            open_mb=open_mb,
            bound_mb=before_mb + (TRAINING_BYTES + sessions * (COPIES * size + EACH_BYTES)) / 1e6,
            batches_per_s=sessions * batches / took_s,
            worst_answer_s=max(device.worst_s for device in devices),
            message_bytes=devices[0].message_bytes,
        )


class _Device:
    """One device with random images."""

    def __init__(self, plan: Plan, engine: PartEngine, start: Vector) -> None:
        self._plan = plan
        self._engine = engine
        self._start = start
        self.worst_s = 0.0
        self.message_bytes = 0

    async def join(self, url: str, token: str) -> None:
        """Enrol and get a task."""
        self._transport = HttpTransport(url)
        await self._transport.enrol(Enrol(join_token=token))
        task = await self._transport.check_in(CheckIn(wait_s=10))
        if not isinstance(task, Task):
            raise TypeError(f"no task but {task}")
        self._task = task

    async def open(self) -> None:
        """Begin the session."""
        task = self._task
        self._channel = await self._transport.split(task)
        ready = await self._channel.begin(SplitBegin(attempt=1))
        terms = SplitTerms(
            run=task.run,
            round=task.round,
            seed=task.seed,
            learning_rate=task.learning_rate,
            activations=ready.activations,
            gradients=ready.gradients,
            correction=ready.correction,
        )
        self._half = DeviceHalf(self._plan, [self._engine], [self._start], terms)

    async def train(self, batches: int) -> None:
        """Some batches."""
        rng = np.random.default_rng(self._task.seed)
        x = rng.integers(0, 255, (BATCH, 1, 28, 28)).astype(np.float32)
        y = rng.integers(0, 10, BATCH)
        for _ in range(batches):
            message = await asyncio.to_thread(self._half.begin, x, y)
            began_s = time.perf_counter()
            await self._channel.send(message)
            answer = await self._channel.receive()
            self.worst_s = max(self.worst_s, time.perf_counter() - began_s)
            self.message_bytes = len(message)
            await asyncio.to_thread(self._half.take, answer)

    async def end(self) -> None:
        """The session's end."""
        await self._channel.end(SplitEnd(messages=self._half.batches))
        await self._channel.close()
        await self._transport.close()


def resident_mb(process: int) -> float:
    """Resident memory of a process, 10**6 bytes."""
    for line in Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("no VmRSS")


if __name__ == "__main__":
    main()
