"""The owner's conditions and quotas."""

import dataclasses
from datetime import datetime

import pytest

from edge_sdk.adaptation import Eligibility, Quotas, Usage, at_time, shortfall, used
from edge_sdk.errors import Misuse
from edge_sdk.values import Reading

NOW = Reading(at_s=1.0)


def reading(**fields: object) -> Reading:
    return dataclasses.replace(NOW, **fields)  # type: ignore[arg-type]  # fields by name


def local(text: str) -> float:
    return datetime.fromisoformat(f"{text}+00:00").timestamp()


@pytest.mark.parametrize(
    ("conditions", "now", "word"),
    [
        (Eligibility(only_charging=True), reading(charging=False, battery=0.9), "charging"),
        (Eligibility(only_charging=True), reading(charging=None, battery=0.9), "charging"),
        (Eligibility(battery_floor=0.4), reading(charging=False, battery=0.3), "battery"),
        (Eligibility(battery_floor=0.4), reading(battery=0.3), "battery"),
        (Eligibility(), reading(temperature_c=91.0), "degrees"),
        (
            Eligibility(allow_throttled=False),
            reading(throttled=("under-voltage",)),
            "under-voltage",
        ),
        (Eligibility(unmetered=True), reading(metered=True, link="ethernet"), "metered"),
        (Eligibility(unmetered=True), reading(metered=None, link="wifi"), "metered"),
        (Eligibility(hours=(22, 6)), reading(local_s=local("2026-11-21T12:00")), "o'clock"),
        (Eligibility(hours=(8, 18)), reading(local_s=local("2026-11-21T19:00")), "o'clock"),
        (Eligibility(hours=(8, 18)), reading(local_s=None), "clock"),
        (Eligibility(most_load=1.0), reading(load=2.5), "load"),
    ],
)
def test_a_condition_that_is_not_met_is_said(
    conditions: Eligibility, now: Reading, word: str
) -> None:
    objection = conditions.objection(now)
    assert objection is not None
    assert word in objection


@pytest.mark.parametrize(
    ("conditions", "now"),
    [
        (Eligibility(), NOW),
        (Eligibility(only_charging=True), NOW),
        (Eligibility(only_charging=True), reading(charging=True, battery=0.1)),
        (Eligibility(battery_floor=0.4), reading(charging=True, battery=0.1)),
        (Eligibility(battery_floor=0.4), NOW),
        (Eligibility(), reading(throttled=("throttled",))),
        (Eligibility(unmetered=True), reading(metered=False, link="wifi")),
        (Eligibility(unmetered=True), reading(metered=None, link="ethernet")),
        (Eligibility(hours=(22, 6)), reading(local_s=local("2026-11-21T23:00"))),
        (Eligibility(hours=(22, 6)), reading(local_s=local("2026-11-21T05:59"))),
        (Eligibility(hours=(8, 18)), reading(local_s=local("2026-11-21T08:00"))),
        (Eligibility(most_load=1.0), NOW),
    ],
)
def test_what_cannot_be_told_or_is_met_is_no_objection(
    conditions: Eligibility, now: Reading
) -> None:
    assert conditions.objection(now) is None


def test_while_training_its_own_load_is_no_objection() -> None:
    conditions = Eligibility(most_load=1.0, hottest_c=70.0)
    assert conditions.objection(reading(load=4.0), training=True) is None
    assert conditions.objection(reading(load=4.0, temperature_c=75.0), training=True) is not None


def test_impossible_conditions_are_misuse() -> None:
    for wrong in (
        lambda: Eligibility(battery_floor=40),
        lambda: Eligibility(hours=(8, 25)),
        lambda: Eligibility(most_load=0),
        lambda: Quotas(bytes_per_month=-1),
        lambda: Quotas(joules_per_day=-1.0),
    ):
        with pytest.raises(Misuse):
            wrong()


# ---------------------------------------------------------------------- quotas


def test_what_is_used_is_left_over_no_more() -> None:
    quotas = Quotas(bytes_per_month=1000, joules_per_day=50.0)
    noon = reading(local_s=local("2026-11-21T12:00"), sent_bytes=0, received_bytes=0, energy_j=5.0)
    later = dataclasses.replace(noon, at_s=9.0, sent_bytes=300, received_bytes=100, energy_j=25.0)
    usage = used(Usage(), noon, later)
    left = quotas.left(usage, later)
    assert (left.bytes_left, left.joules_left) == (600, 30.0)


def test_a_new_day_brings_new_joules_and_a_new_month_new_bytes() -> None:
    usage = at_time(Usage(), reading(local_s=local("2026-11-30T23:59")))
    usage = dataclasses.replace(usage, bytes_in_month=700, joules_in_day=9.0)
    same = at_time(usage, reading(local_s=local("2026-11-30T23:59:30")))
    assert (same.bytes_in_month, same.joules_in_day) == (700, 9.0)
    new = at_time(usage, reading(local_s=local("2026-12-01T00:01")))
    assert (new.bytes_in_month, new.joules_in_day) == (0, 0.0)


def test_a_clock_that_is_not_set_brings_no_second_month() -> None:
    usage = Usage(month=12 * 2026 + 10, day=20_000, bytes_in_month=700, joules_in_day=9.0)
    assert at_time(usage, NOW) == usage
    assert Quotas(bytes_per_month=800).left(usage, NOW).bytes_left == 100


def test_without_a_quota_nothing_is_counted_down() -> None:
    left = Quotas().left(Usage(bytes_in_month=10**12), NOW)
    assert (left.bytes_left, left.joules_left) == (None, None)


def test_counters_that_were_restarted_or_are_missing_cost_nothing() -> None:
    before = reading(sent_bytes=500, energy_j=9.0)
    assert used(Usage(), before, reading(sent_bytes=20, energy_j=1.0)) == Usage()
    assert used(Usage(), before, NOW) == Usage()


def test_a_round_that_cannot_be_afforded_says_what_it_lacks() -> None:
    now = reading(bytes_left=100, joules_left=5.0)
    assert shortfall(now, size_bytes=100, joules=4.0) is None
    assert "bytes" in (shortfall(now, size_bytes=101, joules=None) or "")
    assert "J" in (shortfall(now, size_bytes=1, joules=6.0) or "")
    assert shortfall(NOW, size_bytes=10**12, joules=1e9) is None
