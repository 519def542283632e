"""Recorded layouts of the system's files on known boards, written under a folder of a test.

Names, units and shapes are those of the boards' kernels; figures are examples. `FailingFiles` adds
what a plain tree cannot show: files that may not be read (also to root) and input/output errors.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from edge_sdk.telemetry.system import Finished, SystemFiles

PMIC_OUTPUT = """\
 3V7_WL_SW_A current(0)=0.00000000A
   3V3_SYS_A current(1)=0.06245952A
   1V8_SYS_A current(2)=0.16102850A
  DDR_VDD2_A current(3)=0.00780744A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.17566740A
    0V8_SW_A current(6)=0.32791250A
  VDD_CORE_A current(7)=1.87674000A
   3V3_DAC_A current(17)=0.00036630A
   3V3_ADC_A current(18)=0.00042735A
   0V8_AON_A current(16)=0.00579975A
      HDMI_A current(22)=0.01367520A
 3V7_WL_SW_V volt(8)=3.79999600V
   3V3_SYS_V volt(9)=3.30632200V
   1V8_SYS_V volt(10)=1.79828900V
  DDR_VDD2_V volt(11)=1.10292900V
  DDR_VDDQ_V volt(12)=0.60476130V
   1V1_SYS_V volt(13)=1.10439400V
    0V8_SW_V volt(14)=0.80256330V
  VDD_CORE_V volt(15)=0.89745940V
   3V3_DAC_V volt(20)=3.30494200V
   3V3_ADC_V volt(21)=3.30219400V
   0V8_AON_V volt(19)=0.79736190V
      HDMI_V volt(23)=5.07056000V
     EXT5V_V volt(24)=5.06788000V
      BATT_V volt(25)=3.01110800V
"""
"""`vcgencmd pmic_read_adc` of a Pi 5, form and channels as printed; VDD_CORE's current is tamer."""

PMIC_RAILS_W = 2.7228
"""Sum over the rails above, by hand to a tenth of a milliwatt."""


def write(root: Path, files: Mapping[str, str]) -> Path:
    """Write `files` (path under root -> text, a newline is added) and give `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def pi(root: Path, model: str = "Raspberry Pi 4 Model B Rev 1.4") -> Path:
    """A Raspberry Pi on Wi-Fi: no meter, no battery, firmware that tells of throttling."""
    (root / "sys/class/net/wlan0/wireless").mkdir(parents=True, exist_ok=True)
    return write(
        root,
        {
            "proc/device-tree/model": model + "\0",
            "proc/loadavg": "2.00 1.00 0.50 1/123 456",
            "proc/meminfo": "MemTotal:  3884376 kB\nMemFree:  100000 kB\nMemAvailable: 2000000 kB",
            "proc/net/route": "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n"
            "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
            "wlan0\t0001A8C0\t00000000\t0001\t0\t0\t600\t00FFFFFF\t0\t0\t0",
            "sys/class/net/wlan0/type": "1",
            "sys/class/net/wlan0/uevent": "DEVTYPE=wlan\nINTERFACE=wlan0",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": "48686",
            "sys/class/hwmon/hwmon0/name": "cpu_thermal",
            "sys/class/hwmon/hwmon1/name": "rpi_volt",
            "sys/devices/system/cpu/online": "0-3",
            "sys/devices/platform/soc/soc:firmware/get_throttled": "50005",
        },
    )


def ina2xx(
    root: Path,
    *,
    chip: str = "ina219",
    hwmon: str = "hwmon2",
    power_uw: int = 3_420_000,
    current_ma: int = 670,
) -> Path:
    """An INA219, INA226 or INA260 on the 5 V lead of a board."""
    folder = f"sys/class/hwmon/{hwmon}"
    return write(
        root,
        {
            f"{folder}/name": chip,
            f"{folder}/in0_input": "67",
            f"{folder}/in1_input": "5104",
            f"{folder}/curr1_input": str(current_ma),
            f"{folder}/power1_input": str(power_uw),
            f"{folder}/shunt_resistor": "100000",
            f"{folder}/update_interval": "69",
        },
    )


def _ina3221(
    root: Path, folder: str, rails: Sequence[tuple[str, int, int]], *, chip: str = "ina3221"
) -> None:
    files = {f"{folder}/name": chip}
    for channel, (label, voltage_mv, current_ma) in enumerate(rails, start=1):
        files |= {
            f"{folder}/in{channel}_label": label,
            f"{folder}/in{channel}_input": str(voltage_mv),
            f"{folder}/in{channel}_enable": "1",
            f"{folder}/curr{channel}_input": str(current_ma),
        }
    files |= {f"{folder}/in7_label": "sum of shunt voltages", f"{folder}/in7_input": "9"}
    write(root, files)


ORIN_NANO_RAILS = (("VDD_IN", 4984, 1160), ("VDD_CPU_GPU_CV", 4984, 264), ("VDD_SOC", 4984, 304))


def jetson_orin_nano(root: Path, *, folder: str = "sys/class/hwmon/hwmon1") -> Path:
    """JetPack 5 or 6: one INA3221 whose VDD_IN is the total."""
    _ina3221(root, folder, ORIN_NANO_RAILS)
    return write(
        root,
        {
            "proc/device-tree/model": "NVIDIA Jetson Orin Nano Developer Kit\0",
            "sys/class/thermal/thermal_zone0/type": "cpu-thermal",
            "sys/class/thermal/thermal_zone0/temp": "51062",
            "sys/class/thermal/thermal_zone1/type": "cv0-thermal",
            "sys/class/thermal/cooling_device0/type": "thermal-cpufreq-0",
            "sys/class/thermal/cooling_device0/cur_state": "0",
            "sys/class/thermal/cooling_device1/type": "pwm-fan",
            "sys/class/thermal/cooling_device1/cur_state": "2",
        },
    )


def jetson_agx_orin(root: Path) -> Path:
    """Two INA3221, no total rail; the memory rail hangs behind the 5 V rail."""
    rails = (("VDD_GPU_SOC", 843, 6170), ("VDD_CPU_CV", 780, 3437), ("VIN_SYS_5V0", 4968, 953))
    _ina3221(root, "sys/class/hwmon/hwmon3", rails)
    rails = (("NC", 0, 0), ("VDDQ_VDD2_1V8AO", 4968, 80), ("NC", 0, 0))
    _ina3221(root, "sys/class/hwmon/hwmon4", rails)
    return write(root, {"proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0"})


def jetson_nano_jetpack4(root: Path) -> Path:
    """JetPack 4: an industrial-IO device below the ina3221x driver, in milliwatts."""
    folder = "sys/bus/i2c/drivers/ina3221x/6-0040/iio:device0"
    files = {"proc/device-tree/model": "NVIDIA Jetson Nano Developer Kit\0"}
    for channel, (label, power_mw) in enumerate(
        (("POM_5V_IN", 2841), ("POM_5V_GPU", 82), ("POM_5V_CPU", 615))
    ):
        files |= {
            f"{folder}/rail_name_{channel}": label,
            f"{folder}/in_power{channel}_input": str(power_mw),
        }
    return write(root, files)


def rapl(root: Path, *, package_uj: int = 1_000_000, dram_uj: int | None = 500_000) -> Path:
    """An Intel laptop's powercap tree: package, core, uncore, dram, psys, and the MMIO twin."""
    folder = "sys/class/powercap"
    zones = {
        "intel-rapl:0": ("package-0", package_uj),
        "intel-rapl:0:0": ("core", package_uj // 2),
        "intel-rapl:0:1": ("uncore", 10),
        "intel-rapl:0:2": ("dram", dram_uj),
        "intel-rapl:1": ("psys", 9 * package_uj),
        "intel-rapl-mmio:0": ("package-0", package_uj),
    }
    files = {f"{folder}/intel-rapl/enabled": "1"}
    for zone, (name, count) in zones.items():
        if count is not None:
            files |= {
                f"{folder}/{zone}/name": name,
                f"{folder}/{zone}/energy_uj": str(count),
                f"{folder}/{zone}/max_energy_range_uj": "262143328850",
            }
    return write(root, files)


RAPL_COUNTERS = (
    "sys/class/powercap/intel-rapl:0/energy_uj",
    "sys/class/powercap/intel-rapl:0:2/energy_uj",
)


def battery(root: Path, *, status: str = "Discharging", name: str = "BAT0", **gauges: int) -> Path:
    """A laptop's or phone's battery with the gauges given, and a mouse's that must not count."""
    folder = f"sys/class/power_supply/{name}"
    online = "0" if status == "Discharging" else "1"
    files = {f"{folder}/{gauge}": str(value) for gauge, value in gauges.items()}
    return write(
        root,
        files
        | {
            f"{folder}/type": "Battery",
            f"{folder}/present": "1",
            f"{folder}/status": status,
            "sys/class/power_supply/AC/type": "Mains",
            "sys/class/power_supply/AC/online": online,
            "sys/class/power_supply/hidpp_battery_0/type": "Battery",
            "sys/class/power_supply/hidpp_battery_0/scope": "Device",
            "sys/class/power_supply/hidpp_battery_0/status": "Discharging",
            "sys/class/power_supply/hidpp_battery_0/capacity": "3",
            "sys/class/power_supply/hidpp_battery_0/energy_now": "1",
        },
    )


class FailingFiles(SystemFiles):
    """Files of which some may not be read or fail; both sets may change at any time."""

    def __init__(self, root: Path, *, denied: Sequence[str] = ()) -> None:
        super().__init__(root)
        self.denied_paths = set(denied)
        self.failing_paths: set[str] = set()

    def may_read(self, path: str) -> bool:
        """Not what is denied."""
        return path not in self.denied_paths and super().may_read(path)

    def read_bytes(self, path: str) -> bytes | None:
        """None for what is denied or failing, as for EACCES, EIO and EAGAIN."""
        if path in self.denied_paths | self.failing_paths:
            return None
        return super().read_bytes(path)


class ScriptedCommands:
    """Answers commands from a table by their words; what is not in it is not installed."""

    def __init__(self, answers: Mapping[tuple[str, ...], Finished | None]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, words: Sequence[str]) -> Finished | None:
        """Run one."""
        self.asked.append(tuple(words))
        return self.answers.get(tuple(words))


class ScriptedTime:
    """A clock that a test turns."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        """Now."""
        return self.now_s
