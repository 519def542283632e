"""The picture of `artemis`: excess loss against bits, one panel for each scene."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl

from benchmarks.artemis_methods import Outcome

mpl.use("Agg")

import matplotlib.pyplot as plt

TITLES = {
    "": "all devices, whole gradients",
    "half": "half of the devices in each round",
    "drawn": "all devices, batches of 64",
}
COLOURS = {
    "sgd": "#444444",
    "qsgd": "#d55e00",
    "diana": "#e69f00",
    "biqsgd": "#cc79a7",
    "artemis": "#0072b2",
    "mcm": "#009e73",
    "eden-replica": "#56b4e9",
}


def draw(outcomes: Mapping[str, Outcome], path: Path, *, title: str) -> None:
    """Write the picture."""
    scenes = [scene for scene in TITLES if any(scene_of(name) == scene for name in outcomes)]
    figure, grid = plt.subplots(
        1, len(scenes), figsize=(5.4 * len(scenes), 4.6), squeeze=False, sharey=True,
        layout="constrained",
    )  # fmt: skip
    for axes, scene in zip(grid[0], scenes, strict=True):
        for name, outcome in outcomes.items():
            if scene_of(name) == scene:
                bits, excess = zip(*outcome.excess[1:], strict=True)
                axes.loglog(
                    [b / 1e6 for b in bits],
                    [max(e, 1e-13) for e in excess],
                    color=COLOURS[method_of(name)],
                    linestyle=":" if name.endswith("pp1") else "-",
                    label=name.replace("-half", "").replace("-drawn", ""),
                )
        axes.set_title(TITLES[scene])
        axes.set_xlabel("Mbit of frames, both ways, all devices")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize="small", loc="lower left")
    grid[0][0].set_ylabel("F(w) - F*")
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def scene_of(name: str) -> str:
    """Which panel a run belongs to."""
    return next((scene for scene in ("half", "drawn") if f"-{scene}" in name), "")


def method_of(name: str) -> str:
    """A run's method, without its scene."""
    scene = scene_of(name)
    return name.partition(f"-{scene}")[0] if scene else name
