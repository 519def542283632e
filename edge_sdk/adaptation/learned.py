"""What a device has learned of itself, and how each outcome changes it. Pure.

======================= ==========================================================================
seconds, joules a step  of each stage (and its warm-up): the last five, of which the mean is used
seconds to encode       a coordinate, by family of codecs: the last
bits on the wire        a coordinate, by spec: the last
joules a byte           up and down: the last five; the phase's own, else those of the radio model
margin of computing     largest of the last five shares by which training and encoding took longer
                        than predicted; one half before anything was predicted
======================= ==========================================================================

The link is not in it: a reading carries what transfers say of it (`Goodput`), with a margin made
the same way.
"""

import dataclasses
from typing import Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.values import STRICT, Choice, CodecSpec, Cost, Count, Outcome, Stage, Task

SAMPLES = 5
FIRST_MARGIN = 0.5
MOST_MARGIN = 9.0
MOST_CODECS = 32

Positive = Annotated[float, Field(gt=0, le=1e12)]
Samples = Annotated[tuple[Positive, ...], Field(max_length=SAMPLES)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class StageLearned:
    """Steps of one stage's graph, newest first."""

    stage: Stage
    warm_up: bool = False
    seconds_a_step: Samples = ()
    joules_a_step: Samples = ()


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class CodecLearned:
    """One codec on this device."""

    spec: CodecSpec
    bits: Positive | None = None
    """On the wire, a coordinate."""
    encode_s: Annotated[float, Field(ge=0)] | None = None
    """A coordinate."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Learned:
    """State of a `BudgetPolicy`; the initial value knows nothing."""

    stages: Annotated[tuple[StageLearned, ...], Field(max_length=512)] = ()
    codecs: Annotated[tuple[CodecLearned, ...], Field(max_length=MOST_CODECS)] = ()
    """Latest used first."""
    up_joules_a_byte: Samples = ()
    down_joules_a_byte: Samples = ()
    overruns: Annotated[
        tuple[Annotated[float, Field(ge=0, le=MOST_MARGIN)], ...], Field(max_length=SAMPLES)
    ] = ()
    examples: Count | None = None
    stage: Stage | None = None
    """Of the last task taken, with its codec."""
    codec: CodecSpec | None = None
    fruitless: Count = 0
    """Tasks in a row that were declined or came to nothing."""

    @property
    def margin(self) -> float:
        """What predictions of computing time are to be stretched by."""
        return max(self.overruns, default=FIRST_MARGIN)

    def of_stage(self, stage: int, *, warm_up: bool) -> StageLearned | None:
        """What is known of a stage's graph."""
        for known in self.stages:
            if (known.stage, known.warm_up) == (stage, warm_up):
                return known
        return None

    def of_codec(self, spec: str) -> CodecLearned | None:
        """What is known of a codec; of another of its family only the time to encode."""
        for known in self.codecs:
            if known.spec == spec:
                return known
        family = spec.partition(":")[0]
        for known in self.codecs:
            if known.spec.partition(":")[0] == family:
                return dataclasses.replace(known, spec=spec, bits=None)
        return None


def learn(state: Learned, task: Task, choice: Choice, outcome: Outcome) -> Learned:
    """The state after one task."""
    if not outcome.took_part:
        return dataclasses.replace(state, fruitless=state.fruitless + 1)
    costs = {cost.phase: cost for cost in outcome.costs}
    state = dataclasses.replace(
        state,
        overruns=_overruns(state, task, choice, outcome, costs.get("train")),
        stages=_stages(state, task, outcome, costs.get("train")),
        codecs=_codecs(state, choice, outcome, costs.get("encode")),
        fruitless=0 if outcome.delivered else state.fruitless + 1,
        stage=outcome.stage,
        codec=choice.codec,
        examples=outcome.examples or state.examples,
    )
    up, down = costs.get("upload"), costs.get("download")
    return dataclasses.replace(
        state,
        up_joules_a_byte=_a_byte(state.up_joules_a_byte, up, outcome.upload_bytes),
        down_joules_a_byte=_a_byte(
            state.down_joules_a_byte, down, None if down is None else down.received_bytes
        ),
    )


def mean(samples: tuple[float, ...]) -> float | None:
    """Their mean; None of none."""
    return sum(samples) / len(samples) if samples else None


def _overruns(
    state: Learned, task: Task, choice: Choice, outcome: Outcome, train: Cost | None
) -> tuple[float, ...]:
    known = state.of_stage(choice.stage, warm_up=task.warm_up)
    expected = None if known is None else mean(known.seconds_a_step)
    if expected is None or train is None or not outcome.steps:
        return state.overruns
    over = max(0.0, train.seconds / (expected * outcome.steps) - 1)
    return (min(over, MOST_MARGIN), *state.overruns)[:SAMPLES]


def _stages(
    state: Learned, task: Task, outcome: Outcome, train: Cost | None
) -> tuple[StageLearned, ...]:
    if train is None or not outcome.steps or train.seconds <= 0:
        return state.stages
    old = state.of_stage(outcome.stage, warm_up=task.warm_up)
    old = old or StageLearned(stage=outcome.stage, warm_up=task.warm_up)
    new = dataclasses.replace(
        old,
        seconds_a_step=_pushed(old.seconds_a_step, train.seconds / outcome.steps),
        joules_a_step=_pushed(old.joules_a_step, (train.energy_j or 0.0) / outcome.steps),
    )
    return (new, *(known for known in state.stages if known is not old))


def _codecs(
    state: Learned, choice: Choice, outcome: Outcome, encode: Cost | None
) -> tuple[CodecLearned, ...]:
    if not outcome.dimension or encode is None:
        return state.codecs
    bits = 8 * outcome.upload_bytes / outcome.dimension if outcome.upload_bytes else None
    seen = CodecLearned(spec=choice.codec, bits=bits, encode_s=encode.seconds / outcome.dimension)
    others = tuple(known for known in state.codecs if known.spec != choice.codec)
    return (seen, *others)[:MOST_CODECS]


def _a_byte(
    samples: tuple[float, ...], cost: Cost | None, size_bytes: int | None
) -> tuple[float, ...]:
    if cost is None or not size_bytes:
        return samples
    joules = cost.radio_j if cost.energy_j is None else cost.energy_j
    return _pushed(samples, (joules or 0.0) / size_bytes)


def _pushed(samples: tuple[float, ...], value: float) -> tuple[float, ...]:
    """With one more sample in front; a zero is no figure."""
    return (value, *samples)[:SAMPLES] if 0 < value <= 1e12 else samples
