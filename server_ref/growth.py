"""Which stage of the model a round trains, and with what learning rate. Pure.

Progressive training as in ProgFed (arXiv:2110.05323, algorithm 1): the model grows by one stage at
a time; each growth may begin with warm-up rounds that train only what the stage added, at the first
learning rate, and that do not count among the wanted rounds. Everything follows from the rounds
that made versions so far, so a restarted server goes on with the same stages.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values import STRICT, Stage

LEAST_RATE_SHARE = 1e-5
"""A falling learning rate ends here, as a share of the first (the authors' 1e-6 for .1)."""

Schedule = Literal["equal", "halved", "plateau"]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Growth:
    """When a run grows."""

    stages: Annotated[int, Field(ge=1, le=255)]
    """Of the plan."""
    rounds: Annotated[int, Field(ge=1, le=2**31)]
    """Versions wanted, T; warm-ups come on top."""
    schedule: Schedule = "equal"
    """`equal`: T / S rounds for each of S stages. `halved`: T / 2S for each but the last, which
    gets the rest, as the paper's configurations do. `plateau`: like `equal` at the latest, sooner
    when a stage no longer gains."""
    warm_up_rounds: Annotated[int, Field(ge=0, le=10_000)] = 0
    """After each growth."""
    patience: Annotated[int, Field(ge=1, le=10_000)] = 5
    """Rounds without a gain that make a plateau."""
    least_gain: Annotated[float, Field(ge=0, le=1)] = 0.002
    """What counts as one: of the accuracy, or of the loss as a share of it."""
    decay: Literal["none", "cosine"] = "none"
    """How the learning rate falls over the wanted rounds; it does not start again at growth."""


@dataclasses.dataclass(frozen=True, slots=True)
class Past:
    """A round that made a version."""

    stage: Stage
    warm_up: bool
    loss: float | None = None
    """Of its version, on the server's evaluation data."""
    accuracy: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """What the next round trains."""

    stage: Stage
    warm_up: bool
    counted: int
    """Wanted rounds done before it: the clock of the learning rate."""


def next_turn(growth: Growth, past: Sequence[Past]) -> Turn | None:
    """The turn after the rounds `past`, oldest first; None when the run is finished.

    A single-stage plan always trains its one stage. What a restart with other settings makes of the
    past is a matter of counting: stages never shrink.
    """
    counted = [one for one in past if not one.warm_up]
    if len(counted) >= growth.rounds:
        return None
    now = past[-1].stage if past else 0
    last = growth.stages - 1
    stage = min(now, last)
    while not (past and past[-1].warm_up) and stage < last and _is_done(growth, stage, counted):
        stage += 1
    warm = stage > 0 and _warmed(past, stage) < growth.warm_up_rounds and stage not in _ran(counted)
    return Turn(stage, warm, len(counted))


def ends(growth: Growth) -> tuple[int, ...]:
    """Wanted rounds after which each stage is over at the latest; the last ends the run.

    Never falling; a stage ends where the one before does if there are fewer rounds than stages.
    """
    share = growth.stages * (2 if growth.schedule == "halved" else 1)
    early = [growth.rounds * n // share for n in range(1, growth.stages)]
    return (*early, growth.rounds)


def most_versions(growth: Growth) -> int:
    """Versions that a run makes, with those of warm-ups.

    Stages that come to their end together have no round of their own but the last of them.
    """
    over = ends(growth)
    grown = sum(before < after for before, after in itertools.pairwise(over))
    return growth.rounds + growth.warm_up_rounds * grown


def learning_rate(growth: Growth, turn: Turn, first: float) -> float:
    """The round's learning rate: `first`, or what is left of it.

    Cosine: first * (1 + cos(pi t / (T - 1))) / 2 for wanted round t = 0 … T - 1; warm-ups train at
    `first` and leave the clock where it is.
    """
    if growth.decay == "none" or turn.warm_up:
        return first
    done = turn.counted / max(growth.rounds - 1, 1)
    return first * max((1 + math.cos(math.pi * done)) / 2, LEAST_RATE_SHARE)


def _ran(counted: Sequence[Past]) -> set[int]:
    return {one.stage for one in counted}


def _warmed(past: Sequence[Past], stage: int) -> int:
    return sum(one.warm_up and one.stage == stage for one in past)


def _is_done(growth: Growth, stage: int, counted: Sequence[Past]) -> bool:
    if len(counted) >= ends(growth)[stage]:
        return True
    ours = [one for one in counted if one.stage == stage]
    return growth.schedule == "plateau" and _is_flat(growth, ours)


def _is_flat(growth: Growth, ours: Sequence[Past]) -> bool:
    """Whether the latest `patience` rounds brought no gain over the best before them."""
    if len(ours) <= growth.patience:
        return False
    before, latest = ours[: -growth.patience], ours[-growth.patience :]
    accuracies = [one.accuracy for one in ours if one.accuracy is not None]
    if len(accuracies) == len(ours):
        return max(_accuracies(latest)) < max(_accuracies(before)) + growth.least_gain
    losses = [one.loss for one in ours if one.loss is not None]
    if len(losses) == len(ours):
        return min(_losses(latest)) > min(_losses(before)) * (1 - growth.least_gain)
    return False


def _accuracies(rounds: Sequence[Past]) -> list[float]:
    return [one.accuracy for one in rounds if one.accuracy is not None]


def _losses(rounds: Sequence[Past]) -> list[float]:
    return [one.loss for one in rounds if one.loss is not None]
