import shutil
from pathlib import Path

import pytest

from edge_sdk.errors import Unavailable
from edge_sdk.telemetry.energy import SampledEnergy, energy_between, open_energy, probe_energy
from edge_sdk.telemetry.energy.battery import BatteryPower, BatteryReader, open_battery
from edge_sdk.telemetry.energy.estimate import EstimatedEnergy, open_estimate
from edge_sdk.telemetry.energy.hwmon import find_rails, open_hwmon
from edge_sdk.telemetry.energy.pmic import COMMAND, open_pmic, parse_pmic
from edge_sdk.telemetry.energy.rapl import open_rapl
from edge_sdk.telemetry.system import Finished, SystemFiles
from tests.edge_sdk.telemetry import boards

NO_COMMANDS = boards.ScriptedCommands({})


# ------------------------------------------------------------------ hwmon


@pytest.mark.parametrize("chip", ["ina219", "ina226", "ina260"])
def test_a_meter_on_the_supply_tells_what_the_whole_board_draws(tmp_path: Path, chip: str) -> None:
    source = open_hwmon(SystemFiles(boards.ina2xx(boards.pi(tmp_path), chip=chip)))
    assert source.power_w() == pytest.approx(3.42)
    assert (source.about.method, source.about.scope) == ("integrated", "device")


def test_vdd_in_of_a_jetson_is_the_total_and_the_other_rails_are_not_added(tmp_path: Path) -> None:
    source = open_hwmon(SystemFiles(boards.jetson_orin_nano(tmp_path)))
    assert source.power_w() == pytest.approx(4.984 * 1.160)
    assert source.about.detail == "VDD_IN of ina3221"


def test_a_jetson_is_found_through_the_bus_where_the_class_is_hidden(tmp_path: Path) -> None:
    folder = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon1"
    source = open_hwmon(SystemFiles(boards.jetson_orin_nano(tmp_path, folder=folder)))
    assert source.power_w() == pytest.approx(4.984 * 1.160)


def test_jetpack_4_tells_milliwatts_of_the_5_volt_input(tmp_path: Path) -> None:
    source = open_hwmon(SystemFiles(boards.jetson_nano_jetpack4(tmp_path)))
    assert source.power_w() == pytest.approx(2.841)


def test_a_board_without_a_total_adds_its_rails_once_and_owns_to_a_wide_margin(
    tmp_path: Path,
) -> None:
    files = SystemFiles(boards.jetson_agx_orin(tmp_path))
    assert "NC" not in [rail.label for rail in find_rails(files)]
    source = open_hwmon(files)
    assert source.power_w() == pytest.approx((843 * 6170 + 780 * 3437 + 4968 * 953) / 1e6)
    assert source.about.uncertainty >= 0.2


def test_several_meters_of_which_none_is_known_to_be_the_total_need_a_name(tmp_path: Path) -> None:
    boards.ina2xx(tmp_path, hwmon="hwmon2")
    boards.ina2xx(tmp_path, hwmon="hwmon3", power_uw=1_000_000)
    files = SystemFiles(tmp_path)
    with pytest.raises(Unavailable, match="name the one that feeds the board"):
        open_hwmon(files)
    assert open_hwmon(files, rail="ina219 (2)").power_w() == pytest.approx(1.0)
    with pytest.raises(Unavailable, match="there are: ina219, "):
        open_hwmon(files, rail="VDD_IN")


def test_a_negative_current_is_not_a_figure(tmp_path: Path) -> None:
    boards.ina2xx(tmp_path)
    source = open_hwmon(SystemFiles(tmp_path))
    boards.ina2xx(tmp_path, current_ma=-310)
    assert source.power_w() is None
    boards.ina2xx(tmp_path, current_ma=-4)
    assert source.power_w() == 0.0, "the meter's offset"
    boards.ina2xx(tmp_path, current_ma=-310)
    with pytest.raises(Unavailable, match="swap the leads"):
        open_hwmon(SystemFiles(tmp_path))


def test_more_than_any_board_draws_is_not_a_figure(tmp_path: Path) -> None:
    source = open_hwmon(SystemFiles(boards.ina2xx(tmp_path)))
    boards.ina2xx(tmp_path, power_uw=2**40)
    assert source.power_w() is None


def test_a_meter_that_vanishes_is_found_again_under_its_new_number(tmp_path: Path) -> None:
    boards.ina2xx(tmp_path, hwmon="hwmon2")
    source = open_hwmon(SystemFiles(tmp_path))
    shutil.rmtree(tmp_path / "sys/class/hwmon/hwmon2")
    assert source.power_w() is None
    boards.ina2xx(tmp_path, hwmon="hwmon5", power_uw=2_000_000)
    assert source.power_w() == pytest.approx(2.0)


def test_an_input_output_error_is_a_missing_sample(tmp_path: Path) -> None:
    files = boards.FailingFiles(boards.jetson_orin_nano(tmp_path))
    source = open_hwmon(files)
    files.failing_paths.add("sys/class/hwmon/hwmon1/curr1_input")
    assert source.power_w() is None
    files.failing_paths.clear()
    assert source.power_w() == pytest.approx(4.984 * 1.160)


# ------------------------------------------------------------------ RAPL


def _count(root: Path, package_uj: int, dram_uj: int) -> None:
    boards.rapl(root, package_uj=package_uj, dram_uj=dram_uj)


def test_packages_and_memory_are_added_and_nothing_twice(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    reader = open_rapl(SystemFiles(boards.rapl(tmp_path)), clock=clock)
    clock.now_s += 10
    _count(tmp_path, 1_000_000 + 30_000_000, 500_000 + 5_000_000)
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(35.0)
    assert (reading.about.method, reading.about.scope) == ("measured", "package")


def test_a_counter_that_wraps_goes_on_at_its_range(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.rapl(tmp_path, package_uj=262_143_328_850 - 1_000_000)
    reader = open_rapl(SystemFiles(tmp_path), clock=clock)
    clock.now_s += 1
    _count(tmp_path, 4_000_000, 500_000)
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(5.0)


def test_a_counter_that_may_have_gone_round_unseen_counts_as_missed(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    reader = open_rapl(SystemFiles(boards.rapl(tmp_path)), clock=clock)
    before = reader.read()
    clock.now_s += 3600
    _count(tmp_path, 2_000_000, 600_000)
    after = reader.read()
    assert after is not None
    assert after.missed_s == 3600
    assert energy_between(before, after) is None


def test_a_counter_that_was_reset_is_no_flood_of_joules(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.rapl(tmp_path, package_uj=9_000_000)
    reader = open_rapl(SystemFiles(tmp_path), clock=clock)
    clock.now_s += 1
    _count(tmp_path, 1, 500_000)
    reading = reader.read()
    assert reading is not None
    assert (reading.joules, reading.missed_s) == (0.0, 1.0)


def test_counters_that_only_root_may_read_are_unavailable_with_the_fix(tmp_path: Path) -> None:
    files = boards.FailingFiles(boards.rapl(tmp_path), denied=boards.RAPL_COUNTERS)
    with pytest.raises(Unavailable, match="sudo chmod a\\+r"):
        open_rapl(files)


def test_a_failed_read_of_a_counter_loses_nothing(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    files = boards.FailingFiles(boards.rapl(tmp_path, dram_uj=None))
    reader = open_rapl(files, clock=clock)
    files.failing_paths.add(boards.RAPL_COUNTERS[0])
    clock.now_s += 1
    boards.rapl(tmp_path, package_uj=3_000_000, dram_uj=None)
    assert reader.read() is None
    files.failing_paths.clear()
    clock.now_s += 1
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(2.0)
    assert reading.missed_s == 0


# ------------------------------------------------------------------ battery


def _battery_reader(root: Path, clock: boards.ScriptedTime) -> BatteryReader:
    reader = open_battery(SystemFiles(root), clock=clock)
    assert isinstance(reader, BatteryReader)
    return reader


def test_an_energy_gauge_counts_while_discharging(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.battery(tmp_path, energy_now=40_000_000, power_now=9_000_000)
    reader = _battery_reader(tmp_path, clock)
    before = reader.read()
    clock.now_s += 60
    boards.battery(tmp_path, energy_now=39_850_000)
    after = reader.read()
    energy = energy_between(before, after)
    assert energy is not None
    assert energy.joules == pytest.approx(0.15 * 3600)
    assert (energy.method, energy.scope) == ("measured", "device")
    assert energy.uncertainty_j > 0.1 * energy.joules


def test_a_charge_gauge_counts_at_the_voltage_of_the_moment(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.battery(tmp_path, charge_now=3_000_000, voltage_now=3_900_000)
    reader = _battery_reader(tmp_path, clock)
    reader.read()
    clock.now_s += 60
    boards.battery(tmp_path, charge_now=2_990_000, voltage_now=3_800_000)
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(0.010 * 3600 * 3.8)
    clock.now_s += 60
    boards.battery(tmp_path, charge_now=2_990_000, voltage_now=3_600_000)
    later = reader.read()
    assert later is not None
    assert later.joules == reading.joules, "a sagging voltage alone is no energy"


def test_a_charging_battery_tells_nothing_and_the_time_is_missed(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.battery(tmp_path, energy_now=40_000_000)
    reader = _battery_reader(tmp_path, clock)
    before = reader.read()
    for status in ("Charging", "Full", "Not charging", "Unknown"):
        clock.now_s += 100
        boards.battery(tmp_path, status=status, energy_now=45_000_000)
        assert reader.read() is None
    clock.now_s += 100
    boards.battery(tmp_path, energy_now=44_000_000)
    after = reader.read()
    assert after is not None
    assert (after.joules, after.missed_s) == (0.0, 500.0)
    assert energy_between(before, after) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_a_gauge_without_counters_gives_current_times_voltage_whatever_the_sign(
    tmp_path: Path, sign: int
) -> None:
    boards.battery(tmp_path, current_now=sign * 400_000, voltage_now=3_850_000)
    source = open_battery(SystemFiles(tmp_path))
    assert isinstance(source, BatteryPower)
    assert source.power_w() == pytest.approx(1.54)
    boards.battery(tmp_path, status="Charging", current_now=400_000, voltage_now=3_850_000)
    assert source.power_w() is None


def test_two_batteries_are_one_source(tmp_path: Path) -> None:
    clock = boards.ScriptedTime()
    boards.battery(tmp_path, energy_now=20_000_000)
    boards.battery(tmp_path, name="BAT1", status="Not charging", energy_now=23_000_000)
    reader = _battery_reader(tmp_path, clock)
    reader.read()
    clock.now_s += 60
    boards.battery(tmp_path, name="BAT1", status="Not charging", energy_now=23_000_000)
    boards.battery(tmp_path, energy_now=19_900_000)
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(360)


def test_the_battery_of_a_mouse_is_not_the_machines(tmp_path: Path) -> None:
    boards.battery(tmp_path, energy_now=1)
    shutil.rmtree(tmp_path / "sys/class/power_supply/BAT0")
    with pytest.raises(Unavailable, match="no battery"):
        open_battery(SystemFiles(tmp_path))


# ------------------------------------------------------------------ PMIC


def test_the_rails_are_paired_by_name_and_summed() -> None:
    assert parse_pmic(boards.PMIC_OUTPUT) == pytest.approx(boards.PMIC_RAILS_W, abs=1e-4)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "VCHI initialization failed",
        "EXT5V_V volt(24)=5.06788000V",
        "VDD_CORE_A current(7)=1.0A",
        "VDD_CORE_A current(7)=999.0A\nVDD_CORE_V volt(15)=0.9V",
        "VDD_CORE_A current(7)=-1.0A\nVDD_CORE_V volt(15)=0.9V",
        "VDD_CORE_A current(7)=nanA\nVDD_CORE_V volt(15)=0.9V",
    ],
)
def test_what_is_not_a_whole_reading_is_none(text: str) -> None:
    assert parse_pmic(text) is None


def test_the_pi_5_is_asked_by_its_command_and_corrected_for_loss(tmp_path: Path) -> None:
    boards.pi(tmp_path, "Raspberry Pi 5 Model B Rev 1.0")
    run = boards.ScriptedCommands({COMMAND: Finished(0, boards.PMIC_OUTPUT)})
    source = open_pmic(SystemFiles(tmp_path), run)
    assert source.power_w() == pytest.approx(1.1451 * boards.PMIC_RAILS_W + 0.5879, abs=2e-4)
    run.answers[COMMAND] = None
    assert source.power_w() is None


def test_a_pi_5_that_cannot_be_asked_says_how_to_repair_it(tmp_path: Path) -> None:
    files = SystemFiles(boards.pi(tmp_path, "Raspberry Pi 5 Model B Rev 1.0"))
    with pytest.raises(Unavailable, match="apt install raspi-utils"):
        open_pmic(files, NO_COMMANDS)
    denied = boards.ScriptedCommands({COMMAND: Finished(255, "Can't open device file: /dev/vcio")})
    with pytest.raises(Unavailable, match="usermod -aG video"):
        open_pmic(files, denied)


def test_the_command_is_really_run_and_its_cost_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.pi(tmp_path / "pi5", "Raspberry Pi 5 Model B Rev 1.0")
    program = tmp_path / "bin" / "vcgencmd"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{boards.PMIC_OUTPUT}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    found = open_energy(tmp_path / "pi5")
    assert isinstance(found, SampledEnergy)
    found.sample()
    found.sample()
    found.close()
    assert found.about.source == "pmic"
    assert found.samples == 2
    reading = found.read()
    assert reading is not None
    assert reading.joules > 0


def test_no_command_is_run_on_any_other_board(tmp_path: Path) -> None:
    run = boards.ScriptedCommands({COMMAND: Finished(0, boards.PMIC_OUTPUT)})
    with pytest.raises(Unavailable):
        open_pmic(SystemFiles(boards.pi(tmp_path)), run)
    assert run.asked == []


# ------------------------------------------------------------------ estimate


def test_the_model_adds_idle_time_and_busy_cores(tmp_path: Path) -> None:
    clock, cpu = boards.ScriptedTime(), boards.ScriptedTime(0.0)
    reader = open_estimate(SystemFiles(boards.pi(tmp_path)), clock=clock, cpu_clock=cpu)
    clock.now_s += 100
    cpu.now_s += 40
    reading = reader.read()
    assert reading is not None
    assert reading.joules == pytest.approx(3.06 * 100 + (6.12 - 3.06) * 40 / 4)
    assert reading.about.method == "estimated"
    assert reading.about.uncertainty >= 0.3


@pytest.mark.parametrize(
    "model",
    [
        "Raspberry Pi Zero 2 W Rev 1.0",
        "Raspberry Pi 3 Model B Rev 1.2",
        "Raspberry Pi 4 Model B Rev 1.5",
    ],
)
def test_the_boards_that_cannot_measure_are_in_the_table(tmp_path: Path, model: str) -> None:
    found = open_energy(boards.pi(tmp_path, model), run=NO_COMMANDS)
    assert isinstance(found, EstimatedEnergy)


@pytest.mark.parametrize("model", ["Raspberry Pi 3 Model B Plus Rev 1.3", "Some Board"])
def test_a_board_without_published_figures_is_not_guessed(tmp_path: Path, model: str) -> None:
    with pytest.raises(Unavailable, match="no power figures"):
        open_estimate(SystemFiles(boards.pi(tmp_path, model)))


# ------------------------------------------------------------------ choice


def test_an_empty_machine_has_no_source_and_each_says_why(tmp_path: Path) -> None:
    assert open_energy(tmp_path, run=NO_COMMANDS) is None
    findings = probe_energy(tmp_path, run=NO_COMMANDS)
    assert [found.source for found in findings] == ["hwmon", "pmic", "rapl", "battery", "estimate"]
    assert all(found.reader is None and found.why for found in findings)


def test_a_meter_goes_before_a_model(tmp_path: Path) -> None:
    boards.ina2xx(boards.pi(tmp_path))
    found = open_energy(tmp_path, run=NO_COMMANDS)
    assert isinstance(found, SampledEnergy)
    assert found.about.source == "hwmon"
    assert [f.source for f in probe_energy(tmp_path, run=NO_COMMANDS) if f.reader] == [
        "hwmon",
        "estimate",
    ]


def test_a_laptop_whose_counters_are_denied_falls_back_on_its_battery(tmp_path: Path) -> None:
    boards.battery(boards.rapl(tmp_path), energy_now=40_000_000)
    allowed = open_energy(tmp_path, run=NO_COMMANDS)
    assert allowed is not None
    assert allowed.about.source == "rapl"
    files = boards.FailingFiles(tmp_path, denied=boards.RAPL_COUNTERS)
    found = open_energy(run=NO_COMMANDS, files=files)
    assert found is not None
    assert found.about.source == "battery"
