"""The owner's flags become conditions, quotas and a policy."""

import argparse

import pytest

from edge_sdk.adaptation import BudgetPolicy, Eligibility, FixedPolicy, Quotas
from edge_sdk.cli.conditions import eligibility_of, policy_of, quotas_of
from edge_sdk.cli.join import add_device_arguments
from edge_sdk.errors import Misuse


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_device_arguments(parser)
    return parser.parse_args(["--data", "x.npz", *words])


def test_without_flags_a_device_only_looks_after_its_health() -> None:
    arguments = parsed()
    assert eligibility_of(arguments) == Eligibility()
    assert quotas_of(arguments) == Quotas()
    assert policy_of(arguments) == BudgetPolicy()


def test_every_flag_is_taken() -> None:
    arguments = parsed(
        *("--only-charging", "--battery-floor", "0.4", "--unmetered", "--hours", "22-6.5"),
        *("--hottest", "70", "--not-throttled", "--most-load", "2", "--policy", "fixed"),
        *("--bytes-per-month", "500e6", "--joules-per-day", "2000"),
        *("--memory-limit", "300"),
    )
    assert eligibility_of(arguments) == Eligibility(
        only_charging=True,
        battery_floor=0.4,
        hottest_c=70.0,
        allow_throttled=False,
        unmetered=True,
        hours=(22.0, 6.5),
        most_load=2.0,
    )
    assert quotas_of(arguments) == Quotas(
        bytes_per_month=500_000_000, joules_per_day=2000.0, memory_bytes=300_000_000
    )
    assert policy_of(arguments) == FixedPolicy()


@pytest.mark.parametrize("hours", ["22", "late-early", "8-25", "-3-4"])
def test_hours_that_are_none_are_misuse(hours: str) -> None:
    with pytest.raises(Misuse):
        eligibility_of(parsed(f"--hours={hours}"))
