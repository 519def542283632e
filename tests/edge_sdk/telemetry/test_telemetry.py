import dataclasses
from pathlib import Path

import pytest

from edge_sdk.errors import Misuse
from edge_sdk.telemetry import ByteMeter, ProcessSensor, cost_between, costs_of
from edge_sdk.telemetry.device import STATE_AGE_S, local_now_s
from edge_sdk.testing import check_sensor
from edge_sdk.values import Reading
from tests.edge_sdk.telemetry import boards


def test_the_process_sensor_keeps_the_contract() -> None:
    check_sensor(ProcessSensor())
    check_sensor(ProcessSensor(ByteMeter()))


def test_traffic_is_what_the_transport_counted() -> None:
    meter = ByteMeter()
    sensor = ProcessSensor(meter)
    meter.add_sent(100)
    meter.add_received(7)
    meter.add_sent(1)
    reading = sensor.read()
    assert (reading.sent_bytes, reading.received_bytes) == (101, 7)


def test_what_cannot_be_told_is_none_and_never_zero(tmp_path: Path) -> None:
    reading = ProcessSensor(root=tmp_path).read()
    assert reading.sent_bytes is None
    assert reading.energy_j is None
    assert reading.battery is None
    assert reading.temperature_c is None


def test_cpu_time_and_memory_are_those_of_a_python_process() -> None:
    sensor = ProcessSensor()
    before = sensor.read()
    sum(range(3_000_000))
    cost = cost_between("train", before, sensor.read())
    assert cost.cpu_s is not None
    assert cost.cpu_s > 0
    assert before.resident_bytes is not None
    assert before.resident_bytes > 5_000_000


def test_a_cost_is_the_difference_of_two_readings() -> None:
    before = Reading(at_s=10, cpu_s=1.0, energy_j=5.0, sent_bytes=100, received_bytes=None)
    after = Reading(at_s=14, cpu_s=2.5, energy_j=4.0, sent_bytes=160, received_bytes=9)
    cost = cost_between("upload", before, after)
    assert (cost.phase, cost.seconds, cost.cpu_s, cost.sent_bytes) == ("upload", 4.0, 1.5, 60)
    assert cost.energy_j is None, "a counter that ran backwards tells nothing"
    assert cost.received_bytes is None, "neither does one that was missing"


def test_costs_of_phases_add_up_to_the_whole() -> None:
    readings = [Reading(at_s=float(t), sent_bytes=t * t) for t in (1, 2, 5, 9)]
    costs = costs_of(("wait", "download", "train"), readings)
    assert [cost.phase for cost in costs] == ["wait", "download", "train"]
    assert sum(cost.seconds for cost in costs) == 8.0
    assert sum(cost.sent_bytes or 0 for cost in costs) == 80
    with pytest.raises(Misuse):
        costs_of(("wait",), readings)


def test_joules_carry_method_margin_and_what_went_unseen() -> None:
    before = Reading(at_s=10.0, energy_j=100.0, energy_method="integrated", energy_uncertainty=0.1)
    after = dataclasses.replace(
        before, at_s=110.0, energy_j=300.0, energy_resolution_j=2.0, energy_missed_s=5.0
    )
    cost = cost_between("train", before, after)
    assert (cost.energy_j, cost.energy_method, cost.energy_missed_s) == (200.0, "integrated", 5.0)
    assert cost.energy_uncertainty_j == pytest.approx(0.1 * 200 + 2 + 200 * 5 / 95)


def test_a_phase_that_went_mostly_unseen_has_no_joules() -> None:
    before = Reading(at_s=0.0, energy_j=1.0, energy_method="measured")
    after = dataclasses.replace(before, at_s=100.0, energy_j=2.0, energy_missed_s=11.0)
    cost = cost_between("train", before, after)
    assert cost.energy_j is None
    assert cost.energy_method is None
    assert cost.energy_missed_s == 11.0


def test_the_radio_is_a_model_apart_from_measured_joules() -> None:
    before = Reading(at_s=0.0, sent_bytes=0, received_bytes=0, link="wifi")
    after = dataclasses.replace(before, at_s=8.0, sent_bytes=1_000_000)
    cost = cost_between("upload", before, after)
    assert cost.energy_j is None
    assert cost.radio_j == pytest.approx(0.28317 * 8 + 0.13286 * 8)
    assert cost_between("train", before, dataclasses.replace(before, at_s=9.0)).radio_j == 0.0


def test_a_wired_link_has_no_radio() -> None:
    before = Reading(at_s=0.0, sent_bytes=0, received_bytes=0, link="ethernet")
    assert cost_between("upload", before, dataclasses.replace(before, at_s=1.0)).radio_j is None


def test_the_sensor_tells_the_machine_with_the_process() -> None:
    reading = ProcessSensor().read()
    assert reading.local_s is not None
    assert reading.load is None or reading.load >= 0
    assert reading.free_memory_bytes is None or reading.free_memory_bytes > 0


def test_a_clock_that_was_never_set_gives_no_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1000.0)
    assert local_now_s() is None


def test_the_machines_state_is_looked_at_again_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    boards.battery(tmp_path, energy_now=40_000_000, energy_full=50_000_000)
    sensor = ProcessSensor(root=tmp_path)
    assert sensor.read().battery == pytest.approx(0.8)
    boards.battery(tmp_path, energy_now=30_000_000, energy_full=50_000_000)
    now_s[0] += STATE_AGE_S / 2
    assert sensor.read().battery == pytest.approx(0.8)
    now_s[0] += STATE_AGE_S
    assert sensor.read().battery == pytest.approx(0.6)
