"""The state a device is in: battery, heat, memory, load and link. What cannot be told is None.

`MachineReader` finds its files once and then costs a dozen small reads. Whether a link is metered
is known to NetworkManager only; asking it starts a process, so it is asked at most once a minute,
and only by a reader that was given a way to run commands.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_sdk.telemetry.energy.battery import find_batteries
from edge_sdk.telemetry.link import link_type, read_metered
from edge_sdk.telemetry.memory import free_memory_bytes
from edge_sdk.telemetry.system import Run, SystemFiles
from edge_sdk.values import LinkType

METERED_AGE_S = 60.0
"""How long an answer of NetworkManager is taken to hold."""

_SUPPLIES = "sys/class/power_supply"
_ZONES = "sys/class/thermal"
_HWMON = "sys/class/hwmon"
_CPU = "sys/devices/system/cpu"
_PI_THROTTLED = "sys/devices/platform/soc/soc:firmware/get_throttled"

_THROTTLE_BITS = (
    (0, "under-voltage"),
    (1, "frequency capped"),
    (2, "throttled"),
    (3, "soft temperature limit"),
)
"""Bits of the Raspberry Pi firmware that speak of now; the same plus 16 speak of since boot."""

_CPU_ZONES = ("cpu", "x86_pkg_temp", "tj", "soc", "bigcore", "acpitz")
"""Beginnings of names of thermal zones, the processor's own first. Other zones (battery, radio, the
PMIC of a Jetson Nano, which always says 100 degrees) are not taken."""

_CPU_CHIPS = ("coretemp", "k10temp", "cpu_thermal")


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """One look at the machine."""

    battery: float | None = None
    """Charge as a share of full, over all batteries."""
    charging: bool | None = None
    """Whether power comes from outside; None when nothing tells (a Pi does not)."""
    temperature_c: float | None = None
    """Of the processor."""
    throttled: tuple[str, ...] | None = None
    """Why the processor is held back now; empty when it is not."""
    free_memory_bytes: int | None = None
    """What may still be used, within the limit of this control group."""
    load: float | None = None
    """Load average over a minute for each core in use by the system."""
    link: LinkType | None = None
    """How the default route leaves the machine."""
    metered: bool | None = None
    """Whether bytes on that link cost money or a quota."""


class MachineReader:
    """Looks at the machine's state.

    Args:
        root: where the system's files are.
        run: runs commands; without one `metered` is always None.
        clock: monotonic seconds, for the age of what commands said.
        files: instead of `root`, for files that fail on purpose.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        *,
        run: Run | None = None,
        clock: Callable[[], float] = time.monotonic,
        files: SystemFiles | None = None,
    ) -> None:
        self._files = SystemFiles(root) if files is None else files
        self._run = run
        self._clock = clock
        self._batteries = find_batteries(self._files)
        self._mains = _find_mains(self._files)
        self._temperature = _find_temperature(self._files)
        self._coolers = _find_coolers(self._files)
        self._metered: bool | None = None
        self._metered_at_s: float | None = None

    def read(self) -> MachineState:
        """The state now. Never raises."""
        return MachineState(
            battery=self.battery(),
            charging=self.charging(),
            temperature_c=self.temperature_c(),
            throttled=self.throttled(),
            free_memory_bytes=free_memory_bytes(self._files),
            load=self.load(),
            link=link_type(self._files),
            metered=self.metered(),
        )

    def battery(self) -> float | None:
        """Charge over all batteries as a share of full, by energy where the gauges tell it."""
        if not self._batteries:
            return None
        for now, full in (("energy_now", "energy_full"), ("charge_now", "charge_full")):
            held = [self._files.number(f"{folder}/{now}") for folder in self._batteries]
            most = [self._files.number(f"{folder}/{full}") for folder in self._batteries]
            if None not in held and None not in most and _total(most) > 0:
                return min(1.0, max(0.0, _total(held) / _total(most)))
        shares = [self._files.number(f"{folder}/capacity") for folder in self._batteries]
        if None in shares:
            return None
        return min(1.0, max(0.0, _total(shares) / len(shares) / 100))

    def charging(self) -> bool | None:
        """Whether power comes from outside: a supply is on line, or no battery gives any."""
        online = [self._files.number(f"{folder}/online") for folder in self._mains]
        if any(online):
            return True
        states = [self._files.text(f"{folder}/status") for folder in self._batteries]
        if "Discharging" in states:
            return False
        if any(state in ("Charging", "Full", "Not charging") for state in states):
            return True
        return False if 0 in online else None

    def temperature_c(self) -> float | None:
        """Of the processor, degrees Celsius."""
        if self._temperature is None:
            return None
        value = self._files.number(self._temperature)
        # Sensors that are switched off answer with -256 degrees, or fail.
        return None if value is None or not -50_000 < value < 200_000 else value / 1000

    def throttled(self) -> tuple[str, ...] | None:
        """Why the processor is held back now; None when this system does not tell."""
        text = self._files.text(_PI_THROTTLED)
        if text is not None:
            return _throttle_reasons(text)
        steps = [self._files.number(f"{folder}/cur_state") for folder in self._coolers]
        known = [step for step in steps if step is not None]
        if not known:
            return None
        return ("throttled",) if max(known) > 0 else ()

    def load(self) -> float | None:
        """Runnable threads of the last minute for each core."""
        words = (self._files.text("proc/loadavg") or "").split()
        cores = count_cores(self._files)
        if not words or cores is None:
            return None
        try:
            load = float(words[0])
        except ValueError:
            return None
        return load / cores if 0 <= load < 1e6 else None

    def metered(self) -> bool | None:
        """Whether the link is metered, as NetworkManager has it; None when it cannot be told."""
        if self._run is None:
            return None
        now_s = self._clock()
        if self._metered_at_s is None or now_s - self._metered_at_s >= METERED_AGE_S:
            self._metered = read_metered(self._run)
            self._metered_at_s = now_s
        return self._metered


def count_cores(files: SystemFiles) -> int | None:
    """Cores that are switched on, from a list like `0-3,6`."""
    text = files.text(f"{_CPU}/online")
    if not text:
        return None
    count = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal() or len(part) > 16:
            return None
        count += int(last or first) - int(first) + 1
    return count if count > 0 else None


def _total(numbers: Sequence[int | None]) -> int:
    return sum(number for number in numbers if number is not None)


def _throttle_reasons(text: str) -> tuple[str, ...] | None:
    try:
        bits = int(text, 16)
    except ValueError:
        return None
    return tuple(reason for bit, reason in _THROTTLE_BITS if bits >> bit & 1)


def _find_mains(files: SystemFiles) -> list[str]:
    folders = [f"{_SUPPLIES}/{name}" for name in files.names(_SUPPLIES)]
    return [
        folder
        for folder in folders
        if files.text(f"{folder}/type") in ("Mains", "USB", "Wireless", "USB_PD", "USB_C")
        and files.text(f"{folder}/scope") != "Device"
    ]


def _find_coolers(files: SystemFiles) -> list[str]:
    """Passive cooling of the processor, that is holding it back.

    A frequency that the owner capped by a power mode is not heat, so cpufreq's own limits are not
    looked at.
    """
    names = [name for name in files.names(_ZONES) if name.startswith("cooling_device")]
    folders = [f"{_ZONES}/{name}" for name in names]
    kinds = [(files.text(f"{folder}/type") or "").lower() for folder in folders]
    return [
        folder
        for folder, kind in zip(folders, kinds, strict=True)
        if "cpufreq" in kind or kind.startswith(("processor", "cpu-"))
    ]


def _find_temperature(files: SystemFiles) -> str | None:
    """File with the processor's temperature in thousandths of a degree."""
    zones = [name for name in files.names(_ZONES) if name.startswith("thermal_zone")]
    kinds = [(files.text(f"{_ZONES}/{name}/type") or "").lower() for name in zones]
    for wanted in _CPU_ZONES:
        for name, kind in zip(zones, kinds, strict=True):
            if kind.startswith(wanted):
                return f"{_ZONES}/{name}/temp"
    for name in files.names(_HWMON):
        if files.text(f"{_HWMON}/{name}/name") in _CPU_CHIPS:
            return f"{_HWMON}/{name}/temp1_input"
    return None
