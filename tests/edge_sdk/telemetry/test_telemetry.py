from pathlib import Path

import pytest

from edge_sdk.errors import Misuse
from edge_sdk.telemetry import ByteMeter, ProcessSensor, cost_between, costs_of
from edge_sdk.testing import check_sensor
from edge_sdk.values import Reading


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
