import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_sdk.telemetry import MachineReader, MachineState, ProcessSensor, probe_energy
from edge_sdk.telemetry.link import METERED_COMMAND, default_interface, link_type, read_metered
from edge_sdk.telemetry.machine import count_cores
from edge_sdk.telemetry.memory import free_memory_bytes
from edge_sdk.telemetry.system import Finished, SystemFiles, device_model, run_command
from tests.edge_sdk.telemetry import boards


def test_an_empty_machine_tells_nothing_and_makes_nothing_up(tmp_path: Path) -> None:
    assert MachineReader(tmp_path).read() == MachineState()


def test_a_raspberry_pi_tells_heat_throttling_load_memory_and_link(tmp_path: Path) -> None:
    state = MachineReader(boards.pi(tmp_path)).read()
    assert state.temperature_c == pytest.approx(48.686)
    assert state.throttled == ("under-voltage", "throttled")
    assert state.load == pytest.approx(0.5)
    assert state.free_memory_bytes == 2_000_000 * 1024
    assert state.link == "wifi"
    assert (state.battery, state.charging, state.metered) == (None, None, None)
    assert device_model(SystemFiles(tmp_path)) == "Raspberry Pi 4 Model B Rev 1.4"


def test_what_was_true_since_boot_is_not_what_is_true_now(tmp_path: Path) -> None:
    boards.pi(tmp_path)
    path = "sys/devices/platform/soc/soc:firmware/get_throttled"
    reader = MachineReader(tmp_path)
    boards.write(tmp_path, {path: "50000"})
    assert reader.throttled() == ()
    boards.write(tmp_path, {path: "0x8"})
    assert reader.throttled() == ("soft temperature limit",)
    boards.write(tmp_path, {path: "?"})
    assert reader.throttled() is None


def test_a_jetsons_fan_is_not_throttling_but_its_cpu_cooler_is(tmp_path: Path) -> None:
    boards.jetson_orin_nano(tmp_path)
    reader = MachineReader(tmp_path)
    assert reader.throttled() == ()
    boards.write(tmp_path, {"sys/class/thermal/cooling_device0/cur_state": "1"})
    assert reader.throttled() == ("throttled",)
    assert reader.temperature_c() == pytest.approx(51.062)


@pytest.mark.parametrize("text", ["-256000", "999999999", "hot", ""])
def test_a_sensor_that_is_switched_off_is_none(tmp_path: Path, text: str) -> None:
    boards.pi(tmp_path)
    boards.write(tmp_path, {"sys/class/thermal/thermal_zone0/temp": text})
    assert MachineReader(tmp_path).temperature_c() is None


def test_a_laptops_processor_is_found_among_other_zones_or_behind_its_driver(
    tmp_path: Path,
) -> None:
    driver = {
        "sys/class/hwmon/hwmon3/name": "coretemp",
        "sys/class/hwmon/hwmon3/temp1_input": "60000",
    }
    zones = {
        "sys/class/thermal/thermal_zone0/type": "iwlwifi_1",
        "sys/class/thermal/thermal_zone0/temp": "41000",
    }
    assert MachineReader(boards.write(tmp_path, driver | zones)).temperature_c() == 60.0
    package = {
        "sys/class/thermal/thermal_zone7/type": "x86_pkg_temp",
        "sys/class/thermal/thermal_zone7/temp": "61000",
    }
    assert MachineReader(boards.write(tmp_path, package)).temperature_c() == 61.0


@pytest.mark.parametrize(
    ("status", "charging"),
    [("Discharging", False), ("Charging", True), ("Full", True), ("Not charging", True)],
)
def test_a_battery_tells_charge_and_direction(tmp_path: Path, status: str, charging: bool) -> None:
    boards.battery(tmp_path, status=status, energy_now=30_000_000, energy_full=40_000_000)
    state = MachineReader(tmp_path).read()
    assert (state.battery, state.charging) == (0.75, charging)


def test_a_battery_that_only_knows_percent_is_believed(tmp_path: Path) -> None:
    boards.battery(tmp_path, capacity=42)
    assert MachineReader(tmp_path).battery() == pytest.approx(0.42)


def test_a_battery_taken_out_while_reading_is_none(tmp_path: Path) -> None:
    boards.battery(tmp_path, capacity=42)
    reader = MachineReader(tmp_path)
    (tmp_path / "sys/class/power_supply/BAT0/capacity").unlink()
    assert reader.battery() is None


def _every_board(root: Path) -> Path:
    """A tree with something for each reader."""
    boards.jetson_orin_nano(boards.pi(root))
    boards.rapl(boards.battery(root, energy_now=5, charge_now=5, voltage_now=5, capacity=5))
    cgroup = {"proc/self/cgroup": "0::/x", "sys/fs/cgroup/x/memory.max": "1"}
    return boards.write(root, cgroup | {"sys/fs/cgroup/x/memory.current": "1"})


NASTY = st.sampled_from(
    [b"", b"\0", b"-1", b"nan", b"inf", b"1e309", b"9" * 24, b"9" * 5000, b"0-9" * 99, b"\xff\xfe"]
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_the_files_hold_no_reader_raises(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = _every_board(Path(folder))
        sensor, machine = ProcessSensor(root=root), MachineReader(root)
        readers = [f.reader for f in probe_energy(root, run=boards.ScriptedCommands({}))]
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        for path in data.draw(st.lists(st.sampled_from(paths), max_size=8, unique=True)):
            path.write_bytes(data.draw(NASTY | st.binary(max_size=40)))
        try:
            machine.read()
            MachineReader(root).read()
            ProcessSensor(root=root, energy=readers[-1]).read()
            sensor.read()
            probe_energy(root, run=boards.ScriptedCommands({}))
            for reader in readers:
                now = None if reader is None else reader.read()
                assert now is None or now.joules >= 0
        finally:
            sensor.close()
            for reader in readers:
                if reader is not None:
                    reader.close()


# ------------------------------------------------------------------ memory


MEMINFO = {"proc/meminfo": "MemTotal: 477640 kB\nMemAvailable: 300000 kB"}


def test_the_control_groups_limit_counts_where_it_is_tighter(tmp_path: Path) -> None:
    group = "sys/fs/cgroup/system.slice/agent.service"
    files = {
        "proc/self/cgroup": "0::/system.slice/agent.service",
        f"{group}/memory.max": "100000000",
        f"{group}/memory.current": "80000000",
        f"{group}/memory.stat": "anon 1\ninactive_file 5000000",
    }
    assert free_memory_bytes(SystemFiles(boards.write(tmp_path, MEMINFO | files))) == 25_000_000
    boards.write(tmp_path, {f"{group}/memory.max": "max"})
    assert free_memory_bytes(SystemFiles(tmp_path)) == 300_000 * 1024


def test_control_groups_of_version_1_are_understood(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "4:cpu,cpuacct:/x\n3:memory:/box\n0::/x",
        "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "50000000",
        "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "60000000",
    }
    assert free_memory_bytes(SystemFiles(boards.write(tmp_path, MEMINFO | files))) == 0
    limit = "sys/fs/cgroup/memory/box/memory.limit_in_bytes"
    boards.write(tmp_path, {limit: "9223372036854771712"})
    assert free_memory_bytes(SystemFiles(tmp_path)) == 300_000 * 1024


@pytest.mark.parametrize(("text", "cores"), [("0-3", 4), ("0,2-3", 3), ("0", 1), ("x-y", None)])
def test_cores_are_counted_from_a_list(tmp_path: Path, text: str, cores: int | None) -> None:
    files = SystemFiles(boards.write(tmp_path, {"sys/devices/system/cpu/online": text}))
    assert count_cores(files) == cores


# ------------------------------------------------------------------ link

ROUTES = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n"


def route(name: str, metric: int) -> str:
    return f"{name}\t00000000\t0101A8C0\t0003\t0\t0\t{metric}\t00000000\t0\n"


def interface(
    root: Path, name: str, *, devtype: str = "", kind: str = "1", driver: str = ""
) -> Path:
    folder = f"sys/class/net/{name}"
    uevent = f"DEVTYPE={devtype}\n" if devtype else ""
    files = {f"{folder}/type": kind, f"{folder}/uevent": uevent + f"INTERFACE={name}"}
    if driver:
        files[f"{folder}/device/uevent"] = f"DRIVER={driver}"
    return boards.write(root, files | {"proc/net/route": ROUTES + route(name, 100)})


@pytest.mark.parametrize(
    ("card", "expected"),
    [
        (("eth0", "", "1", "bcmgenet"), "ethernet"),
        (("wlan0", "wlan", "1", "brcmfmac"), "wifi"),
        (("wwan0", "wwan", "1", "qmi_wwan"), "cellular"),
        (("rmnet_data0", "", "519", ""), "cellular"),
        (("usb0", "", "1", "rndis_host"), "other"),
        (("wg0", "wireguard", "65534", ""), "other"),
        (("br0", "bridge", "1", ""), "other"),
        (("ppp0", "ppp", "512", ""), "other"),
    ],
)
def test_the_link_is_that_of_the_default_route(
    tmp_path: Path, card: tuple[str, str, str, str], expected: str
) -> None:
    name, devtype, kind, driver = card
    files = SystemFiles(interface(tmp_path, name, devtype=devtype, kind=kind, driver=driver))
    assert link_type(files) == expected


def test_the_cheapest_route_wins_and_ipv6_serves_where_there_is_no_other(tmp_path: Path) -> None:
    files = SystemFiles(tmp_path)
    boards.write(tmp_path, {"proc/net/route": ROUTES + route("wwan0", 700) + route("eth0", 100)})
    assert default_interface(files) == "eth0"
    zeros = "0" * 32
    boards.write(
        tmp_path,
        {
            "proc/net/route": ROUTES,
            "proc/net/ipv6_route": f"{zeros} 00 {zeros} 00 fe80{zeros[4:]} 00000400 1 0 3 wlan0\n"
            f"{zeros} 00 {zeros} 00 {zeros} ffffffff 1 0 200200 lo",
        },
    )
    assert default_interface(files) == "wlan0"
    assert link_type(files) is None, "an interface that is gone"


@pytest.mark.parametrize(
    ("output", "metered"),
    [("u 1", True), ("u 3", True), ("u 2", False), ("u 4", False), ("u 0", None), ("?", None)],
)
def test_a_guessed_yes_counts_as_metered_and_unknown_as_unknown(
    output: str, metered: bool | None
) -> None:
    run = boards.ScriptedCommands({METERED_COMMAND: Finished(0, output + "\n")})
    assert read_metered(run) is metered
    assert read_metered(boards.ScriptedCommands({METERED_COMMAND: Finished(1, output)})) is None
    assert read_metered(boards.ScriptedCommands({})) is None


def test_network_manager_is_asked_at_most_once_a_minute(tmp_path: Path) -> None:
    run = boards.ScriptedCommands({METERED_COMMAND: Finished(0, "u 1")})
    clock = boards.ScriptedTime()
    reader = MachineReader(tmp_path, run=run, clock=clock)
    assert reader.read().metered is True
    run.answers[METERED_COMMAND] = Finished(0, "u 2")
    clock.now_s += 59
    assert reader.metered() is True
    clock.now_s += 1
    assert reader.metered() is False
    assert len(run.asked) == 2


def test_commands_that_are_missing_or_fail_are_told_apart() -> None:
    assert run_command(["edge-sdk-no-such-command"]) is None
    done = run_command(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert done == Finished(3, "out\nerr\n")
