"""Turns readings into costs. Pure: a cost is the difference of two readings, or honestly None."""

from collections.abc import Sequence
from typing import TypeVar

from edge_sdk.errors import Misuse
from edge_sdk.telemetry.energy.figures import MAX_MISSED_SHARE
from edge_sdk.telemetry.energy.radio import radio_energy
from edge_sdk.values import Cost, Phase, Reading

Number = TypeVar("Number", int, float)

_TRANSFERS: frozenset[Phase] = frozenset({"download", "upload"})
"""Phases whose time is mostly bytes flowing. In the others a radio sends little and briefly."""


def cost_between(phase: Phase, before: Reading, after: Reading) -> Cost:
    """What `phase` spent from one reading to the other.

    A counter that either reading lacks, or that ran backwards (the process or the meter behind it
    was restarted in between), gives None: a wrong figure is worse than none. So are joules of which
    more than a tenth of the phase went unseen; less than that widens their uncertainty.
    """
    seconds = max(0.0, after.at_s - before.at_s)
    sent = _difference(before.sent_bytes, after.sent_bytes)
    received = _difference(before.received_bytes, after.received_bytes)
    joules, uncertainty_j, missed_s = _energy(before, after, seconds)
    return Cost(
        phase=phase,
        seconds=seconds,
        cpu_s=_difference(before.cpu_s, after.cpu_s),
        energy_j=joules,
        energy_method=None if joules is None else after.energy_method,
        energy_uncertainty_j=uncertainty_j,
        energy_missed_s=missed_s,
        radio_j=_radio_j(phase, after, seconds, sent, received),
        sent_bytes=sent,
        received_bytes=received,
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


def _energy(
    before: Reading, after: Reading, seconds: float
) -> tuple[float | None, float | None, float]:
    """Joules, their uncertainty and the seconds unseen; as `energy.energy_between`."""
    missed_s = min(seconds, max(0.0, after.energy_missed_s - before.energy_missed_s))
    joules = _difference(before.energy_j, after.energy_j)
    same = before.energy_method == after.energy_method
    if joules is None or not same or missed_s > MAX_MISSED_SHARE * seconds:
        return None, None, missed_s
    unseen_j = joules * missed_s / (seconds - missed_s) if missed_s > 0 else 0.0
    uncertainty_j = after.energy_uncertainty * joules + after.energy_resolution_j + unseen_j
    return joules, uncertainty_j, missed_s


def _radio_j(
    phase: Phase, after: Reading, seconds: float, sent: int | None, received: int | None
) -> float | None:
    """The upper end of the radio model; None where it has no figures for the link."""
    if sent is None or received is None:
        return None
    moved = sent + received > 0
    spent = radio_energy(
        after.link,
        sent_bytes=sent,
        received_bytes=received,
        seconds=seconds if moved and phase in _TRANSFERS else 0.0,
        bursts=int(moved),
    )
    return None if spent is None else spent.high_j


def _difference(before: Number | None, after: Number | None) -> Number | None:
    if before is None or after is None or after < before:
        return None
    return after - before
