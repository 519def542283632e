"""What telemetry costs beside what it watches: CPU time of looking over CPU time of a round.

    python -m benchmarks.telemetry_overhead [--quick] [--json FILE]

A real client trains the demonstration's CNN in real rounds against a server in memory, so that the
process's CPU time is the device's alone. Everything that exists to measure and to decide is timed
where it is called, with the CPU clock of its thread: looking at the hardware, the link's estimate,
costs, conditions, the policy's decisions and lessons, ledger and books (written and flushed to
disk as on a device). The sampler of a power meter has a thread of its own, which measures itself.

machine   `this`: what this machine has; `pi4+ina219`: recorded files of a Raspberry Pi 4 with a
          power meter, on this machine's disk, whose energy has to be sampled twice a second
work      examples x epochs; `digits` is what a device of the demonstration does
round_ms  CPU time of one whole round, telemetry included
looking   readings, costs, link and the sampler's thread: telemetry in the narrow sense
all       the same with conditions, policy, ledger and books
"""

import argparse
import asyncio
import dataclasses
import hashlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.interfaces import Batch
from edge_sdk.plan import Plan
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.phases import PhaseLog
from edge_sdk.runtime.steward import Steward
from edge_sdk.telemetry import ByteMeter, LinkMeter, ProcessSensor
from edge_sdk.testing import JOIN_TOKEN, ScriptedServer
from edge_sdk.values import Task
from rpi_demo.fleet import DIGITS
from tests.edge_sdk.telemetry import boards

LOOKING = "looking"
DECIDING = "deciding and books"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """One device's round, CPU seconds, means over the rounds."""

    machine: str
    work: str
    rounds: int
    round_s: float
    looking_s: float
    sampler_s: float
    deciding_s: float

    @property
    def looking_share(self) -> float:
        """Telemetry in the narrow sense, of the round's own CPU time without all of it."""
        own = self.round_s - self.looking_s - self.sampler_s - self.deciding_s
        return (self.looking_s + self.sampler_s) / own

    @property
    def whole_share(self) -> float:
        """Everything that measures and decides."""
        own = self.round_s - self.looking_s - self.sampler_s - self.deciding_s
        return (self.looking_s + self.sampler_s + self.deciding_s) / own


@dataclasses.dataclass(frozen=True, slots=True)
class Work:
    """What one round trains."""

    name: str
    plan: Plan
    data: Batch
    epochs: int
    batch: int


class Stopwatch:
    """CPU time by name of what runs inside; of nested calls the outer one does not count twice."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {LOOKING: 0.0, DECIDING: 0.0}
        self._inner: list[float] = []

    def timed(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed."""

        def run(*args: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever is timed
            start_s = time.thread_time()
            self._inner.append(0.0)
            try:
                return call(*args, **named)
            finally:
                whole_s = time.thread_time() - start_s
                self.spent[name] += whole_s - self._inner.pop()
                if self._inner:
                    self._inner[-1] += whole_s

        return run


@contextmanager
def watched(watch: Stopwatch) -> Iterator[None]:
    """Time everything that exists to measure and to decide."""
    targets: tuple[tuple[type, str, str], ...] = (
        (ProcessSensor, "read", LOOKING),
        (LinkMeter, "transferred", LOOKING),
        (PhaseLog, "end", LOOKING),
        (Steward, "look", LOOKING),
        (Steward, "report", LOOKING),
        (Steward, "objection", DECIDING),
        (Steward, "decide", DECIDING),
        (Steward, "ended", DECIDING),
    )
    patches = [
        mock.patch.object(owner, name, watch.timed(kind, getattr(owner, name)))
        for owner, name, kind in targets
    ]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def measure(machine: str, root: Path, work: Work, *, rounds: int) -> Overhead:
    """Rounds of one device; the first, which loads plan and engine, does not count."""
    plan, data = work.plan, work.data
    tasks = [_task(work, number) for number in range(1, rounds + 2)]
    server = ScriptedServer(tasks, plan=plan.data, weights=plan.initial_weights())
    sensor = ProcessSensor(ByteMeter(), root=root)
    watch = Stopwatch()

    async def run(state: str) -> tuple[float, float]:
        client = Client(
            "https://fl.example.org",
            token=JOIN_TOKEN,
            data=data,
            state=state,
            transport=server,
            sensor=sensor,
        )
        await client.participate()
        watch.spent = dict.fromkeys(watch.spent, 0.0)
        sampler_s = sensor.read().energy_sampling_cpu_s
        start_s = time.process_time()
        for _ in range(rounds):
            if await client.participate() is None:
                raise RuntimeError("a round came to nothing")
        spent_s = time.process_time() - start_s
        sampler_s = sensor.read().energy_sampling_cpu_s - sampler_s
        await client.close()
        return spent_s, sampler_s

    with tempfile.TemporaryDirectory(prefix="edge-sdk-overhead-") as state, watched(watch):
        spent_s, sampler_s = asyncio.run(run(state))
    sensor.close()
    return Overhead(
        machine=machine,
        work=work.name,
        rounds=rounds,
        round_s=spent_s / rounds,
        looking_s=watch.spent[LOOKING] / rounds,
        sampler_s=sampler_s / rounds,
        deciding_s=watch.spent[DECIDING] / rounds,
    )


def _task(work: Work, number: int) -> Task:
    return Task(
        run="0123456789abcdef",
        round=number,
        plan=hashlib.sha256(work.plan.data).hexdigest(),
        model_version=number - 1,
        codecs=("eden:bits=4", "eden:bits=2", "eden:bits=1"),
        seed=number,
        epochs=work.epochs,
        batch_size=work.batch,
        learning_rate=0.01,
        deadline_s=600.0,
        stage_sizes=(work.plan.layout().size,),
    )


def demonstration() -> Work:
    """What one of ten devices of `python -m rpi_demo.fleet` does in a round."""
    with np.load(DIGITS) as digits:
        data = digits["x_train"][:144, None].astype(np.float32), digits["y_train"][:144]
    plan = build_plan(zoo.cnn((1, 8, 8)), loss="cross-entropy", name="digits")
    return Work("digits 144 x 3", plan, data, epochs=3, batch=16)


def images(examples: int, epochs: int) -> Work:
    """Images of 28 x 28 drawn from a seed, for the same CNN; what they show costs nothing."""
    draw = np.random.default_rng(1)
    data = (
        draw.integers(0, 255, (examples, 1, 28, 28)).astype(np.float32),
        draw.integers(0, 10, examples),
    )
    plan = build_plan(zoo.cnn(), loss="cross-entropy", name="images")
    return Work(f"28x28 {examples} x {epochs}", plan, data, epochs=epochs, batch=32)


def measure_all(*, quick: bool) -> list[Overhead]:
    """Both machines, rounds of several sizes."""
    works = [demonstration(), images(300, 1)]
    if not quick:
        works += [images(600, 3)]
    with tempfile.TemporaryDirectory(prefix="edge-sdk-board-") as folder:
        root = boards.ina2xx(boards.pi(Path(folder)))
        return [
            measure(machine, where, work, rounds=3 if quick else 15)
            for machine, where in (("this", Path("/")), ("pi4+ina219", root))
            for work in works
        ]


def print_table(found: Sequence[Overhead]) -> None:
    """One line each."""
    print(f"{'machine':12}{'work':16}{'round_ms':>10}{'looking':>9}{'all':>8}")
    for one in found:
        print(
            f"{one.machine:12}{one.work:16}{1000 * one.round_s:>10.1f}"
            f"{one.looking_share:>9.2%}{one.whole_share:>8.2%}"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.telemetry_overhead",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    found = measure_all(quick=arguments.quick)
    print_table(found)
    if arguments.json is not None:
        rows = [
            dataclasses.asdict(one)
            | {"looking_share": one.looking_share, "whole_share": one.whole_share}
            for one in found
        ]
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
