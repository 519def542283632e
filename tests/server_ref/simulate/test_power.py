"""Joules count while a device is awake for the federation; a battery fills and empties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_ref.simulate.power import BatterySpec, Board, PowerMeter, windows_s

BOARD = Board(2.0, 6.0)


def battery(**changes: object) -> BatterySpec:
    given: dict[str, object] = {
        "capacity_j": 36_000.0,
        "charge": 0.5,
        "charge_w": 10.0,
        "windows": windows_s([(22, 6)]),
    }
    return BatterySpec(**(given | changes))  # type: ignore[arg-type]  # the fields above


def test_only_time_awake_counts() -> None:
    meter = PowerMeter(board=BOARD, radio="ethernet")
    meter.settle(1000)
    assert meter.energy_j == 0
    meter.wake(1000)
    meter.sleep(1010)
    meter.settle(5000)
    assert meter.energy_j == 20


def test_training_and_the_radio_come_on_top() -> None:
    meter = PowerMeter(board=BOARD, radio="cellular")
    meter.wake(0)
    meter.settle(10)
    meter.trained(5)
    assert meter.energy_j == pytest.approx(20 + 5 * 4)
    meter.carried("up", 125_000, at_s=10, seconds=4)
    first = meter.radio_j
    meter.carried("up", 125_000, at_s=15, seconds=4)
    # The second burst follows at once, so that the radio's tail is paid for once.
    assert meter.radio_j - first == pytest.approx(first - 1.060 * 11.6)
    assert meter.energy_j == pytest.approx(40 + meter.radio_j)


def test_a_battery_charges_over_midnight_and_drains_by_day() -> None:
    meter = PowerMeter(board=BOARD, radio="other", battery=battery(), sleep_w=1.0)
    meter.settle(6 * 3600)
    assert meter.charge == 1.0
    meter.settle(16 * 3600)
    assert meter.charge == pytest.approx(0.0)
    assert meter.is_empty
    meter.settle(23 * 3600)
    assert not meter.is_empty


@given(
    a=st.floats(0, 1e6),
    b=st.floats(0, 1e6),
    hours=st.tuples(st.integers(0, 24), st.integers(0, 24)),
)
def test_charging_times_add_up(a: float, b: float, hours: tuple[int, int]) -> None:
    one = battery(windows=windows_s([hours]))
    low, high = sorted((a, b))
    whole = one.charged_s(0, high)
    assert 0 <= one.charged_s(low, high) <= high - low + 1e-6
    assert one.charged_s(0, low) + one.charged_s(low, high) == pytest.approx(whole, abs=1e-3)


def test_a_charge_stays_between_empty_and_full() -> None:
    meter = PowerMeter(board=BOARD, radio="other", battery=battery(windows=()))
    meter.wake(0)
    meter.settle(1e6)
    assert meter.charge == 0.0
    assert meter.energy_j == 2e6
