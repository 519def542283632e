"""What a device pays for the client: disk, distributions, import time, peak memory.

    python -m benchmarks.footprint [--json FILE]

Makes a fresh virtual environment with the core dependencies only, and runs one demonstration device
from it against an aggregator from this environment: the small CNN on the bundled digits, five
rounds. Needs the `demo` extra here. Peak memory is the kernel's own figure (`ru_maxrss`).
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge_sdk.authoring import build_plan, zoo
from rpi_demo import fleet, processes

REPOSITORY = Path(__file__).resolve().parents[1]
INSTALLERS = {"pip", "setuptools", "wheel"}
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-sdk-footprint-") as scratch:
        python = _fresh_environment(Path(scratch) / "venv")
        figures: dict[str, float | int] = {
            **_installed(python),
            "import_s": _import_s(python),
            "peak_rss_mb": _peak_rss_mb(python, Path(scratch)),
        }
    print(f"client with engine, {platform.machine()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:16} {value:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _fresh_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    quiet = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([str(python), *quiet, str(REPOSITORY)], check=True)
    return python


def _installed(python: Path) -> dict[str, float | int]:
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    found = [
        distribution
        for distribution in importlib.metadata.distributions(path=[str(site)])
        if distribution.name not in INSTALLERS
    ]
    skipped = {
        entry.name
        for entry in site.iterdir()
        if entry.name.split("-")[0] in INSTALLERS | {"pkg_resources"}
    }
    size = sum(
        path.lstat().st_size
        for entry in site.iterdir()
        if entry.name not in skipped
        for path in ([entry] if entry.is_file() else entry.rglob("*"))
        if path.is_file()
    )
    return {"installed_mb": round(size / 1e6, 1), "distributions": len(found)}


def _import_s(python: Path) -> float:
    """Median of seven: the client and its engine, as a device program imports them."""
    program = (
        "import time; t = time.perf_counter(); import edge_sdk; edge_sdk.Client; "
        "import edge_sdk.engines.onnxruntime; print(time.perf_counter() - t)"
    )
    times = [
        float(subprocess.run([str(python), "-c", program], check=True, capture_output=True).stdout)
        for _ in range(7)
    ]
    return round(statistics.median(times), 3)


def _peak_rss_mb(python: Path, scratch: Path) -> float:
    with np.load(fleet.DIGITS, allow_pickle=False) as file:
        x_train, y_train = file["x_train"], file["y_train"]
    shard = scratch / "shard.npz"
    np.savez(shard, x_train=x_train[:200], y_train=y_train[:200])
    plan = scratch / "digits.plan"
    model = zoo.cnn((1, 8, 8), 10, scale=1 / 16)
    plan.write_bytes(build_plan(model, loss="cross-entropy", name="digits").data)
    announcement = scratch / "announcement.json"
    words = {
        "--state": scratch / "server", "--port": 0, "--rounds": ROUNDS, "--cohort": 1,
        "--codec": "eden:bits=2", "--announce": announcement, "--join-uses": 1,
    }  # fmt: skip
    options = [str(word) for option in words.items() for word in option]
    server = processes.start("server", ["server_ref", str(plan), *options], log=scratch / "s.log")
    try:
        told = processes.wait_announced(server, announcement)
        command = [
            str(python), "-m", "rpi_demo", "--server", told.url, "--data", str(shard),
            "--state", str(scratch / "device"), "--name", "footprint",
        ]  # fmt: skip
        with (scratch / "d.log").open("wb") as log:
            device = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                cwd=scratch,
                env={**os.environ, "EDGE_SDK_JOIN_TOKEN": told.join_token},
            )
            _, status, usage = os.wait4(device.pid, 0)
        device.returncode = os.waitstatus_to_exitcode(status)
        if device.returncode != 0:
            sys.exit(
                f"the device ended with {device.returncode}: {(scratch / 'd.log').read_text()}"
            )
    finally:
        processes.stop([server])
    return round(usage.ru_maxrss * 1024 / 1e6, 1)


if __name__ == "__main__":
    main()
