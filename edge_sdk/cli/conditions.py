"""Flags for the owner's conditions, quotas and policy, shared by everything that is a device."""

import argparse
from typing import Any

from edge_sdk.adaptation import BudgetPolicy, Eligibility, FixedPolicy, Quotas
from edge_sdk.adaptation.eligibility import Hours
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Policy


def add_condition_arguments(parser: argparse.ArgumentParser) -> None:
    """When the device may work, what it may use, and how it decides."""
    group = parser.add_argument_group("conditions of this device's owner")
    group.add_argument("--only-charging", action="store_true", help="work on outside power only")
    group.add_argument(
        "--battery-floor", type=float, default=0.0, metavar="SHARE", help="rest below, 0 to 1"
    )
    group.add_argument(
        "--hottest", type=float, default=85.0, metavar="C", help="rest above (default 85)"
    )
    group.add_argument(
        "--not-throttled", action="store_true", help="rest while the processor is held back"
    )
    group.add_argument("--unmetered", action="store_true", help="use links that cost nothing only")
    group.add_argument("--hours", metavar="FROM-TO", help="local hours of the day, e.g. 22-6")
    group.add_argument("--most-load", type=float, metavar="N", help="rest above, a core")
    group.add_argument("--bytes-per-month", type=float, metavar="N", help="traffic, e.g. 500e6")
    group.add_argument("--joules-per-day", type=float, metavar="N")
    group.add_argument(
        "--memory-limit",
        type=float,
        metavar="MB",
        help="take no way of training expected to need more, where split is offered",
    )
    group.add_argument(
        "--policy",
        choices=("budget", "fixed"),
        default="budget",
        help="plan within deadline and quotas, or take whatever is preferred (default budget)",
    )


def eligibility_of(arguments: argparse.Namespace) -> Eligibility:
    """The conditions.

    Raises:
        Misuse: a number is out of its range.
    """
    return Eligibility(
        only_charging=arguments.only_charging,
        battery_floor=arguments.battery_floor,
        hottest_c=arguments.hottest,
        allow_throttled=not arguments.not_throttled,
        unmetered=arguments.unmetered,
        hours=None if arguments.hours is None else _hours(arguments.hours),
        most_load=arguments.most_load,
    )


def quotas_of(arguments: argparse.Namespace) -> Quotas:
    """The quotas.

    Raises:
        Misuse: a quota is negative.
    """
    size, memory_mb = arguments.bytes_per_month, arguments.memory_limit
    return Quotas(
        bytes_per_month=None if size is None else int(size),
        joules_per_day=arguments.joules_per_day,
        memory_bytes=None if memory_mb is None else int(1e6 * memory_mb),
    )


def policy_of(arguments: argparse.Namespace) -> Policy[Any]:
    """The policy."""
    return BudgetPolicy() if arguments.policy == "budget" else FixedPolicy()


def _hours(text: str) -> Hours:
    begin, _, end = text.partition("-")
    try:
        return float(begin), float(end)
    except ValueError:
        raise Misuse(f"--hours {text}: not of the form 22-6") from None
