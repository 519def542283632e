"""What a battery gives, through `/sys/class/power_supply`; only while it is discharging.

In order of preference: `energy_now` (uWh), `charge_now` (uAh) times voltage, and for gauges that
count neither, power: `power_now` (uW) or `current_now` (uA) times `voltage_now` (uV). The sign of a
current differs from driver to driver, so its size is taken and the direction is what `status` says.
While charging, or on the mains with a full battery, the battery's figures say nothing of what the
machine draws. What it draws while suspended is in the gauge, and so in the figure. Batteries of
mice and keyboards (`scope` is `Device`) are not ours.

Source: Linux `Documentation/ABI/testing/sysfs-class-power`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.figures import About, EnergyReading
from edge_sdk.telemetry.system import SystemFiles

_FOLDER = "sys/class/power_supply"

J_PER_UWH = 3.6e-3
C_PER_UAH = 3.6e-3

STEP_J = 36.0
"""Gauges step by 10 mWh or 1 mAh and speak every few seconds; no finer difference means anything.
An assumption about common gauges, not a reading."""

POWER_INTERVAL_S = 2.0


@dataclass(frozen=True, slots=True)
class _Gauge:
    amount: int
    """uWh or uAh left."""
    j_per_unit: float
    """Joules of one such unit, at the voltage of this moment for a charge."""


def find_batteries(files: SystemFiles) -> list[str]:
    """Folders of the batteries that this machine can run from."""
    folders = [f"{_FOLDER}/{name}" for name in files.names(_FOLDER)]
    return [
        folder
        for folder in folders
        if files.text(f"{folder}/type") == "Battery"
        and files.text(f"{folder}/scope") != "Device"
        and files.number(f"{folder}/present") != 0
    ]


def is_discharging(files: SystemFiles, batteries: Sequence[str]) -> bool:
    """Whether the machine runs from its batteries: one discharges and none charges."""
    states = [files.text(f"{folder}/status") for folder in batteries]
    return "Discharging" in states and "Charging" not in states


class BatteryReader:
    """An `EnergyReader` over gauges that count energy or charge.

    Args:
        files: the system's files.
        batteries: folders, as `find_batteries` gives them.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        files: SystemFiles,
        batteries: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._batteries = tuple(batteries)
        self._clock = clock
        self._last: tuple[_Gauge, ...] | None = None
        self._last_s: float | None = None
        self._joules = 0.0
        self._missed_s = 0.0
        self.about = About(
            source="battery",
            method="measured",
            scope="device",
            uncertainty=0.1,
            detail=f"fuel gauge of {', '.join(name.rpartition('/')[2] for name in batteries)}",
        )

    def read(self) -> EnergyReading | None:
        """Joules given so far; None unless discharging."""
        now_s = self._clock()
        gauges = None
        if is_discharging(self._files, self._batteries):
            gauges = _gauges(self._files, self._batteries)
        if self._last_s is not None:
            self._add(gauges, now_s - self._last_s)
        self._last, self._last_s = gauges, now_s
        if gauges is None:
            return None
        return EnergyReading(
            at_s=now_s,
            joules=self._joules,
            missed_s=self._missed_s,
            resolution_j=STEP_J,
            about=self.about,
        )

    def close(self) -> None:
        """Nothing runs for it."""

    def _add(self, gauges: tuple[_Gauge, ...] | None, seconds: float) -> None:
        given_j = -1.0
        if gauges is not None and self._last is not None:
            given_j = sum(
                (before.amount - now.amount) * now.j_per_unit
                for before, now in zip(self._last, gauges, strict=True)
            )
        # Gauges that rise while discharging correct themselves: that step tells nothing.
        if given_j < 0:
            self._missed_s += seconds
        else:
            self._joules += given_j


class BatteryPower:
    """A `PowerSource` over gauges that tell power, or current and voltage."""

    interval_s = POWER_INTERVAL_S

    def __init__(self, files: SystemFiles, batteries: Sequence[str]) -> None:
        self._files = files
        self._batteries = tuple(batteries)
        self.about = About(
            source="battery",
            method="integrated",
            scope="device",
            uncertainty=0.15,
            detail=f"power of {', '.join(name.rpartition('/')[2] for name in batteries)}",
        )

    def power_w(self) -> float | None:
        """Watts given now; None unless discharging."""
        if not is_discharging(self._files, self._batteries):
            return None
        total = 0.0
        for folder in self._batteries:
            power = _power_w(self._files, folder)
            if power is None:
                return None
            total += power
        return total


def open_battery(
    files: SystemFiles, *, clock: Callable[[], float] = time.monotonic
) -> BatteryReader | BatteryPower:
    """The battery as a source of joules, or of watts where its gauge counts nothing.

    Raises:
        Unavailable: no battery, or one whose gauge tells nothing usable.
    """
    batteries = find_batteries(files)
    if not batteries:
        raise Unavailable("no battery")
    if _gauges(files, batteries) is not None:
        return BatteryReader(files, batteries, clock)
    if all(_power_w(files, folder) is not None for folder in batteries):
        return BatteryPower(files, batteries)
    raise Unavailable("the battery's gauge tells neither energy, charge nor power")


def _gauges(files: SystemFiles, batteries: Sequence[str]) -> tuple[_Gauge, ...] | None:
    """One gauge for each battery, or None when any does not answer."""
    gauges = tuple(_gauge(files, folder) for folder in batteries)
    found = tuple(gauge for gauge in gauges if gauge is not None)
    return found if len(found) == len(gauges) else None


def _gauge(files: SystemFiles, folder: str) -> _Gauge | None:
    energy_uwh = files.number(f"{folder}/energy_now")
    if energy_uwh is not None and energy_uwh >= 0:
        return _Gauge(energy_uwh, J_PER_UWH)
    charge_uah = files.number(f"{folder}/charge_now")
    voltage_uv = files.number(f"{folder}/voltage_now")
    if charge_uah is None or charge_uah < 0 or voltage_uv is None or voltage_uv <= 0:
        return None
    return _Gauge(charge_uah, C_PER_UAH * voltage_uv / 1e6)


def _power_w(files: SystemFiles, folder: str) -> float | None:
    power_uw = files.number(f"{folder}/power_now")
    if power_uw is not None:
        return abs(power_uw) / 1e6
    current_ua = files.number(f"{folder}/current_now")
    voltage_uv = files.number(f"{folder}/voltage_now")
    if current_ua is None or voltage_uv is None:
        return None
    return abs(current_ua) * abs(voltage_uv) / 1e12
