"""One round's updates, of whatever stages, on the way to one mean over the whole model. Pure.

Updates of one stage are summed in that stage's coordinates; at the end the sums of all stages are
added up where they lie in the whole vector, smallest stage first. So each coordinate is divided by
the weight of those who trained it, which is ProgFed's average by block, and the same updates in the
same order give the same bits.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.shrinkage import Stated, judge
from edge_sdk.plan import Spans
from edge_sdk.values import Piece
from server_ref.aggregate.sums import WeightedSum, norm

Weighing = Literal["examples", "error", "equal"]
"""What an update counts by: its examples; its examples over 1 + stated error; or one each."""


@dataclasses.dataclass(frozen=True, slots=True)
class Decoded:
    """One usable update."""

    stage: int
    examples: int
    error: float | None
    """Stated error of its code over the squared norm; None where it states none."""
    pieces: Sequence[Piece] = dataclasses.field(repr=False)
    discount: float = 1.0
    """What is left of its weight, because it was trained from an older version."""

    def weight(self, weighing: Weighing) -> float:
        """What it counts."""
        if weighing == "equal":
            return self.discount
        share = 1 + (self.error or 0.0) if weighing == "error" else 1.0
        return self.examples / share * self.discount

    @property
    def energy(self) -> float:
        """Squared norm of what arrived."""
        return float(sum(norm(piece.values) ** 2 for piece in self.pieces))


@dataclasses.dataclass(frozen=True, slots=True)
class Mean:
    """A round's mean over the whole vector."""

    values: NDArray[np.float64] = dataclasses.field(repr=False)
    """Zero where nothing arrived."""
    covered: NDArray[np.bool_] = dataclasses.field(repr=False)
    """Where something did."""
    factor: float
    """What `values` were multiplied by to tame coding noise; 1 where that was not needed."""


class Tally:
    """The running sums of one round: 16 bytes per coordinate of each stage that came.

    Args:
        size: length of the whole vector.
        where: a stage's coordinates in it.
        weighing: what updates count by.
        shrink: whether to shrink a mean that is mostly coding noise.
    """

    def __init__(
        self, size: int, where: Callable[[int], Spans], *, weighing: Weighing, shrink: bool
    ) -> None:
        self._size = size
        self._where = where
        self._weighing: Weighing = weighing
        self._shrink = shrink
        self._sums: dict[int, WeightedSum] = {}
        self._stated: list[Stated] = []

    def add(self, update: Decoded) -> None:
        """Take one update in."""
        if update.stage not in self._sums:
            self._sums[update.stage] = WeightedSum(self._where(update.stage).size)
        weight = update.weight(self._weighing)
        self._sums[update.stage].add(update.pieces, weight)
        if self._shrink:
            error = update.error or 0.0
            self._stated.append(Stated(weight=weight, vnmse=error, energy=update.energy))

    def mean(self) -> Mean:
        """The weighted mean of what was added so far."""
        whole = WeightedSum(self._size)
        for stage in sorted(self._sums):
            whole.add_at(self._where(stage), self._sums[stage])
        factor = judge(self._stated).factor if self._stated else 1.0
        values = whole.mean()
        if factor != 1:
            values *= factor
        return Mean(values, whole.covered(), factor)
