"""What a policy decides and an engine gives."""

import dataclasses
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values.scalars import (
    MAX_COUNT,
    STRICT,
    CodecSpec,
    Count,
    Seconds,
    Seed,
    ShortText,
    Stage,
    Way,
)
from edge_sdk.values.vectors import Vector


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Choice:
    """What a policy decided for one task; `why` is a sentence for people."""

    takes_part: bool
    way: Way = "full"
    stage: Stage = 0
    codec: CodecSpec = "float32"
    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    most_steps: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    """Stop after that many steps even if epochs are left; None is no limit."""
    train_until_s: Seconds | None = None
    """Seconds after the task's arrival at which training stops, whatever is left; None leaves that
    to the runtime."""
    why: ShortText


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class TrainSettings:
    """How to train once: everything an engine needs besides weights and data."""

    epochs: Annotated[int, Field(ge=1, le=1000)] = 1
    batch_size: Annotated[int, Field(ge=1, le=65536)] = 32
    learning_rate: Annotated[float, Field(gt=0, le=1e3)] = 0.1
    seed: Seed = 0
    """Order of the examples; the same seed and threads give the same weights."""
    most_steps: Annotated[int, Field(ge=1, le=MAX_COUNT)] | None = None
    """Stop after that many steps even if epochs are left; None is no limit."""
    proximity: Annotated[float, Field(ge=0, le=1e3)] = 0.0
    """FedProx's mu: each step also pulls the weights towards those training began with."""


@dataclasses.dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where training stands between two steps: enough to go on as if it had never stopped."""

    weights: Vector
    """Layout order."""
    state: Vector
    """The optimizer's, tensor after tensor in the plan's order."""
    epoch: int
    """Under way, 0 at first."""
    batches: int
    """Done of that epoch."""
    runs: int
    """Of the train graph so far; what randomness inside the graph counts by."""
    steps: int
    """Of all epochs."""
    distinct: int
    """Distinct examples seen."""
    epoch_examples: int
    epoch_loss: float
    """Sum over those examples."""


@dataclasses.dataclass(frozen=True, slots=True)
class Trained:
    """The outcome of local training."""

    weights: Vector
    """New flat weights, layout order."""
    examples: int
    """Distinct examples trained on."""
    steps: int
    loss: float | None
    """Mean loss per example over the last epoch; None when no step ran."""
    stopped: bool = False
    """True when `keep_going` ended it early."""
    checkpoint: Checkpoint | None = None
    """Where it stopped, from engines that can go on from there (`interfaces.ResumableEngine`)."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Evaluation:
    """Quality of a model on some examples."""

    examples: Count
    loss: float
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    """Share of examples classified correctly; None where the task has no classes."""
