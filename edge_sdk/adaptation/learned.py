"""What a device has learned of itself, and how each outcome changes it. Pure.

======================= ==========================================================================
seconds, joules a step  of each way and stage (and its warm-up): the last five, of which the mean is
                        used; of split steps the transfers are part
peak memory             of each way and stage: the least the process was ever seen to have held
seconds to encode       a coordinate, by family of codecs: the last
bits on the wire        a coordinate, by spec: the last
watts of a transfer     of the last five rounds, the lesser of download and upload: a second of
                        moving bytes, being awake included
overhead                joules of a round beyond training and those watts for the seconds of its
                        transfers: waiting, encoding, a radio's tail. The median of the last five
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

from edge_sdk.values import STRICT, Choice, CodecSpec, Cost, Count, Outcome, Stage, Task, Way

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
    way: Way = "full"
    seconds_a_step: Samples = ()
    joules_a_step: Samples = ()
    peak_bytes: Count | None = None


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
    transfer_watts: Samples = ()
    overhead_j: Samples = ()
    """Of a round."""
    overruns: Annotated[
        tuple[Annotated[float, Field(ge=0, le=MOST_MARGIN)], ...], Field(max_length=SAMPLES)
    ] = ()
    examples: Count | None = None
    stage: Stage | None = None
    """Of the last task taken, with its codec and way."""
    codec: CodecSpec | None = None
    way: Way = "full"
    fruitless: Count = 0
    """Tasks in a row that were declined or came to nothing."""

    @property
    def margin(self) -> float:
        """What predictions of computing time are to be stretched by."""
        return max(self.overruns, default=FIRST_MARGIN)

    def of_stage(self, stage: int, *, warm_up: bool, way: Way = "full") -> StageLearned | None:
        """What is known of a stage's graph, or of a way to train it."""
        for known in self.stages:
            if (known.stage, known.warm_up, known.way) == (stage, warm_up, way):
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
        stages=_stages(state, task, choice, outcome, costs.get("train")),
        codecs=_codecs(state, choice, outcome, costs.get("encode")),
        fruitless=0 if outcome.delivered else state.fruitless + 1,
        stage=outcome.stage,
        codec=choice.codec,
        way=choice.way,
        examples=outcome.examples or state.examples,
    )
    return _with_transfers(state, outcome.costs)


def mean(samples: tuple[float, ...]) -> float | None:
    """Their mean; None of none."""
    return sum(samples) / len(samples) if samples else None


def _overruns(
    state: Learned, task: Task, choice: Choice, outcome: Outcome, train: Cost | None
) -> tuple[float, ...]:
    known = state.of_stage(choice.stage, warm_up=task.warm_up, way=choice.way)
    expected = None if known is None else mean(known.seconds_a_step)
    if expected is None or train is None or not outcome.steps:
        return state.overruns
    over = max(0.0, train.seconds / (expected * outcome.steps) - 1)
    return (min(over, MOST_MARGIN), *state.overruns)[:SAMPLES]


def _stages(
    state: Learned, task: Task, choice: Choice, outcome: Outcome, train: Cost | None
) -> tuple[StageLearned, ...]:
    if train is None or not outcome.steps or train.seconds <= 0:
        return state.stages
    old = state.of_stage(outcome.stage, warm_up=task.warm_up, way=choice.way)
    old = old or StageLearned(stage=outcome.stage, warm_up=task.warm_up, way=choice.way)
    new = dataclasses.replace(
        old,
        seconds_a_step=_pushed(old.seconds_a_step, train.seconds / outcome.steps),
        joules_a_step=_pushed(old.joules_a_step, _joules(train) / outcome.steps),
        peak_bytes=_least(
            old.peak_bytes, None if outcome.after is None else outcome.after.resident_bytes
        ),
    )
    return (new, *(known for known in state.stages if known is not old))


def _joules(cost: Cost) -> float:
    """Estimates of the processor's joules know nothing of what the radio takes."""
    radio_j = None if cost.energy_method in {"measured", "integrated"} else cost.radio_j
    return (cost.energy_j or 0.0) + (radio_j or 0.0)


def _least(old: int | None, new: int | None) -> int | None:
    return min((size for size in (old, new) if size), default=None)


def _codecs(
    state: Learned, choice: Choice, outcome: Outcome, encode: Cost | None
) -> tuple[CodecLearned, ...]:
    if not outcome.dimension or encode is None:
        return state.codecs
    bits = 8 * outcome.upload_bytes / outcome.dimension if outcome.upload_bytes else None
    seen = CodecLearned(spec=choice.codec, bits=bits, encode_s=encode.seconds / outcome.dimension)
    others = tuple(known for known in state.codecs if known.spec != choice.codec)
    return (seen, *others)[:MOST_CODECS]


def _with_transfers(state: Learned, costs: tuple[Cost, ...]) -> Learned:
    transfers = [cost for cost in costs if cost.phase in {"download", "upload"}]
    rates = [_joules(cost) / cost.seconds for cost in transfers if cost.seconds > 0]
    watts = min((rate for rate in rates if rate > 0), default=0.0)
    if watts == 0.0:
        return state
    spent_j = sum(_joules(cost) for cost in costs if cost.phase != "train")
    moving_j = watts * sum(cost.seconds for cost in transfers)
    return dataclasses.replace(
        state,
        transfer_watts=_pushed(state.transfer_watts, watts),
        overhead_j=_pushed(state.overhead_j, spent_j - moving_j),
    )


def _pushed(samples: tuple[float, ...], value: float) -> tuple[float, ...]:
    """With one more sample in front; a zero is no figure."""
    return (value, *samples)[:SAMPLES] if 0 < value <= 1e12 else samples
