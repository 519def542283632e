"""Tries every source of joules on this machine and takes the best.

Order, best first: a meter at the board's supply; the Pi 5's PMIC; the processor's own counters,
which work on the mains as well; the battery; a model. One source serves from start to end: figures
of two cannot be subtracted from each other.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.battery import BatteryPower, open_battery
from edge_sdk.telemetry.energy.estimate import open_estimate
from edge_sdk.telemetry.energy.figures import EnergyReader
from edge_sdk.telemetry.energy.hwmon import open_hwmon
from edge_sdk.telemetry.energy.pmic import open_pmic
from edge_sdk.telemetry.energy.rapl import open_rapl
from edge_sdk.telemetry.energy.sampler import SampledEnergy
from edge_sdk.telemetry.system import Run, SystemFiles, run_command


@dataclass(frozen=True, slots=True)
class Finding:
    """One source on this machine: a reader, or why there is none and what would help."""

    source: str
    reader: EnergyReader | None
    why: str = ""


def probe_energy(
    root: Path = Path("/"),
    *,
    run: Run = run_command,
    rail: str | None = None,
    files: SystemFiles | None = None,
) -> tuple[Finding, ...]:
    """Every source with what became of it, best first. Starts no thread: a reader does, when read.

    Args:
        root: where the system's files are; anything but `/` is a recorded tree.
        run: runs commands.
        rail: the power meter's rail to take, where several could be meant.
        files: instead of `root`, for files that fail on purpose.
    """
    return tuple(_probe(SystemFiles(root) if files is None else files, run, rail))


def open_energy(
    root: Path = Path("/"),
    *,
    run: Run = run_command,
    rail: str | None = None,
    files: SystemFiles | None = None,
) -> EnergyReader | None:
    """The best source of this machine; None when there is none. Arguments as `probe_energy`."""
    findings = _probe(SystemFiles(root) if files is None else files, run, rail)
    return next((found.reader for found in findings if found.reader is not None), None)


def _probe(files: SystemFiles, run: Run, rail: str | None) -> Iterator[Finding]:
    openers: tuple[tuple[str, Callable[[], EnergyReader]], ...] = (
        ("hwmon", lambda: SampledEnergy(open_hwmon(files, rail=rail))),
        ("pmic", lambda: SampledEnergy(open_pmic(files, run))),
        ("rapl", lambda: open_rapl(files)),
        ("battery", lambda: _battery(files)),
        ("estimate", lambda: open_estimate(files)),
    )
    for source, opener in openers:
        try:
            yield Finding(source, opener())
        except Unavailable as reason:
            yield Finding(source, None, str(reason))


def _battery(files: SystemFiles) -> EnergyReader:
    battery = open_battery(files)
    return SampledEnergy(battery) if isinstance(battery, BatteryPower) else battery
