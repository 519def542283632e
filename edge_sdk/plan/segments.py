"""Which coordinates of the whole model a stage, a part or a download holds. Pure.

The *whole vector* has every parameter of a plan in layout order. Stages and parts of a split are
shorter vectors of some of its parameters. A *segment* is all parameters that belong to the same
stages and the same parts; so each stage, and each part, is made of whole segments. Models travel
by segment: a device fetches only what its stage has, and keeps what two stages share.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.plan.manifest import Manifest
from edge_sdk.plan.split import DEVICE_PARTS, device_parts
from edge_sdk.values import Layout, Vector

MOST_SEGMENTS = 255
"""As many as a frame header can number."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spans:
    """Where the coordinates of a short vector lie in a longer one, in the same order."""

    runs: tuple[tuple[int, int], ...]
    """First coordinate and number of each run of neighbours, rising, none empty."""

    @property
    def size(self) -> int:
        """Length of the short vector."""
        return sum(size for _, size in self.runs)

    def take(self, vector: Vector) -> Vector:
        """The short vector out of the long one; a copy."""
        if not self.runs:
            return np.zeros(0, np.float32)
        return np.concatenate([vector[first : first + size] for first, size in self.runs])

    def put(self, values: NDArray[np.floating], into: NDArray[np.floating]) -> None:
        """`into[these] = values`, in place."""
        for (first, size), start in zip(self.runs, self._starts(values), strict=True):
            into[first : first + size] = values[start : start + size]

    def add(self, values: NDArray[np.floating], onto: NDArray[np.floating]) -> None:
        """`onto[these] += values`, in place."""
        for (first, size), start in zip(self.runs, self._starts(values), strict=True):
            onto[first : first + size] += values[start : start + size]

    def _starts(self, values: NDArray[np.floating]) -> list[int]:
        if values.shape != (self.size,):
            raise ValueError(f"{values.shape} values for {self.size} coordinates")
        starts = [0]
        for _, size in self.runs[:-1]:
            starts.append(starts[-1] + size)
        return starts if self.runs else []


@dataclasses.dataclass(frozen=True, slots=True)
class Segment:
    """Parameters that always travel together."""

    number: int
    """Its place among the plan's segments: what model frames carry."""
    stages: frozenset[int]
    """Stages that train with it."""
    parts: frozenset[int]
    """Parts of the split that train it; at most one."""
    layout: Layout
    where: Spans
    """In the whole vector."""

    @property
    def size(self) -> int:
        """Coordinates."""
        return self.layout.size


class Segments:
    """How one plan's whole vector is made up; made once, then asked.

    Raises:
        Misuse: the plan has more than `MOST_SEGMENTS` segments.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._layout = manifest.layout
        self._sizes = [parameter.size for parameter in self._layout.parameters]
        self._stages = [stage.parameters for stage in manifest.stages]
        self._warm_ups = [
            None if stage.warm_up is None else stage.warm_up.parameters for stage in manifest.stages
        ]
        parts = manifest.split.parts if manifest.split else ()
        self._parts = [part.parameters for part in parts]
        self._on_device = frozenset(device_parts(len(parts))) if parts else frozenset[int]()
        self._positions = self._grouped()
        if len(self._positions) > MOST_SEGMENTS:
            raise Misuse(f"a plan of {len(self._positions)} segments, {MOST_SEGMENTS} at most")
        every = range(len(self._sizes))
        self.all = tuple(
            Segment(
                number=number,
                stages=stages,
                parts=parts_of,
                layout=Layout(tuple(self._layout.parameters[i] for i in positions)),
                where=self._spans(positions, every),
            )
            for number, ((stages, parts_of), positions) in enumerate(self._positions.items())
        )

    @property
    def size(self) -> int:
        """Length of the whole vector."""
        return self._layout.size

    def of_stage(self, stage: int) -> tuple[Segment, ...]:
        """The segments that make up a stage's vector, by number.

        Here and below, stage `DEVICE_PARTS` is what a device trains of a split.
        """
        if stage == DEVICE_PARTS and self._parts:
            return tuple(segment for segment in self.all if segment.parts & self._on_device)
        return tuple(segment for segment in self.all if stage in segment.stages)

    def stage(self, stage: int) -> Spans:
        """A stage's vector in the whole one."""
        return self._spans(self._of(stage), range(len(self._sizes)))

    def trained(self, stage: int, *, warm_up: bool = False) -> Spans:
        """What training a stage, or its warm-up, changes, in the whole vector.

        Raises:
            Misuse: the stage has no warm-up.
        """
        return self._spans(self._trained(stage, warm_up), range(len(self._sizes)))

    def trained_within(self, stage: int, *, warm_up: bool = False) -> Spans:
        """The same in the stage's vector.

        Raises:
            Misuse: the stage has no warm-up.
        """
        return self._spans(self._trained(stage, warm_up), self._of(stage))

    def segments_trained(self, stage: int, *, warm_up: bool = False) -> tuple[int, ...]:
        """Numbers of the segments of which that trains all."""
        trained = set(self._trained(stage, warm_up))
        positions = self._positions.values()
        return tuple(n for n, those in enumerate(positions) if trained.issuperset(those))

    def part(self, part: int) -> Spans:
        """A part's vector in the whole one."""
        return self._spans(self._parts[part], range(len(self._sizes)))

    def within(self, segment: Segment, stage: int) -> Spans:
        """A segment of `stage` in the stage's vector."""
        return self._spans(tuple(self._positions.values())[segment.number], self._of(stage))

    def gather(self, held: Mapping[int, Vector], stage: int) -> Vector:
        """A stage's vector from those of its segments, by number; a new array."""
        vector = np.zeros(sum(s.size for s in self.of_stage(stage)), np.float32)
        for segment in self.of_stage(stage):
            self.within(segment, stage).put(held[segment.number], vector)
        return vector

    def _of(self, stage: int) -> Sequence[int]:
        """Positions of the parameters of a stage's vector."""
        if stage == DEVICE_PARTS and self._parts:
            return sorted(i for part in self._on_device for i in self._parts[part])
        return self._stages[stage]

    def _trained(self, stage: int, warm_up: bool) -> Sequence[int]:
        """Positions of the parameters that training changes."""
        if not warm_up:
            return self._of(stage)
        found = self._warm_ups[stage]
        if found is None:
            raise Misuse(f"stage {stage} of the plan has no warm-up")
        return found

    def _grouped(self) -> dict[tuple[frozenset[int], frozenset[int]], tuple[int, ...]]:
        """Positions of parameters by stages and parts, in order of the first; no empty ones."""
        found: dict[tuple[frozenset[int], frozenset[int]], tuple[int, ...]] = {}
        for position, size in enumerate(self._sizes):
            signature = (_with(self._stages, position), _with(self._parts, position))
            if size and signature[0]:
                found[signature] = (*found.get(signature, ()), position)
        return found

    def _spans(self, positions: Iterable[int], among: Sequence[int]) -> Spans:
        """Where the parameters at `positions` lie in the vector of the parameters `among`."""
        starts: dict[int, int] = {}
        at = 0
        for position in among:
            starts[position] = at
            at += self._sizes[position]
        runs: list[tuple[int, int]] = []
        for position in positions:
            first, size = starts[position], self._sizes[position]
            if runs and sum(runs[-1]) == first:
                runs[-1] = (runs[-1][0], runs[-1][1] + size)
            elif size:
                runs.append((first, size))
        return Spans(tuple(runs))


def _with(groups: Sequence[Sequence[int]], position: int) -> frozenset[int]:
    return frozenset(number for number, group in enumerate(groups) if position in group)
