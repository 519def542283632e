"""Power meters behind the kernel's drivers: INA2xx chips, and the INA3221 of every Jetson.

==================== ========================================================= ===================
layout               files                                                     unit
==================== ========================================================= ===================
INA219/226/260, ...  `hwmonN/power1_input`, `curr1_input`, `in1_input`         uW, mA, mV
INA3221 (JetPack 5+) `hwmonN/in{1,2,3}_{label,input}`, `curr{1,2,3}_input`     mV, mA
INA3221 (JetPack 4)  `ina3221x/*/iio:deviceN/rail_name_{0,1,2}`, `in_powerM_input` mW
==================== ========================================================= ===================

Sources: Linux `Documentation/hwmon/ina2xx.rst` and `ina3221.rst`; NVIDIA's Jetson Linux guide.

Pitfalls met here. A rail named VDD_IN is the total, the others are part of it. `NC` is not
connected; channel 7 of an INA3221 is the sum of the shunt voltages, not a rail. `hwmonN` is
numbered anew when a driver is loaded again, so a rail that vanishes is looked for once more by
name. `power1_input` has no sign, so the sign is that of the current: a negative one means that the
leads are swapped or that a battery behind the meter is being charged, and what was drawn is then
unknown.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy.figures import About, Scope
from edge_sdk.telemetry.system import SystemFiles

INA2XX = frozenset(f"ina{n}" for n in (209, 219, 220, 226, 228, 230, 231, 233, 237, 238, 260))

NOISE_A = 0.02
"""A current this little below zero is the meter's offset, not a reversed flow."""

MAX_RAIL_W = 1000.0
"""More than any board draws: a stuck register or a wrong shunt."""

INTERVAL_S = 0.5
"""Training draws steadily, so two samples a second are enough for phases of seconds, and cost less
than 1 % of the slowest board's time."""

_HWMON = "sys/class/hwmon"
_INA3221_BUS = "sys/bus/i2c/drivers/ina3221"
_INA3221_JETPACK4 = "sys/bus/i2c/drivers/ina3221x"

_TOTALS: tuple[tuple[tuple[str, ...], Scope, float], ...] = (
    (("VDD_IN",), "module", 0.05),
    (("POM_5V_IN",), "device", 0.05),
    # AGX Orin and AGX Xavier have no total rail; the memory rail of the Orin hangs behind its 5 V
    # rail. The sum misses the conversion losses before the rails, hence the wide margin.
    (("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"), "module", 0.2),
    (("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"), "module", 0.2),
)
"""Rails that make up the whole, with what that covers and its margin; the first that fits is taken.

Shunts are 1 % parts and the INA3221's gain is within 1 %; its 40 uV offset step weighs more at
small currents, so 5 % is allowed for a total rail. No margin here was checked against a meter.
"""

_SINGLE_METER = 0.03


@dataclass(frozen=True, slots=True)
class Rail:
    """One channel of one chip."""

    label: str
    chip: str
    power: str
    """File with power, or empty."""
    watt_units: float
    """Units of `power` in a watt."""
    voltage: str
    """File with millivolts, or empty."""
    current: str
    """File with milliamperes, or empty."""

    def power_w(self, files: SystemFiles) -> float | None:
        """Watts now; None when a file cannot be read or the current flows backwards."""
        current_ma = files.number(self.current) if self.current else None
        if self.current and current_ma is None and not self.power:
            return None
        if current_ma is not None and current_ma < 0:
            return 0.0 if current_ma / 1000 >= -NOISE_A else None
        if self.power:
            power = files.number(self.power)
            return None if power is None or power < 0 else power / self.watt_units
        voltage_mv = files.number(self.voltage)
        if voltage_mv is None or voltage_mv < 0 or current_ma is None:
            return None
        return voltage_mv * current_ma / 1e6


class HwmonPower:
    """A `PowerSource` over one or several rails whose sum is the whole."""

    interval_s = INTERVAL_S

    def __init__(self, files: SystemFiles, rails: Sequence[Rail], about: About) -> None:
        self._files = files
        self._rails = tuple(rails)
        self.about = about

    def power_w(self) -> float | None:
        """Watts now over all rails; None unless every rail answers."""
        total = self._sum()
        if total is None and self._find_again():
            total = self._sum()
        return total

    def _sum(self) -> float | None:
        total = 0.0
        for rail in self._rails:
            power = rail.power_w(self._files)
            if power is None or power > MAX_RAIL_W:
                return None
            total += power
        return total

    def _find_again(self) -> bool:
        """Look for the same rails at other places; True when any has moved."""
        now = {(rail.chip, rail.label): rail for rail in find_rails(self._files)}
        moved = tuple(now.get((rail.chip, rail.label), rail) for rail in self._rails)
        changed = moved != self._rails
        self._rails = moved
        return changed


def open_hwmon(files: SystemFiles, *, rail: str | None = None) -> HwmonPower:
    """The meter that sees what this board draws.

    Args:
        files: the system's files.
        rail: label of the rail to take, where several meters could be meant.

    Raises:
        Unavailable: there is no meter, or several and none is known to be the total.
    """
    rails = find_rails(files)
    if not rails:
        raise Unavailable(
            "no INA219/226/260/3221 power meter; on a Raspberry Pi connect one into the 5 V lead "
            "and add e.g. `dtoverlay=i2c-sensor,ina219` to /boot/firmware/config.txt"
        )
    chosen, scope, margin = _choose(rails, rail)
    if all(part.power_w(files) is None for part in chosen):
        raise Unavailable(
            f"power meter {chosen[0].label} gives no usable figure; if its current is negative, "
            "swap the leads at the shunt"
        )
    labels, chip = " + ".join(part.label for part in chosen), chosen[0].chip
    detail = labels if labels.startswith(chip) else f"{labels} of {chip}"
    about = About(
        source="hwmon", method="integrated", scope=scope, uncertainty=margin, detail=detail
    )
    return HwmonPower(files, chosen, about)


def _choose(rails: Sequence[Rail], wanted: str | None) -> tuple[list[Rail], Scope, float]:
    by_label = {rail.label: rail for rail in rails}
    if wanted is not None:
        if wanted not in by_label:
            raise Unavailable(f"no rail {wanted!r}; there are: {', '.join(sorted(by_label))}")
        return [by_label[wanted]], "device", _SINGLE_METER
    for labels, scope, margin in _TOTALS:
        if all(label in by_label for label in labels):
            return [by_label[label] for label in labels], scope, margin
    if len(rails) == 1:
        return [rails[0]], "device", _SINGLE_METER
    raise Unavailable(
        f"several rails and none is known to be the total ({', '.join(sorted(by_label))}); "
        "name the one that feeds the board"
    )


def find_rails(files: SystemFiles) -> list[Rail]:
    """Every channel of every meter, each once."""
    folders = [f"{_HWMON}/{name}" for name in files.names(_HWMON)]
    rails = _rails_of(files, folders)
    if not rails:  # the class may be hidden from a sandboxed service while the bus is not
        chips = [f"{_INA3221_BUS}/{name}/hwmon" for name in files.names(_INA3221_BUS)]
        rails = _rails_of(files, [f"{chip}/{name}" for chip in chips for name in files.names(chip)])
    return rails or _jetpack4_rails(files)


def _rails_of(files: SystemFiles, folders: Sequence[str]) -> list[Rail]:
    rails: list[Rail] = []
    for folder in folders:
        chip = files.text(f"{folder}/name") or ""
        if chip in INA2XX:
            rails.append(_ina2xx_rail(files, folder, chip, len(rails)))
        elif chip == "ina3221":
            rails += _ina3221_rails(files, folder)
    return rails


def _ina2xx_rail(files: SystemFiles, folder: str, chip: str, number: int) -> Rail:
    label = files.text(f"{folder}/in1_label") or files.text(f"{folder}/device/of_node/label")
    has_power = files.exists(f"{folder}/power1_input")
    return Rail(
        label=label or (chip if number == 0 else f"{chip} ({number + 1})"),
        chip=chip,
        power=f"{folder}/power1_input" if has_power else "",
        watt_units=1e6,
        voltage=f"{folder}/in1_input",
        current=f"{folder}/curr1_input",
    )


def _ina3221_rails(files: SystemFiles, folder: str) -> list[Rail]:
    return [
        Rail(
            label=files.text(f"{folder}/in{channel}_label") or f"channel {channel}",
            chip="ina3221",
            power="",
            watt_units=1e6,
            voltage=f"{folder}/in{channel}_input",
            current=f"{folder}/curr{channel}_input",
        )
        for channel in (1, 2, 3)
        if files.exists(f"{folder}/curr{channel}_input")
        and files.text(f"{folder}/in{channel}_label") not in ("NC", "")
        and files.number(f"{folder}/in{channel}_enable") != 0
    ]


def _jetpack4_rails(files: SystemFiles) -> list[Rail]:
    rails: list[Rail] = []
    for chip in files.names(_INA3221_JETPACK4):
        for device in files.names(f"{_INA3221_JETPACK4}/{chip}"):
            folder = f"{_INA3221_JETPACK4}/{chip}/{device}"
            if not device.startswith("iio:device"):
                continue
            for channel in range(3):
                label = files.text(f"{folder}/rail_name_{channel}")
                if label and label != "NC":
                    power = f"{folder}/in_power{channel}_input"
                    rails.append(Rail(label, "ina3221", power, 1e3, "", ""))
    return rails
