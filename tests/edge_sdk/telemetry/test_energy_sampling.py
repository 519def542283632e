import gc
import math
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.telemetry import ProcessSensor, device
from edge_sdk.telemetry.energy import (
    About,
    EnergyReading,
    SampledEnergy,
    energy_between,
    open_energy,
    radio_energy,
    radio_j_per_byte,
)
from edge_sdk.telemetry.energy.estimate import POWER_TABLE, estimate_energy
from edge_sdk.telemetry.energy.integrate import Integral, add_sample
from edge_sdk.telemetry.system import SystemFiles
from edge_sdk.testing import check_sensor
from tests.edge_sdk.telemetry import boards

METER = About(
    source="hwmon", method="integrated", scope="device", uncertainty=0.05, detail="a test's"
)


class ScriptedPower:
    """A `PowerSource` that says what the test set."""

    interval_s = 0.2
    about = METER

    def __init__(self, power_w: float | None = 5.0) -> None:
        self.answer_w = power_w

    def power_w(self) -> float | None:
        """What was set."""
        return self.answer_w


def integrate(samples: list[tuple[float, float | None]], *, max_gap_s: float = 1.0) -> Integral:
    integral = Integral()
    for at_s, power_w in samples:
        integral = add_sample(integral, at_s, power_w, max_gap_s=max_gap_s)
    return integral


# ------------------------------------------------------------------ the integrator


@given(
    steps=st.lists(st.floats(0.01, 0.99), min_size=1, max_size=50),
    slope=st.floats(0, 10),
    start_w=st.floats(0, 100),
)
def test_a_straight_line_of_power_is_integrated_exactly_at_any_spacing(
    steps: list[float], slope: float, start_w: float
) -> None:
    times = [sum(steps[:n]) for n in range(len(steps) + 1)]
    integral = integrate([(t, start_w + slope * t) for t in times])
    end = times[-1]
    assert integral.joules == pytest.approx(start_w * end + slope * end * end / 2)
    assert integral.covered_s == pytest.approx(end)
    assert integral.missed_s == 0


def test_nothing_is_integrated_over_a_sleep() -> None:
    integral = integrate([(0, 2.0), (1, 2.0), (3600, 2.0), (3601, 2.0)])
    assert integral.joules == pytest.approx(4.0)
    assert (integral.covered_s, integral.missed_s) == (2.0, 3599.0)


def test_one_failed_sample_is_bridged_and_a_row_of_them_is_a_gap() -> None:
    assert integrate([(0, 2.0), (0.5, None), (1, 4.0)]).joules == pytest.approx(3.0)
    row = integrate([(0, 2.0), *((0.5 + n / 2, None) for n in range(9)), (5, 4.0)])
    assert (row.joules, row.missed_s) == (0.0, 5.0)


@pytest.mark.parametrize("bad", [None, -1.0, math.nan, math.inf])
def test_a_sample_without_a_usable_figure_changes_nothing(bad: float | None) -> None:
    known = integrate([(0, 2.0), (1, 2.0)])
    assert add_sample(known, 1.5, bad, max_gap_s=1.0) == known


def test_a_clock_that_runs_backwards_starts_anew_and_never_takes_joules_back() -> None:
    integral = integrate([(10, 2.0), (11, 2.0), (3, 2.0), (4, 2.0)])
    assert integral.joules == pytest.approx(4.0)
    assert integrate([(1, 2.0), (1, 9.0)]).joules == 0.0


# ------------------------------------------------------------------ differences


def reading(at_s: float, joules: float, *, missed_s: float = 0.0) -> EnergyReading:
    return EnergyReading(at_s=at_s, joules=joules, missed_s=missed_s, resolution_j=1.0, about=METER)


def test_joules_carry_their_method_and_margin() -> None:
    energy = energy_between(reading(0, 10), reading(20, 110))
    assert energy is not None
    assert (energy.joules, energy.method, energy.source) == (100.0, "integrated", "hwmon")
    assert energy.uncertainty_j == pytest.approx(0.05 * 100 + 1.0)


def test_a_little_missed_time_widens_the_margin_and_much_takes_the_figure() -> None:
    energy = energy_between(reading(0, 0), reading(20, 95, missed_s=1.0))
    assert energy is not None
    assert energy.uncertainty_j == pytest.approx(0.05 * 95 + 1.0 + 5.0)
    assert energy_between(reading(0, 0), reading(20, 95, missed_s=3.0)) is None


def test_absent_is_none_and_never_zero() -> None:
    other = EnergyReading(at_s=9, joules=9, about=POWER_ABOUT)
    assert energy_between(None, reading(1, 1)) is None
    assert energy_between(reading(1, 1), None) is None
    assert energy_between(reading(1, 5), reading(2, 4)) is None
    assert energy_between(reading(1, 1), other) is None


POWER_ABOUT = About(source="rapl", method="measured", scope="package", uncertainty=0, detail="")


# ------------------------------------------------------------------ the sampler


def test_sampled_watts_become_joules() -> None:
    clock, source = boards.ScriptedTime(), ScriptedPower(5.0)
    reader = SampledEnergy(source, clock=clock, threaded=False)
    assert reader.read() is None, "nothing was seen yet"
    for _ in range(11):
        reader.sample()
        clock.now_s += 0.2
    now = reader.read()
    assert now is not None
    assert now.joules == pytest.approx(10.0)
    assert now.resolution_j == pytest.approx(1.0)


def test_a_source_gone_silent_gives_none_until_it_speaks_again() -> None:
    clock, source = boards.ScriptedTime(), ScriptedPower(5.0)
    reader = SampledEnergy(source, clock=clock, threaded=False)
    reader.sample()
    source.answer_w = None
    clock.now_s += 10
    reader.sample()
    assert reader.read() is None
    source.answer_w = 5.0
    reader.sample()
    again = reader.read()
    assert again is not None
    assert (again.joules, again.missed_s) == (0.0, 10.0)


def sampler_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "energy-sampler"]


@pytest.fixture
def sampler() -> Iterator[SampledEnergy]:
    reader = SampledEnergy(ScriptedPower(), interval_s=0.01)
    yield reader
    reader.close()


def test_the_thread_starts_with_the_first_reading_and_ends_with_close(
    sampler: SampledEnergy,
) -> None:
    assert sampler_threads() == []
    first = sampler.read()
    assert first is not None, "the first reading takes a sample itself"
    assert len(sampler_threads()) == 1
    while sampler.samples < 5:
        time.sleep(0.01)
    later = sampler.read()
    assert later is not None
    assert later.joules > first.joules
    spent = energy_between(first, later)
    assert spent is not None
    assert 0 < spent.sampling_cpu_s < 1
    sampler.close()
    assert sampler_threads() == []
    sampler.read()
    assert sampler_threads() == [], "closed for good"


def test_the_thread_measures_its_own_cost(sampler: SampledEnergy) -> None:
    sampler.read()
    while sampler.samples < 5:
        time.sleep(0.01)
    assert 0 < sampler.own_cpu_s < 1


def test_a_forgotten_reader_takes_its_thread_with_it() -> None:
    reader = SampledEnergy(ScriptedPower(), interval_s=0.01)
    reader.read()
    [thread] = sampler_threads()
    del reader
    gc.collect()
    thread.join(timeout=10)
    assert not thread.is_alive()


# ------------------------------------------------------------------ the process sensor


def test_a_sensor_on_a_board_with_a_counter_starts_no_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "STATE_AGE_S", 0.0)
    boards.battery(tmp_path, energy_now=40_000_000, energy_full=50_000_000)
    sensor = ProcessSensor(root=tmp_path)
    check_sensor(sensor)
    boards.battery(tmp_path, energy_now=39_990_000, energy_full=50_000_000)
    now = sensor.read()
    assert now.energy_j == pytest.approx(36.0)
    assert now.battery == pytest.approx(0.7998)
    assert sampler_threads() == []


def test_a_sensor_on_a_board_with_a_meter_samples_it(tmp_path: Path) -> None:
    sensor = ProcessSensor(root=boards.ina2xx(boards.pi(tmp_path)))
    assert sampler_threads() == []
    try:
        check_sensor(sensor)
        now = sensor.read()
        assert now.energy_j is not None
        assert now.temperature_c == pytest.approx(48.686)
        energy = sensor.energy()
        assert energy is not None
        assert energy.about.method == "integrated"
    finally:
        sensor.close()
    assert sampler_threads() == []


def test_a_sensor_goes_on_when_its_files_vanish(tmp_path: Path) -> None:
    root = boards.battery(tmp_path, energy_now=40_000_000)
    energy = open_energy(files=boards.FailingFiles(root))
    sensor = ProcessSensor(root=root, energy=energy)
    assert sensor.read().energy_j == 0.0
    (root / "sys/class/power_supply/BAT0/status").unlink()
    check_sensor(sensor)
    assert sensor.read().energy_j is None


# ------------------------------------------------------------------ models


def test_the_model_of_a_board_never_exceeds_all_cores_busy() -> None:
    board = POWER_TABLE[0]
    estimate = estimate_energy(board, wall_s=10, cpu_s=1000)
    assert estimate.gross_j == pytest.approx(board.busy_w * 10)
    assert estimate.marginal_j == pytest.approx((board.busy_w - board.idle_w) * 10)
    assert estimate_energy(board, wall_s=10, cpu_s=0).marginal_j == 0


def test_every_entry_of_the_table_is_sane_and_names_its_source() -> None:
    for board in POWER_TABLE:
        assert 0 < board.idle_w < board.busy_w < 15
        assert 0.3 <= board.uncertainty < 1
        assert board.cores in (1, 4)
        assert board.source


def test_radio_energy_is_a_range_and_unknown_links_have_none() -> None:
    spent = radio_energy("cellular", sent_bytes=1_000_000, received_bytes=0, seconds=8)
    assert spent is not None
    assert spent.high_j == pytest.approx(0.43839 * 8 + 1.28804 * 8 + 12.296, rel=1e-3)
    assert 0 < spent.low_j < spent.high_j
    for link in ("ethernet", "other", None):
        assert radio_energy(link, sent_bytes=1, received_bytes=1, seconds=1) is None


def test_a_byte_is_dearer_in_a_small_burst() -> None:
    small = radio_j_per_byte("cellular", bytes_per_s=125_000, burst_bytes=2_000)
    large = radio_j_per_byte("cellular", bytes_per_s=125_000, burst_bytes=2_000_000)
    assert small is not None
    assert large is not None
    assert small > 50 * large
    assert radio_j_per_byte("wifi", bytes_per_s=0, burst_bytes=1) is None


def test_files_that_are_not_numbers_are_none(tmp_path: Path) -> None:
    boards.write(tmp_path, {"a": "12 W", "b": "9" * 30, "c": "-7", "d": ""})
    files = SystemFiles(tmp_path)
    assert [files.number(name) for name in "abcde"] == [None, None, -7, None, None]
    assert files.text("../../../etc/nowhere") is None
    (tmp_path / "e").mkdir()
    assert files.text("e") is None
    (tmp_path / "f").write_bytes(b"\xff\xfe" + b"x" * 200_000)
    assert len(files.text("f") or "") <= 65536
