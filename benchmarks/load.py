"""Load on a real server over loopback: commits a second, how long they take, the server's memory.

    python -m benchmarks.load [--quick] [--json FILE]

Load comes from processes of its own; they share the machine's cores with the server, so a server
on its own machine does better. Updates are encoded once and only get the header that each task
wants. Three parts: updates of three sizes at 2 bits; many devices that wait for work at the same
time; decoding and summing alone, as updates a second and core.
"""

import argparse
import asyncio
import dataclasses
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.errors import EdgeError
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Commit, Enrol, Enrolled, Finished, Place, Task
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, pack
from server_ref.aggregate import WeightedSum

CODEC = "eden:bits=2"
EDEN_REFERENCE_MS = 149.0
"""Decoding and adding one update of a million coordinates with EDEN's reference program, one core
(PyTorch, one thread; measured beside the first prototypes of this project)."""
PATIENCE_S = 60.0
LONG_POLL_S = 20.0


@dataclasses.dataclass(frozen=True, slots=True)
class Size:
    """One model size under load."""

    hidden: int
    """Width of the perceptron that has about the wanted number of parameters."""
    devices: int
    rounds: int


SIZES = {"60k": Size(220, 40, 6), "1M": Size(968, 16, 4), "5M": Size(2205, 6, 3)}
QUICK = {"60k": Size(220, 20, 3), "1M": Size(968, 6, 2), "5M": Size(2205, 3, 1)}


class Server:
    """`python -m server_ref` in a folder of its own."""

    def __init__(self, folder: Path, plan: bytes, options: Sequence[str]) -> None:
        self._announcement = folder / "announcement.json"
        (folder / "load.plan").write_bytes(plan)
        self._log = (folder / "server.log").open("wb")
        self._process = subprocess.Popen(
            [
                sys.executable, "-m", "server_ref", str(folder / "load.plan"),
                "--state", str(folder / "state"), "--port", "0",
                "--announce", str(self._announcement), "--codec", CODEC, *options,
            ],
            stdout=self._log,
            stderr=self._log,
        )  # fmt: skip
        until_s = time.monotonic() + PATIENCE_S
        while not self._announcement.exists():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise SystemExit((folder / "server.log").read_text())
            time.sleep(0.05)
        told = json.loads(self._announcement.read_text())
        self.url, self.join_token = str(told["url"]), str(told["join_token"])

    def resident_bytes(self) -> tuple[int, int]:
        """Resident memory now, and at its highest."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return _kib(rows["VmRSS"]), _kib(rows["VmHWM"])

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(PATIENCE_S)
        self._log.close()


def _kib(field: str) -> int:
    return 1024 * int(field.split(maxsplit=1)[0])


def _plan(hidden: int) -> bytes:
    return build_plan(
        zoo.mlp((hidden,), 10, hidden=(hidden, 64)), loss="cross-entropy", name="load"
    ).data


# ------------------------------------------------------------------ updates


@dataclasses.dataclass(frozen=True, slots=True)
class Load:
    """What one load process does."""

    dimension: int
    devices: int
    seed: int


@dataclasses.dataclass(frozen=True, slots=True)
class Taken:
    """What one load process saw."""

    update_s: list[float]
    """From the first byte of an update to its receipt."""
    began_s: float
    ended_s: float
    """On the system's monotonic clock, which processes share."""


def _load_updates(url: str, token: str, load: Load, sender: "Connection[Taken, None]") -> None:
    """One load process."""
    sender.send(asyncio.run(_all_devices(url, token, load)))


async def _all_devices(url: str, token: str, load: Load) -> Taken:
    codec = codec_from_spec(CODEC)
    drawn = np.random.default_rng(load.seed).standard_normal(load.dimension) / 100
    vector = drawn.astype(np.float32)
    payloads = codec.encode(vector, seed=1, chunk_bytes=65536 - HEADER_BYTES)
    times: list[float] = []
    transports = [HttpTransport(url) for _ in range(load.devices)]
    for transport in transports:
        transport.identify(await transport.enrol(Enrol(join_token=token)))
    began_s = time.monotonic()
    await asyncio.gather(*(_one_device(one, payloads, load.dimension, times) for one in transports))
    ended_s = time.monotonic()
    for transport in transports:
        await transport.close()
    return Taken(times, began_s, ended_s)


async def _one_device(
    transport: HttpTransport, payloads: Sequence[bytes], dimension: int, times: list[float]
) -> None:
    while True:
        task = await transport.check_in(CheckIn(wait_s=LONG_POLL_S))
        if isinstance(task, Finished):
            return
        if not isinstance(task, Task):
            await asyncio.sleep(task.retry_after_s)
            continue
        frames = _framed(payloads, task, dimension)
        commit = Commit(chunks=len(frames), examples=10, codec=CODEC)
        began_s = time.monotonic()
        await transport.upload(task, frames)
        await transport.commit(task, commit)
        times.append(time.monotonic() - began_s)


def _framed(payloads: Sequence[bytes], task: Task, dimension: int) -> list[bytes]:
    wire_id, parameter = frame_ids(codec_from_spec(CODEC))
    return [
        pack(
            Frame(
                kind=Kind.UPDATE, codec=wire_id, parameter=parameter, index=index,
                count=len(payloads), stage=task.stage, run=task.run, number=task.round,
                examples=10, seed=task.seed, dimension=dimension, payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]  # fmt: skip


def updates(size: Size, *, processes: int) -> dict[str, float]:
    """Load with updates of one size until the run is finished."""
    devices = size.devices - size.devices % processes
    plan = _plan(size.hidden)
    hidden = size.hidden
    dimension = hidden * hidden + hidden + hidden * 64 + 64 + 64 * 10 + 10
    with tempfile.TemporaryDirectory() as folder:
        server = Server(
            Path(folder), plan,
            ["--rounds", str(size.rounds), "--cohort", str(devices), "--join-uses", str(devices)],
        )  # fmt: skip
        idle, _ = server.resident_bytes()
        before_s = server.cpu_s()
        loads = [Load(dimension, devices // processes, n) for n in range(processes)]
        taken = _in_processes(server, loads)
        _, highest = server.resident_bytes()
        cpu_s = server.cpu_s() - before_s
        server.close()
    times = [s for one in taken for s in one.update_s]
    seconds = max(one.ended_s for one in taken) - min(one.began_s for one in taken)
    return {
        "params": dimension,
        "updates": len(times),
        "commits_per_s": len(times) / seconds,
        "server_cpu_ms_per_update": 1e3 * cpu_s / len(times),
        "p50_ms": 1e3 * float(np.percentile(times, 50)),
        "p99_ms": 1e3 * float(np.percentile(times, 99)),
        "idle_rss_mb": idle / 2**20,
        "highest_rss_mb": highest / 2**20,
    }


def _in_processes(server: Server, loads: Sequence[Load]) -> list[Taken]:
    context = multiprocessing.get_context("spawn")
    running = []
    for load in loads:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_load_updates, args=(server.url, server.join_token, load, sender)
        )
        process.start()
        running.append((process, receiver))
    taken: list[Taken] = []
    for process, receiver in running:
        taken.append(receiver.recv())
        process.join(PATIENCE_S)
    return taken


# ------------------------------------------------------------------ devices that wait


def waiting(devices: int) -> dict[str, float]:
    """Devices that are enrolled and ask for work at once while others hold all places."""
    with tempfile.TemporaryDirectory() as folder:
        server = Server(
            Path(folder), _plan(220),
            ["--rounds", "5", "--cohort", "1", "--join-uses", str(devices + 1)],
        )  # fmt: skip
        idle, _ = server.resident_bytes()
        try:
            seen = asyncio.run(_waiting(server, devices))
        finally:
            server.close()
    return {"devices": devices, "idle_rss_mb": idle / 2**20, **seen}


async def _waiting(server: Server, devices: int) -> dict[str, float]:
    transports = [HttpTransport(server.url) for _ in range(devices + 1)]
    began_s = time.monotonic()
    gate = asyncio.Semaphore(32)

    async def join(transport: HttpTransport) -> Enrolled:
        async with gate:
            identity = await transport.enrol(Enrol(join_token=server.join_token))
            transport.identify(identity)
            return identity

    await asyncio.gather(*map(join, transports))
    enrolled_s = time.monotonic() - began_s
    holder, *others = transports
    task = await holder.check_in(CheckIn())
    if not isinstance(task, Task):
        raise SystemExit("the first device got no work")
    # Asked at once: the answer is a pause.
    paced: list[float] = []

    async def ask(transport: HttpTransport) -> None:
        async with gate:
            asked_s = time.monotonic()
            await transport.check_in(CheckIn())
            paced.append(time.monotonic() - asked_s)

    before_s, began_s = server.cpu_s(), time.monotonic()
    await asyncio.gather(*map(ask, others))
    asked_s, asked_cpu_s = time.monotonic() - began_s, server.cpu_s() - before_s
    # Held: each keeps a request open until there is work.
    held = [asyncio.ensure_future(one.check_in(CheckIn(wait_s=10))) for one in others]
    await asyncio.sleep(5)
    resident, _ = server.resident_bytes()
    answers = await asyncio.gather(*held, return_exceptions=True)
    for transport in transports:
        await transport.close()
    _, highest = server.resident_bytes()
    return {
        "enrolments_per_s": len(transports) / enrolled_s,
        "check_ins_per_s": len(others) / asked_s,
        "check_in_server_cpu_ms": 1e3 * asked_cpu_s / len(others),
        "check_in_p99_ms": 1e3 * float(np.percentile(paced, 99)),
        "held_rss_mb": resident / 2**20,
        "highest_rss_mb": highest / 2**20,
        "refused": sum(isinstance(answer, EdgeError) for answer in answers),
    }


# ------------------------------------------------------------------ decode and average


def decoding(dimension: int, *, repeats: int) -> dict[str, float]:
    """Processor time to decode updates and add them, one core."""
    vector = np.random.default_rng(0).standard_normal(dimension).astype(np.float32)
    found: dict[str, float] = {}
    for spec in ("eden:bits=1", CODEC, "blockwise:rate=0.5", "blockwise:rate=2"):
        codec = codec_from_spec(spec)
        payloads = codec.encode(vector, seed=1, chunk_bytes=65536 - HEADER_BYTES)
        total = WeightedSum(dimension)
        times: list[float] = []
        for _ in range(repeats):
            began_s = time.process_time()
            pieces = (
                codec.decode(payload, Place(dimension, index, len(payloads), 1))
                for index, payload in enumerate(payloads)
            )
            total.add(pieces, 2.0)
            times.append(time.process_time() - began_s)
        found[spec] = 1e9 * float(np.median(times)) / dimension
    return found


# ------------------------------------------------------------------ the command


def measured(*, quick: bool) -> dict[str, object]:
    """Everything, as the JSON has it."""
    sizes = QUICK if quick else SIZES
    found = {name: updates(size, processes=2) for name, size in sizes.items()}
    idle = waiting(300 if quick else 2000)
    decode = decoding(1 << 20, repeats=3 if quick else 9)
    highest = max([one["highest_rss_mb"] for one in found.values()] + [idle["highest_rss_mb"]])
    return {
        "commits_per_s": {name: one["commits_per_s"] for name, one in found.items()},
        "p99_ms": {name: one["p99_ms"] for name, one in found.items()},
        "server_rss_mb": highest,
        "updates": found,
        "waiting": idle,
        "decode_ms_per_million": decode,
        "decode_gain_over_eden_reference": {
            spec: EDEN_REFERENCE_MS / ms for spec, ms in decode.items()
        },
    }


def _print(found: dict[str, object]) -> None:
    for part in ("updates", "decode_ms_per_million", "decode_gain_over_eden_reference"):
        rows = found[part]
        if isinstance(rows, dict):
            for name, row in rows.items():
                print(f"{part} {name}: {_line(row)}")
    print(f"waiting: {_line(found['waiting'])}")
    print(f"server_rss_mb {found['server_rss_mb']:.0f}")


def _line(row: object) -> str:
    if isinstance(row, dict):
        return ", ".join(f"{name} {value:.4g}" for name, value in row.items())
    return f"{row:.3g}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller, within a minute")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 16384), hard), hard))
    found = measured(quick=arguments.quick)
    _print(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
