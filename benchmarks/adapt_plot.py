"""Draws what `benchmarks.adapt` found. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.adapt import DEGRADED_FROM_S, DEGRADED_TO_S, Recovery
from server_ref.simulate.outcome import Outcome
from server_ref.simulate.plot import COLOURS

mpl.use("agg")


def draw(
    curves: Mapping[str, Sequence[Outcome]], recoveries: Sequence[Recovery], path: Path
) -> None:
    """A row for each scene (accuracy against joules, missed tasks), and one for the bad link."""
    rows = len(curves) + bool(recoveries)
    figure = Figure(figsize=(12, 3.6 * rows), layout="constrained")
    panels = figure.subplots(rows, 2, squeeze=False)
    for row, (scene, outcomes) in zip(panels, curves.items(), strict=False):
        _accuracy(row[0], scene, outcomes)
        _missed(row[1], scene, outcomes)
    if recoveries:
        _rates(panels[-1][0], recoveries)
        _deadlines(panels[-1][1], recoveries)
    figure.savefig(path, dpi=110)


def _accuracy(panel: Axes, scene: str, outcomes: Sequence[Outcome]) -> None:
    for index, outcome in enumerate(outcomes):
        found = [
            (record.energy_j / 1e3, record.round.accuracy)
            for record in outcome.rounds
            if record.round.accuracy is not None
        ]
        x, y = [at for at, _ in found], [value for _, value in found]
        panel.plot(x, y, color=COLOURS[index % 7], label=outcome.name, linewidth=1.6)
    target = outcomes[0].target_accuracy
    if target is not None:
        panel.axhline(target, color="#999999", linestyle=":", linewidth=1)
    panel.set(xlabel="kJ of the fleet (power model)", ylabel="accuracy", title=scene)
    panel.legend(fontsize=8, loc="lower right")
    panel.grid(alpha=0.25)


def _missed(panel: Axes, scene: str, outcomes: Sequence[Outcome]) -> None:
    for index, outcome in enumerate(outcomes):
        rounds = [record.round.round for record in outcome.rounds]
        totals = [
            sum(
                one.ending in {"late", "gave-up"} and one.round <= number
                for one in outcome.participations
            )
            for number in rounds
        ]
        panel.step(rounds, totals, where="post", color=COLOURS[index % 7], linewidth=1.6)
    panel.set(xlabel="round", ylabel="tasks missed so far", title=f"{scene}: missed deadlines")
    panel.grid(alpha=0.25)


def _rates(panel: Axes, recoveries: Sequence[Recovery]) -> None:
    for index, one in enumerate(recoveries):
        sent = [(at, bits) for at, bits, _ in one.points if bits is not None]
        panel.plot(
            [at for at, _ in sent], [bits for _, bits in sent], ".", markersize=4,
            color=COLOURS[index % 7], label=one.policy,
        )  # fmt: skip
    _shade(panel)
    panel.set(xlabel="s", ylabel="bits per parameter", title="a link ten times worse for a while")
    panel.set_yscale("log")
    panel.legend(fontsize=8)
    panel.grid(alpha=0.25)


def _deadlines(panel: Axes, recoveries: Sequence[Recovery]) -> None:
    for index, one in enumerate(recoveries):
        times = [at for at, _, _ in one.points]
        missed = [sum(m for at, _, m in one.points if at <= until) for until in times]
        panel.step(times, missed, where="post", color=COLOURS[index % 7], linewidth=1.6)
    _shade(panel)
    panel.set(xlabel="s", ylabel="tasks missed so far", title="missed deadlines")
    panel.grid(alpha=0.25)


def _shade(panel: Axes) -> None:
    panel.axvspan(DEGRADED_FROM_S, DEGRADED_TO_S, color="#eeeeee", zorder=0)
