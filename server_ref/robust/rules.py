"""The rules by name, and the one function that applies them to the updates of a round."""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.memory import squared_norm
from edge_sdk.errors import Misuse
from server_ref.robust.blocks import ROOM_BYTES, Stored, blocks
from server_ref.robust.clipping import clipped
from server_ref.robust.coordinatewise import median_of, trimmed_mean_of
from server_ref.robust.krum import picked, squared_distances

Result = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, slots=True)
class Mean:
    """Weighted by examples."""

    streams = True
    least_updates = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Clip:
    """Weighted mean of updates no longer, and weights no larger, than `factor` recent medians."""

    factor: float = 2.0

    streams = True
    least_updates = 1

    def __post_init__(self) -> None:
        _within("factor", self.factor, 1.0, 100.0)


@dataclasses.dataclass(frozen=True, slots=True)
class Median:
    """Middle of each coordinate; every update has one vote."""

    streams = False
    least_updates = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Trimmed:
    """Mean of each coordinate without the share `beta` of the values at each end."""

    beta: float = 0.1

    streams = False

    def __post_init__(self) -> None:
        _within("beta", self.beta, 0.001, 0.499)

    @property
    def least_updates(self) -> int:
        """Below this nothing would be cut, and one device could do what it likes."""
        return math.ceil(1 / self.beta - 1e-9)


@dataclasses.dataclass(frozen=True, slots=True)
class Krum:
    """Mean of the `pick` updates that are nearest to others; holds against `f` bad ones."""

    f: int = 1
    pick: int = 1

    streams = False

    def __post_init__(self) -> None:
        _within("f", self.f, 0, 10_000)
        _within("pick", self.pick, 1, 10_000)

    @property
    def least_updates(self) -> int:
        """`2 f + 3`, and enough to pick from: more than n - f - 2 may not be taken."""
        return max(2 * self.f + 3, self.pick + self.f + 2)


Rule = Mean | Clip | Median | Trimmed | Krum

_RULES: Mapping[str, tuple[Callable[..., Rule], Mapping[str, Callable[[str], float]]]] = {
    "mean": (Mean, {}),
    "clip": (Clip, {"factor": float}),
    "median": (Median, {}),
    "trimmed": (Trimmed, {"beta": float}),
    "krum": (Krum, {"f": int, "pick": int}),
}
_SPEC = re.compile(r"([a-z]{1,16})(?::([a-z0-9=.,]{1,64}))?")


def rule_from_spec(spec: str) -> Rule:
    """The rule that `mean`, `clip:factor=2`, `median`, `trimmed:beta=.1` or `krum:f=1,pick=3` name.

    Raises:
        Misuse: no such rule, or a parameter is unknown or out of range.
    """
    found = _SPEC.fullmatch(spec)
    if found is None or found[1] not in _RULES:
        raise Misuse(f"no aggregation {spec!r}; known: {', '.join(_RULES)}")
    make, parameters = _RULES[found[1]]
    given: dict[str, float] = {}
    for word in (found[2] or "").split(",") if found[2] else ():
        name, _, text = word.partition("=")
        if name not in parameters:
            raise Misuse(f"{found[1]} has no parameter {name!r}")
        try:
            given[name] = parameters[name](text)
        except ValueError:
            raise Misuse(f"{name} {text!r} is no number") from None
    return make(**given)


def combine(
    rule: Rule,
    updates: Sequence[Stored],
    dimension: int,
    *,
    limit: float = math.inf,
    weight_limit: float = math.inf,
    room_bytes: int = ROOM_BYTES,
) -> Result:
    """The aggregate of a round's updates, shape (dimension,); zero where no update reached.

    Args:
        rule: how.
        updates: in the order of summation.
        dimension: coordinates of the model.
        limit: of `clip`, see `clip_limit`.
        weight_limit: of `clip`, see `most_weight`.
        room_bytes: what blocks may take.

    Raises:
        Misuse: fewer updates than the rule needs to keep its promise.
    """
    if len(updates) < rule.least_updates:
        raise Misuse(f"{rule} needs {rule.least_updates} updates, not {len(updates)}")
    if isinstance(rule, Mean):
        return _mean(updates, dimension, math.inf, math.inf)
    if isinstance(rule, Clip):
        return _mean(updates, dimension, limit, weight_limit)
    if isinstance(rule, Krum):
        return _krum(rule, updates, dimension, room_bytes)
    result = np.zeros(dimension)
    for first, rows in blocks(updates, dimension, room_bytes=room_bytes):
        of_block = median_of(rows) if isinstance(rule, Median) else trimmed_mean_of(rows, rule.beta)
        result[first : first + len(rows)] = of_block
    return result


def _mean(updates: Sequence[Stored], dimension: int, limit: float, weight_limit: float) -> Result:
    """One update at a time: its pieces are all that is held besides sums."""
    sums, weights = np.zeros(dimension), np.zeros(dimension)
    for update in updates:
        weight = min(update.weight, weight_limit)
        pieces = list(update.pieces(0, dimension))
        length = math.sqrt(sum(squared_norm(piece.values) for piece in pieces))
        for piece in clipped(pieces, length=length, limit=limit):
            at = update.coordinates(piece)
            sums[at] += np.multiply(piece.values, weight, dtype=np.float64)
            weights[at] += weight
    return np.divide(sums, weights, out=np.zeros(dimension), where=weights > 0)


def _krum(rule: Krum, updates: Sequence[Stored], dimension: int, room_bytes: int) -> Result:
    rows = (rows for _, rows in blocks(updates, dimension, room_bytes=room_bytes))
    distances = squared_distances(rows, len(updates))
    chosen = [updates[at] for at in picked(distances, f=rule.f, pick=rule.pick)]
    equal = [dataclasses.replace(update, weight=1.0) for update in chosen]
    return _mean(equal, dimension, math.inf, math.inf)


def _within(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise Misuse(f"{name} {value:g} is not {low:g} to {high:g}")
