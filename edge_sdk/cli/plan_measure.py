"""Time and memory of one training step here: each stage in a fresh process, through the engine.

    python -m edge_sdk.cli.plan_measure PLAN [--stage N] [--warm-up] [--batch-size N] [--threads N]
    python -m edge_sdk.cli.plan_measure PLAN --split [--batch-size N] [--threads N]

The second measures the device's parts of a split; the server's part and quantizing are not in it.
It
prints one line of JSON. Input is random, targets are zero: neither changes what is computed.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.engines.select import select_engine
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Batch, Dataset
from edge_sdk.plan import Plan, TensorSpec, load_plan
from edge_sdk.plan.split import device_parts
from edge_sdk.telemetry.device import peak_resident_bytes
from edge_sdk.values import TrainSettings, Vector

WARM_UP_STEPS = 2
LEAST_STEPS = 3
MEASURED_S = 1.0
"""Steps are run until so much time has passed."""
TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Measured:
    """One training step on this machine."""

    ms: float
    """Median wall time."""
    peak_mb: float | None
    """Peak resident memory of the process, 10**6 bytes; None where the system cannot tell."""


def measure(
    file: Path, *, stage: int, warm_up: bool = False, batch_size: int = 32, threads: int = 1
) -> Measured | str:
    """Train a stage of the plan in `file` for about a second, in a process of its own.

    Returns:
        What was measured, or a short reason why nothing was.
    """
    way = ["--stage", str(stage), *(["--warm-up"] if warm_up else [])]
    return _in_a_process(file, *way, batch_size=batch_size, threads=threads)


def measure_split(
    file: Path, *, batch_size: int = 32, threads: int = 1, seconds: float = MEASURED_S
) -> Measured | str:
    """Run the device's parts of the plan's split for about `seconds`, as `measure` does."""
    way = ["--split", "--seconds", str(seconds)]
    return _in_a_process(file, *way, batch_size=batch_size, threads=threads)


def _in_a_process(file: Path, *way: str, batch_size: int, threads: int) -> Measured | str:
    words = [str(file), *way, "--batch-size", str(batch_size), "--threads", str(threads)]
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-m", "edge_sdk.cli.plan_measure", *words],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"over {TIMEOUT_S:.0f} s"
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"ended with {done.returncode}"
    return Measured(**json.loads(done.stdout))


class _SameBatch:
    """One batch, again and again: a dataset whose pass never ends."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch[0])

    def batches(self, *, size: int, seed: int | None) -> "itertools.repeat[Batch]":
        """The batch, for ever; its size and order are fixed."""
        del size, seed
        return itertools.repeat(self._batch)


class _Stopwatch:
    """Asked before each step: times the step that has just ended, and ends it all in time."""

    def __init__(self, seconds: float = MEASURED_S) -> None:
        self.steps_s: list[float] = []
        self._seconds = seconds
        self._last_s: float | None = None
        self._began_s = time.perf_counter()

    def __call__(self) -> bool:
        now_s = time.perf_counter()
        if self._last_s is not None:
            self.steps_s.append(now_s - self._last_s)
        if len(self.steps_s) == WARM_UP_STEPS:
            self._began_s = now_s
        self._last_s = now_s
        counted = len(self.steps_s) - WARM_UP_STEPS
        return counted < LEAST_STEPS or now_s - self._began_s < self._seconds

    @property
    def ms(self) -> float:
        """Median of the steps that count."""
        return 1e3 * statistics.median(self.steps_s[WARM_UP_STEPS:])


def _batch(plan: Plan, size: int) -> Batch:
    return _drawn(plan.input, size), np.zeros((size, *plan.target.shape), plan.target.dtype)


def _drawn(spec: TensorSpec, size: int) -> NDArray[np.generic]:
    shape = (size, *spec.shape)
    if not spec.dtype.startswith("float"):
        return np.zeros(shape, spec.dtype)
    return np.random.default_rng(0).standard_normal(shape, np.float32).astype(spec.dtype)


def _peak_mb() -> float | None:
    """Of this address space alone; `ru_maxrss` would count what the parent held at the start."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    peak = peak_resident_bytes()
    return None if peak is None else peak / 1e6


def main() -> None:
    """Measure in this process and print one line."""
    parser = argparse.ArgumentParser(prog="python -m edge_sdk.cli.plan_measure")
    parser.add_argument("plan", type=Path)
    parser.add_argument("--stage", type=int, default=0)
    parser.add_argument("--warm-up", action="store_true")
    parser.add_argument("--split", action="store_true")
    parser.add_argument("--seconds", type=float, default=MEASURED_S)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan.read_bytes())
    run = _run_split if arguments.split else _run_stage
    watch = _Stopwatch(arguments.seconds)
    run(plan, arguments, watch)
    print(json.dumps({"ms": watch.ms, "peak_mb": _peak_mb()}))


def _run_stage(plan: Plan, arguments: argparse.Namespace, watch: _Stopwatch) -> None:
    engine = select_engine(
        plan, stage=arguments.stage, warm_up=arguments.warm_up, threads=arguments.threads
    )
    data: Dataset = _SameBatch(_batch(plan, arguments.batch_size))
    engine.train(
        plan.initial_weights(arguments.stage),
        data,
        TrainSettings(batch_size=arguments.batch_size, learning_rate=1e-4),
        keep_going=watch,
    )


def _run_split(plan: Plan, arguments: argparse.Namespace, watch: _Stopwatch) -> None:
    """Steps of the device's parts, with what the server would answer drawn at random."""
    if plan.split is None:
        raise Misuse(f"{plan.name} has no split")
    split, rate = plan.split, 1e-4
    first, *last = device_parts(split.parts)
    inputs, targets = _batch(plan, arguments.batch_size)
    made = [_drawn(cut, arguments.batch_size) for cut in split.cuts]
    engine = PartEngine(plan, first, threads=arguments.threads)
    state = engine.start(_weights(plan, first))
    ends = [PartEngine(plan, part, threads=arguments.threads) for part in last]
    tails = [end.start(_weights(plan, part)) for end, part in zip(ends, last, strict=True)]
    while watch():
        engine.forward(state, inputs, seed=0, batch=0)
        for end, tail in zip(ends, tails, strict=True):
            end.update(tail, made[-1], targets, learning_rate=rate, seed=0, batch=0)
        engine.update(state, inputs, made[0], learning_rate=rate, seed=0, batch=0)


def _weights(plan: Plan, part: int) -> Vector:
    return plan.segments().part(part).take(plan.whole_weights())


if __name__ == "__main__":
    main()
