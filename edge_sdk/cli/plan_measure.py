"""Time and memory of one training step here: each stage in a fresh process, through the engine.

    python -m edge_sdk.cli.plan_measure PLAN [--stage N] [--warm-up] [--batch-size N] [--threads N]

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
from edge_sdk.interfaces import Batch, Dataset
from edge_sdk.plan import Plan, TensorSpec, load_plan
from edge_sdk.telemetry.device import peak_resident_bytes
from edge_sdk.values import TrainSettings

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
    words = [str(file), "--stage", str(stage), "--batch-size", str(batch_size)]
    words += ["--threads", str(threads), *(["--warm-up"] if warm_up else [])]
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

    def __init__(self) -> None:
        self.steps_s: list[float] = []
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
        return counted < LEAST_STEPS or now_s - self._began_s < MEASURED_S


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
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan.read_bytes())
    engine = select_engine(
        plan, stage=arguments.stage, warm_up=arguments.warm_up, threads=arguments.threads
    )
    data: Dataset = _SameBatch(_batch(plan, arguments.batch_size))
    watch = _Stopwatch()
    engine.train(
        plan.initial_weights(arguments.stage),
        data,
        TrainSettings(batch_size=arguments.batch_size, learning_rate=1e-4),
        keep_going=watch,
    )
    ms = 1e3 * statistics.median(watch.steps_s[WARM_UP_STEPS:])
    print(json.dumps({"ms": ms, "peak_mb": _peak_mb()}))


if __name__ == "__main__":
    main()
