"""Curves of one or more runs. Imported only when something is drawn: needs matplotlib."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from server_ref.simulate.outcome import Outcome, Participation, RoundRecord

mpl.use("agg")

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")
"""Told apart by readers with any colour vision (Okabe and Ito)."""


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Accuracy against bytes, joules and time; bits, stages and missed tasks over time."""
    unit, unit_s = _unit(max((outcome.seconds for outcome in outcomes), default=0.0))
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    panels = figure.subplots(2, 3)
    ways: tuple[tuple[str, Callable[[Outcome, int], float]], ...] = (
        ("MB sent and received (HTTP bodies)", _megabytes),
        ("kJ of the fleet (power model)", lambda outcome, i: outcome.rounds[i].energy_j / 1e3),
        (f"{unit} of virtual time", lambda outcome, i: outcome.rounds[i].at_s / unit_s),
    )
    for panel, (label, cost) in zip(panels[0], ways, strict=True):
        _accuracy(panel, outcomes, label, cost)
    if len(outcomes) > 1:
        panels[0][0].legend(loc="lower right", fontsize=9)
    bits, stages, missed = panels[1]
    _per_participation(bits, outcomes, lambda one: one.bits, unit_s)
    bits.set_yscale("log")
    for axis in ("major", "minor"):
        getattr(bits.yaxis, f"set_{axis}_formatter")(FuncFormatter(lambda value, _: f"{value:g}"))
    bits.set_ylabel("bits per parameter")
    _per_participation(stages, outcomes, _stage, unit_s)
    stages.set_ylabel("stage trained")
    _missed(missed, outcomes, unit_s)
    for panel in (stages, missed):
        panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        panel.set_ylim(bottom=-0.5 if panel is stages else 0, top=max(panel.get_ylim()[1], 1))
    for panel in panels[1]:
        panel.set_xlabel(f"{unit} of virtual time")
        panel.grid(alpha=0.25)
    figure.savefig(path, dpi=110)


def _accuracy(
    panel: Axes, outcomes: Sequence[Outcome], label: str, cost: Callable[[Outcome, int], float]
) -> None:
    for outcome, colour in zip(outcomes, _colours(outcomes), strict=True):
        points = [
            (cost(outcome, i), record.round.accuracy)
            for i, record in enumerate(outcome.rounds)
            if record.round.accuracy is not None
        ]
        x, y = [at for at, _ in points], [value for _, value in points]
        panel.plot(x, y, color=colour, label=outcome.name or "run", linewidth=1.8)
    targets = {outcome.target_accuracy for outcome in outcomes} - {None}
    for target in targets:
        panel.axhline(float(target or 0.0), color="#999999", linewidth=1, linestyle=":")
    panel.set_xlabel(label)
    panel.set_ylabel("accuracy on test data")
    panel.grid(alpha=0.25)
    if len(outcomes) > 1:
        panel.set_xscale("log")


def _unit(longest_s: float) -> tuple[str, float]:
    """What time is told in."""
    if longest_s < 600:
        return "seconds", 1.0
    return ("minutes", 60.0) if longest_s < 4 * 3600 else ("hours", 3600.0)


Value = Callable[[Participation], float | None]


def _per_participation(
    panel: Axes, outcomes: Sequence[Outcome], value: Value, unit_s: float
) -> None:
    """One run: a point for each task, coloured by group. Several: each run's mean per round."""
    if len(outcomes) == 1:
        _points(panel, outcomes[0], value, unit_s)
        return
    for outcome, colour in zip(outcomes, _colours(outcomes), strict=True):
        x, y = _round_means(outcome, value)
        panel.plot([at / unit_s for at in x], y, color=colour, linewidth=1.5)


def _points(panel: Axes, outcome: Outcome, value: Value, unit_s: float) -> None:
    groups = sorted({one.group for one in outcome.participations})
    for group, colour in zip(groups, COLOURS * (1 + len(groups) // len(COLOURS)), strict=False):
        found = [
            (one.began_s / unit_s, known)
            for one in outcome.participations
            if one.group == group and (known := value(one)) is not None
        ]
        panel.scatter(
            [at for at, _ in found], [v for _, v in found], s=9, color=colour, alpha=0.7,
            label=group,
        )  # fmt: skip
    panel.legend(fontsize=8)


def _round_means(outcome: Outcome, value: Value) -> tuple[list[float], list[float]]:
    by_round: dict[int, list[float]] = {}
    for one in outcome.participations:
        known = value(one)
        if known is not None:
            by_round.setdefault(one.round, []).append(known)
    ended = {record.round.round: record.at_s for record in outcome.rounds}
    rounds = [number for number in sorted(by_round) if number in ended]
    return [ended[n] for n in rounds], [sum(by_round[n]) / len(by_round[n]) for n in rounds]


def _missed(panel: Axes, outcomes: Sequence[Outcome], unit_s: float) -> None:
    for outcome, colour in zip(outcomes, _colours(outcomes), strict=True):
        ends = [record.at_s / unit_s for record in outcome.rounds]
        totals = [_missed_by(outcome, record) for record in outcome.rounds]
        panel.step(ends, totals, color=colour, where="post", linewidth=1.5)
    panel.set_ylabel("tasks that missed their deadline, so far")


def _missed_by(outcome: Outcome, record: RoundRecord) -> int:
    return sum(
        one.ending in {"late", "gave-up"} and one.round <= record.round.round
        for one in outcome.participations
    )


def _megabytes(outcome: Outcome, index: int) -> float:
    records = outcome.rounds[: index + 1]
    return sum(r.round.bytes_up + r.round.bytes_down for r in records) / 1e6


def _stage(one: Participation) -> float | None:
    return one.stage if one.codec else None


def _colours(outcomes: Sequence[Outcome]) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(len(outcomes))]
