"""What a device pays for the client: disk, distributions, import time, peak memory.

    python -m benchmarks.footprint [--json FILE]

Makes a fresh virtual environment with the core dependencies only, installed as the README tells
owners of small boards (`pip install --no-compile -c rpi_demo/constraints.txt`), and runs one
demonstration device from it against an aggregator from this environment: the small CNN on the
bundled digits, five rounds. Needs the `demo` extra here. A megabyte is 2**20 bytes, as `du -m` and
`free -m` count.

installed_mb    the installed files, without pip and setuptools, which every environment has
bytecode_mb     what Python adds beside them when it first runs the device program
distributions   what the installation brought besides edge-sdk itself
import_s        median of seven: the client and its engine, as a device program imports them
peak_rss_mb     the device process's `ru_maxrss`, waited for by a small process of its own, because
                Linux lets a child start with its parent's peak
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
MB = 2**20

WAIT_FOR_PEAK = """
import os, sys
child = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss, file=open(os.environ["PEAK_FILE"], "w"))
sys.exit(os.waitstatus_to_exitcode(status))
"""
ROUNDS = 5


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.footprint", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edge-sdk-footprint-") as scratch:
        python = _fresh_environment(Path(scratch) / "venv")
        figures: dict[str, float | int] = {
            "installed_mb": _installed_mb(python),
            "distributions": _distributions(python),
            "peak_rss_mb": _peak_rss_mb(python, Path(scratch)),
        }
        figures["bytecode_mb"] = round(_installed_mb(python) - figures["installed_mb"], 1)
        figures["import_s"] = _import_s(python)
    print(f"client with engine, {platform.machine()}, Python {platform.python_version()}")
    for name, value in figures.items():
        print(f"{name:16} {value:g}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


def _fresh_environment(folder: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    constraints = str(REPOSITORY / "rpi_demo" / "constraints.txt")
    options = ["--no-compile", "--quiet", "--constraint", constraints]
    subprocess.run([str(python), "-m", "pip", "install", *options, str(REPOSITORY)], check=True)
    return python


def _environment() -> dict[str, str]:
    """This process's, but Python may write bytecode as it does on a device."""
    return {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}


def _site_packages(python: Path) -> Path:
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return site


def _distributions(python: Path) -> int:
    found = importlib.metadata.distributions(path=[str(_site_packages(python))])
    return len({distribution.name for distribution in found} - INSTALLERS - {"edge-sdk"})


def _installed_mb(python: Path) -> float:
    every_environment = INSTALLERS | {"pkg_resources"}
    size_bytes = sum(
        path.lstat().st_size
        for entry in _site_packages(python).iterdir()
        if entry.name.split("-")[0] not in every_environment
        for path in ([entry] if entry.is_file() else entry.rglob("*"))
        if path.is_file()
    )
    return round(size_bytes / MB, 1)


def _import_s(python: Path) -> float:
    program = (
        "import time; t = time.perf_counter(); import edge_sdk; edge_sdk.Client; "
        "import edge_sdk.engines.onnxruntime; print(time.perf_counter() - t)"
    )
    times = [
        float(
            subprocess.run(
                [str(python), "-c", program], check=True, capture_output=True, env=_environment()
            ).stdout
        )
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
            ended = subprocess.run(
                [sys.executable, "-S", "-c", WAIT_FOR_PEAK, *command],
                check=False,
                stdout=log,
                stderr=log,
                cwd=scratch,
                env={
                    **_environment(),
                    "EDGE_SDK_JOIN_TOKEN": told.join_token,
                    "PEAK_FILE": str(scratch / "peak"),
                },
            )
        if ended.returncode != 0:
            sys.exit(f"the device ended with {ended.returncode}: {(scratch / 'd.log').read_text()}")
    finally:
        processes.stop([server])
    return round(int((scratch / "peak").read_text()) * 1024 / MB, 1)


if __name__ == "__main__":
    main()
