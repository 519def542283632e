"""A device's memory, time and joules for one round: training whole, and its part of a split.

Each is measured in a fresh process on one thread (`fedlite_child`). Joules are an estimate: CPU
time here times what one busy core of a Raspberry Pi 4 adds, (6.12 - 3.06) W / 4 (its makers'
figures, see `edge_sdk.telemetry.energy.estimate`); a Pi needs several times the CPU time, so the
ratio is what counts. Radio joules are those of the documented coefficients for Wi-Fi.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fedlite_fleet import femnist_cnn, pooled
from edge_sdk.authoring import build_plan, propose_cuts
from edge_sdk.authoring.architectures import cnn1d, resnet18
from edge_sdk.plan import Plan
from edge_sdk.telemetry.energy.radio import RADIOS

CORE_W = (6.12 - 3.06) / 4
STEPS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """Of `STEPS` batches."""

    peak_mb: float
    cpu_s: float
    sent_bytes: int
    received_bytes: int
    parameters: int

    @property
    def up_bytes(self) -> int:
        """With the weights as float32."""
        return self.sent_bytes + 4 * self.parameters

    @property
    def down_bytes(self) -> int:
        """With the weights as float32."""
        return self.received_bytes + 4 * self.parameters

    @property
    def radio_j(self) -> float:
        """Of Wi-Fi, without what it draws for the time it is up."""
        wifi = RADIOS["wifi"]
        bits = wifi.up_j_per_mbit * self.up_bytes + wifi.down_j_per_mbit * self.down_bytes
        return 8 * bits / 1e6


def plans(fleets: Sequence[str]) -> dict[str, tuple[Plan, int]]:
    """Plan and batch size of the fleets' models, and of a larger one; with * cut early."""
    made: dict[str, tuple[Plan, int]] = {}
    if "phones" in fleets:
        model = cnn1d((6, 128), 6, scale=1 / 700)
        plan = build_plan(model, loss="cross-entropy", name="sensors-cnn", cut="auto")
        made["sensors-cnn"] = (plan, 32)
    if "writers" in fleets:
        femnist = femnist_cnn()
        plan = build_plan(femnist, loss="cross-entropy", name="femnist-cnn", cut=pooled(femnist))
        made["femnist-cnn"] = (plan, 20)
        large = resnet18((3, 32, 32), 10)
        plan = build_plan(large, loss="cross-entropy", name="resnet18", cut="auto")
        made["resnet18"] = (plan, 16)
        early = [place.name for place in propose_cuts(large) if place.parameters < 200_000][-1]
        plan = build_plan(large, loss="cross-entropy", name="resnet18", cut=early)
        made["resnet18*"] = (plan, 16)
    return made


def print_costs(fleets: Sequence[str]) -> None:
    """A table."""
    print(f"\na device's round of {STEPS} batches, one thread; weights float32 both ways")
    columns = ["params", "peak-MB", "CPU-s", "core-J", "Wi-Fi-J", "MB-up", "MB-down"]
    print(f"{'model':12} {'way':6}" + "".join(f" {column:>9}" for column in columns))
    for name, (plan, size) in plans(fleets).items():
        for way in ("split",) if name.endswith("*") else ("full", "split"):
            cost = measured(plan, way, size)
            figures = [
                f"{cost.parameters}",
                f"{cost.peak_mb:.0f}",
                f"{cost.cpu_s:.2f}",
                f"{cost.cpu_s * CORE_W:.2f}",
                f"{cost.radio_j:.2f}",
                f"{cost.up_bytes / 1e6:.3f}",
                f"{cost.down_bytes / 1e6:.3f}",
            ]
            print(f"{name:12} {way:6}" + "".join(f" {figure:>9}" for figure in figures), flush=True)


def measured(plan: Plan, way: str, size: int) -> Cost:
    """Measure in a process of its own."""
    with tempfile.NamedTemporaryFile(suffix=".plan") as file:
        file.write(plan.data)
        file.flush()
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.fedlite_child",
                file.name,
                way,
                f"{STEPS}",
                f"{size}",
            ],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
        )
    return Cost(**json.loads(done.stdout.splitlines()[-1]))
