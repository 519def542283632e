"""Turns readings into costs. Pure: a cost is the difference of two readings, or honestly None."""

from collections.abc import Sequence
from typing import TypeVar

from edge_sdk.errors import Misuse
from edge_sdk.values import Cost, Phase, Reading

Number = TypeVar("Number", int, float)


def cost_between(phase: Phase, before: Reading, after: Reading) -> Cost:
    """What `phase` spent from one reading to the other.

    A counter that either reading lacks, or that ran backwards (the process or the meter behind it
    was restarted in between), gives None: a wrong figure is worse than none.
    """
    return Cost(
        phase=phase,
        seconds=max(0.0, after.at_s - before.at_s),
        cpu_s=_difference(before.cpu_s, after.cpu_s),
        energy_j=_difference(before.energy_j, after.energy_j),
        sent_bytes=_difference(before.sent_bytes, after.sent_bytes),
        received_bytes=_difference(before.received_bytes, after.received_bytes),
    )


def costs_of(phases: Sequence[Phase], readings: Sequence[Reading]) -> tuple[Cost, ...]:
    """Costs of phases that followed each other: phase i lies between readings i and i + 1.

    Raises:
        Misuse: there is not exactly one reading more than there are phases.
    """
    if len(readings) != len(phases) + 1:
        raise Misuse(f"{len(phases)} phases need {len(phases) + 1} readings, got {len(readings)}")
    return tuple(
        cost_between(phase, before, after)
        for phase, before, after in zip(phases, readings[:-1], readings[1:], strict=True)
    )


def _difference(before: Number | None, after: Number | None) -> Number | None:
    if before is None or after is None or after < before:
        return None
    return after - before
