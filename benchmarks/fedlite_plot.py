"""Draws accuracy against the compression of activations, and against everything sent."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from benchmarks.fedlite_run import Outcome

mpl.use("Agg")
from matplotlib import pyplot as plt


def draw(done: Mapping[str, Outcome], path: Path) -> None:
    """A row for each fleet."""
    fleets = sorted({key.split(" | ")[0] for key in done}, reverse=True)
    figure, panels = plt.subplots(len(fleets), 2, figsize=(10, 4 * len(fleets)), squeeze=False)
    for row, fleet in zip(panels, fleets, strict=True):
        outcomes = [o for key, o in done.items() if key.startswith(f"{fleet} | ")]
        split = [o for o in outcomes if o.traffic.raw_activations]
        for label, corrected in (("lambda = 0", False), ("with correction", True)):
            chosen = sorted(
                (o for o in split if ("lambda" in o.name) == corrected), key=lambda o: o.compression
            )
            row[0].plot(
                [o.compression for o in chosen], [o.accuracy for o in chosen], "o", label=label
            )
        row[0].set(xscale="log", xlabel="compression of activations, real bytes", ylabel=fleet)
        for label, chosen in (
            ("split", split),
            ("FedAvg", [o for o in outcomes if not o.traffic.raw_activations]),
        ):
            row[1].plot(
                [o.traffic.both / 1e6 for o in chosen],
                [o.accuracy for o in chosen],
                "o",
                label=label,
            )
        row[1].set(xscale="log", xlabel="MB both ways, everything")
        for panel in row:
            panel.grid(alpha=0.3)
            panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)
