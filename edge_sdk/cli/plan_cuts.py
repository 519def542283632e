"""`edge-sdk plan cuts`: where a model can be cut, and what the device's part then takes.

Time and memory are measured here, each cut in a fresh process: the device's part forward, and its
update from a gradient. Neither depends on what is in the arrays.
"""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Protocol

from edge_sdk.cli.plan_measure import Measured, measure_split
from edge_sdk.cli.plan_table import aligned
from edge_sdk.errors import EdgeError

MEASURED_S = 0.3
MOST_MEASURED = 16
"""Cuts; of a model with more, every second, third … is measured."""
LOSSES = ("cross-entropy", "mse", "dice")
"""Tried in turn: what stands behind the cut does not matter, only that a plan can be built."""


class Place(Protocol):
    """Of `authoring.Place`, what is shown."""

    @property
    def name(self) -> str:
        """Of the tensor."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch axis."""
        ...

    @property
    def values(self) -> int:
        """Numbers handed on for each example."""
        ...

    @property
    def parameters(self) -> int:
        """Before it."""
        ...

    @property
    def compute(self) -> float:
        """Share of multiply-adds before it."""
        ...

    @property
    def good_for(self) -> tuple[str, ...]:
        """Where `auto` would cut."""
        ...


MeasureCut = Callable[[str], Measured | str]
"""From a tensor's name."""


def cut_measure(authoring: ModuleType, model: Path, *, batch_size: int, threads: int) -> MeasureCut:
    """Measures the device's part of `model` cut at one tensor."""

    def measure(name: str) -> Measured | str:
        why = ""
        for loss in LOSSES:
            try:
                plan = authoring.build_plan(model, loss=loss, cut=[name], name="cut")
            except EdgeError as error:
                why = str(error)
                continue
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder) / "cut.plan"
                file.write_bytes(plan.data)
                return measure_split(
                    file, batch_size=batch_size, threads=threads, seconds=MEASURED_S
                )
        return why

    return measure


def cuts_table(places: Sequence[Place], measure: MeasureCut | None) -> list[str]:
    """Lines to print; without `measure` without times."""
    head = ["tensor", "shape", "values", "parameters before", "compute before"]
    head += ["device ms/step", "device peak MB"] if measure else []
    rows = [[*head, "good for"]]
    every = -(-len(places) // MOST_MEASURED)
    for number, place in enumerate(places):
        row = [place.name, "x".join(map(str, place.shape)), f"{place.values:,}"]
        row += [f"{place.parameters:,}", f"{place.compute:.1%}"]
        if measure:
            chosen = number % every == 0 or "split" in place.good_for
            row += _figures(measure(place.name) if chosen else "not measured")
        rows.append([*row, " ".join(place.good_for)])
    return aligned(rows)


def _figures(found: Measured | str) -> list[str]:
    if isinstance(found, str):  # no place to split, e.g. a skip connection passes it
        return ["-", "-"]
    return [f"{found.ms:.3g}", "-" if found.peak_mb is None else f"{found.peak_mb:.0f}"]
