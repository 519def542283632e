"""The picture of `federated`: accuracy against bytes, one panel for each fleet and cohort."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes

mpl.use("Agg")

import matplotlib.pyplot as plt

from benchmarks.cohort import Outcome

MARKERS = "osD^v<>Pp*X"
DEPTH = 0.12
"""How far below float32 a panel reaches; what is worse lies on its lower edge."""


def draw(tables: Mapping[tuple[str, str], Mapping[str, Sequence[Outcome]]], path: Path) -> None:
    """Write the picture; schemes that differ only in their rate share a colour and a line."""
    columns = min(len(tables), 2)
    rows = -(-len(tables) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(6.2 * columns, 4.2 * rows), squeeze=False, layout="constrained"
    )
    families: dict[str, int] = {}
    for outcomes in tables.values():
        for scheme in outcomes:
            families.setdefault(family_of(scheme), len(families))
    for axes in list(grid.flat)[len(tables) :]:
        axes.set_visible(False)
    for axes, ((fleet, cohort), outcomes) in zip(grid.flat, tables.items(), strict=False):
        axes.set_title(f"{fleet}, {'20% of the devices' if cohort == '20%' else 'all devices'}")
        _panel(axes, outcomes, families)
    shown: dict[str, Artist] = {}
    for axes in grid.flat:
        handles, labels = axes.get_legend_handles_labels()
        shown |= dict(zip(labels, handles, strict=True))
    figure.legend(list(shown.values()), list(shown), loc="outside lower center", ncols=4)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def family_of(scheme: str) -> str:
    """A scheme's name without its rate."""
    return " ".join(
        word for word in scheme.split() if not word.strip("z=").replace(".", "").isdigit()
    )


def _panel(
    axes: Axes, outcomes: Mapping[str, Sequence[Outcome]], families: Mapping[str, int]
) -> None:
    points: dict[str, list[tuple[float, float]]] = {}
    for scheme, each in outcomes.items():
        accuracy = float(np.mean([outcome.accuracy for outcome in each]))
        if not any(outcome.diverged for outcome in each):
            mean_bytes = float(np.mean([outcome.bytes_up for outcome in each]))
            points.setdefault(family_of(scheme), []).append((mean_bytes, accuracy))
    exact = max(accuracy for _, accuracy in points.get("float32", [(0.0, 0.0)]))
    floor = max(exact - DEPTH, 0.0)
    for family, where in points.items():
        number = families[family]
        where.sort()
        accuracies = [max(accuracy, floor) for _, accuracy in where]
        if family == "float32":
            axes.axhline(accuracies[0], color="grey", linewidth=0.8)
        axes.plot(
            [sent for sent, _ in where],
            accuracies,
            label=family,
            color=plt.get_cmap("tab20")(number % 20),
            marker=MARKERS[number % len(MARKERS)],
            linewidth=1,
            markersize=6,
            clip_on=False,
        )
    axes.set_xscale("log")
    axes.set_xlabel("bytes up, all devices and rounds")
    axes.set_ylabel("test accuracy")
    axes.set_ylim(bottom=floor)
    axes.grid(visible=True, alpha=0.3)
