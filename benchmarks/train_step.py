"""Time and memory of one training step for every model of the zoo, beside PyTorch's.

    python -m benchmarks.train_step [--quick] [--models NAME ...] [--json FILE]

For each model and one and two threads a fresh process opens the plan and trains it on one batch
with SGD and momentum. Where PyTorch is installed, a second process does the same in eager mode, and
the two take turns, a fraction of a second each, while the other sleeps: drift of the machine falls
on both. Figures are medians over all steps after warming up.

Keys: `models.<name>.{ms_1_thread, ms_2_threads, peak_rss_mb, ratio_to_torch}`. Milliseconds are
wall time. `ratio_to_torch` (below 1: ours is faster) is of processor time at one thread, which on a
quiet machine is wall time, and on a busy one stays right where wall time does not;
`wall_ratio_to_torch` stands beside it. Peaks are those of one thread. Further `cpu_ms_1_thread`,
and with PyTorch `torch_ms_1_thread`, `torch_ms_2_threads`, `torch_cpu_ms_1_thread`,
`torch_peak_rss_mb`, `rss_ratio_to_torch`. A model that cannot be made trainable has only `error`.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnx import numpy_helper

from benchmarks.cases import CASES
from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.architectures import ARCHITECTURES
from edge_sdk.errors import EdgeError

Figures = dict[str, float | str]
Engine = Literal["ours", "torch"]

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAMS: dict[Engine, str] = {"ours": "benchmarks.our_step", "torch": "benchmarks.torch_models"}
WARM_UP_STEPS = 3
PAUSE_S = 0.02
"""Between turns, so that one library's idle threads stop spinning before the other begins."""


class Runner:
    """One process that trains one model, and what it has told so far."""

    def __init__(self, engine: Engine, file: Path, case: str, threads: int) -> None:
        command = [sys.executable, "-m", PROGRAMS[engine], str(file), case]
        self._process = subprocess.Popen(
            [*command, "--threads", str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=REPOSITORY,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "ORT_DISABLE_TELEMETRY": "1"},
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._ask, self._answer = self._process.stdin, self._process.stdout
        self._name = f"{engine} {case}"
        self.wall_ms: list[float] = []
        self.cpu_ms: list[float] = []
        self.peak_rss_mb = 0.0

    def run(self, steps: int) -> None:
        """Run and record so many steps."""
        self._ask.write(f"{steps}\n")
        self._ask.flush()
        line = self._answer.readline()
        if not line:
            raise SystemExit(f"{self._name}: ended with {self._process.wait()}")
        told = json.loads(line)
        self.wall_ms += [1e3 * s for s in told["wall_s"]]
        self.cpu_ms += [1e3 * s for s in told["cpu_s"]]
        self.peak_rss_mb = told["peak_rss_mb"]

    def forget(self) -> float:
        """Drop what was recorded; the last step's milliseconds."""
        last = self.wall_ms[-1]
        self.wall_ms, self.cpu_ms = [], []
        return last

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a minute; rougher")
    parser.add_argument("--models", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with_torch = importlib.util.find_spec("torch") is not None
    print(_TITLE)
    models: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="edge-sdk-steps-") as scratch:
        for name in arguments.models:
            figures = _figures(name, Path(scratch), with_torch, quick=arguments.quick)
            models[name] = figures
            print(_row(name, figures), flush=True)
    if arguments.json:
        machine = {"machine": platform.machine(), "cores": os.cpu_count() or 0}
        arguments.json.write_text(json.dumps({**machine, "models": models}, indent=2) + "\n")


def _figures(name: str, scratch: Path, with_torch: bool, *, quick: bool) -> Figures:
    """All figures of one model."""
    try:
        files = _prepared(name, scratch)
    except EdgeError as error:
        return {"error": str(error)}
    if not with_torch:
        del files["torch"]
    one = _measured(files, name, 1, quick=quick)
    if quick:
        files.pop("torch", None)
    two = _measured(files, name, 2, quick=quick)
    ours = one["ours"]
    figures: Figures = {
        "ms_1_thread": _median(ours.wall_ms),
        "cpu_ms_1_thread": _median(ours.cpu_ms),
        "ms_2_threads": _median(two["ours"].wall_ms),
        "peak_rss_mb": round(ours.peak_rss_mb, 1),
    }
    if "torch" in one:
        figures |= _compared(ours, one["torch"])
    if "torch" in two:
        figures["torch_ms_2_threads"] = _median(two["torch"].wall_ms)
    return figures


def _compared(ours: Runner, other: Runner) -> Figures:
    """Ours against PyTorch at one thread; below 1 ours is better."""
    wall, cpu = _median(other.wall_ms), _median(other.cpu_ms)
    return {
        "torch_ms_1_thread": wall,
        "torch_cpu_ms_1_thread": cpu,
        "ratio_to_torch": round(_median(ours.cpu_ms) / cpu, 3),
        "wall_ratio_to_torch": round(_median(ours.wall_ms) / wall, 3),
        "torch_peak_rss_mb": round(other.peak_rss_mb, 1),
        "rss_ratio_to_torch": round(ours.peak_rss_mb / other.peak_rss_mb, 3),
    }


def _prepared(name: str, scratch: Path) -> dict[Engine, Path]:
    """The plan for ours, the bare weights for PyTorch."""
    case = CASES[name]
    model = forward_model(name)
    plan = scratch / f"{name}.plan"
    plan.write_bytes(build_plan(model, loss=case.loss, momentum=0.9, name=name).data)
    weights = scratch / f"{name}.npz"
    np.savez(weights, **initial_weights(model))  # type: ignore[arg-type] # a stub's slip
    return {"ours": plan, "torch": weights}


def forward_model(name: str) -> onnx.ModelProto:
    """The model of a case, initial weights and all."""
    case = CASES[name]
    if name in ARCHITECTURES:
        return ARCHITECTURES[name](case.input_shape, case.classes)
    make = zoo.mlp if name == "mlp" else zoo.cnn
    return onnx.load_model_from_string(make(case.input_shape, case.classes))


def initial_weights(
    model: onnx.ModelProto,
) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Float32 initializers with at least one axis."""
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    return {name: a for name, a in arrays.items() if a.dtype == np.float32 and a.ndim}


def _measured(
    files: dict[Engine, Path], case: str, threads: int, *, quick: bool
) -> dict[Engine, Runner]:
    """Steps of each engine, in turns."""
    turns, turn_ms = (3, 80.0) if quick else (12, 400.0)
    runners = {engine: Runner(engine, file, case, threads) for engine, file in files.items()}
    try:
        counts: dict[Engine, int] = {}
        for engine, runner in runners.items():
            runner.run(WARM_UP_STEPS)
            counts[engine] = max(1, min(1000, int(turn_ms / runner.forget())))
        for _ in range(turns):
            for engine, runner in runners.items():
                time.sleep(PAUSE_S)
                runner.run(counts[engine])
    finally:
        for runner in runners.values():
            runner.close()
    return runners


def _median(values: Sequence[float]) -> float:
    return round(statistics.median(values), 4)


_COLUMNS = {
    "ms_1_thread": "ms, 1 thread",
    "ms_2_threads": "2 threads",
    "cpu_ms_1_thread": "CPU ms",
    "peak_rss_mb": "peak MB",
    "torch_ms_1_thread": "PyTorch ms",
    "torch_ms_2_threads": "2 threads",
    "torch_cpu_ms_1_thread": "CPU ms",
    "torch_peak_rss_mb": "peak MB",
    "ratio_to_torch": "ratio",
    "rss_ratio_to_torch": "peak ratio",
}
_TITLE = f"{'':20}" + "".join(f"{title:>14}" for title in _COLUMNS.values())


def _row(name: str, figures: Figures) -> str:
    if "error" in figures:
        return f"{name:20} {figures['error']}"
    cells = [f"{figures[key]:>14.4g}" if key in figures else f"{'-':>14}" for key in _COLUMNS]
    return f"{name:20}" + "".join(cells)


if __name__ == "__main__":
    main()
