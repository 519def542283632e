"""Checks for `interfaces.Policy`."""

import copy
import dataclasses
from collections.abc import Sequence
from typing import TypeVar

from edge_sdk.interfaces import LastingPolicy, Policy
from edge_sdk.testing.promises import promise
from edge_sdk.values import Choice, Cost, Goodput, Outcome, Reading, Task

State = TypeVar("State")

_BARE = Reading(at_s=10.0)
"""What a machine that can measure nothing reads."""

_RICH = Reading(
    at_s=20.0,
    cpu_s=5.0,
    energy_j=30.0,
    sent_bytes=1000,
    received_bytes=2000,
    resident_bytes=50_000_000,
    battery=0.5,
    temperature_c=45.0,
)


def sample_tasks() -> tuple[Task, ...]:
    """Tasks of several shapes: one or many codecs, early and late stages, short deadlines."""
    base = Task(
        run="0123456789abcdef",
        round=1,
        plan="ab" * 32,
        model_version=0,
        codecs=("float32",),
        seed=7,
        deadline_s=3600.0,
    )
    return (
        base,
        dataclasses.replace(
            base,
            round=2**32 - 1,
            model_version=3,
            codecs=("eden:bits=2", "float16"),
            epochs=5,
            deadline_s=1.0,
        ),
        dataclasses.replace(base, round=9, model_version=8, stage=2, deadline_s=0.0),
        dataclasses.replace(
            base,
            round=10,
            stage=2,
            least_stage=0,
            codecs=("blockwise:rate=2", "blockwise:rate=0.5", "blockwise:rate=0.1"),
            deadline_s=90.0,
            download_bytes=60_000,
            stage_sizes=(5_000, 9_000, 15_000),
            cohort=20,
            ways=("full", "split"),
        ),
    )


def check_policy(policy: Policy[State], *, tasks: Sequence[Task] | None = None) -> None:
    """Hold `policy` against its contract on `tasks` (by default `sample_tasks`).

    Raises:
        AssertionError: naming the broken promise.
    """
    state = policy.start()
    for task in sample_tasks() if tasks is None else tasks:
        for now in (_BARE, _RICH):
            choice = _check_choice(policy, state, task, now)
            for outcome in sample_outcomes(choice, now):
                state = _check_learning(policy, state, task, choice, outcome)
    if isinstance(policy, LastingPolicy):
        promise(policy.loaded(policy.dumped(state)) == state, "a state survives dump and load")


def sample_outcomes(choice: Choice, now: Reading) -> tuple[Outcome, ...]:
    """How a task may end after `choice`: declined, or delivered and late, measured or not."""
    bare = Reading(at_s=now.at_s + 60.0)
    if not choice.takes_part:
        return (Outcome(took_part=False), Outcome(took_part=False, after=bare))
    spent = Cost(phase="download", seconds=2.0, cpu_s=1.0, energy_j=6.0)
    costs = (
        spent,
        dataclasses.replace(spent, phase="train", seconds=30.0, energy_j=90.0),
        dataclasses.replace(spent, phase="encode", seconds=1.0, energy_j=3.0),
        dataclasses.replace(spent, phase="upload", seconds=9.0, energy_j=None, radio_j=0.5),
    )
    goodput = Goodput(up_bytes_per_s=2e4, down_bytes_per_s=1e5, up_margin=0.3, latency_s=0.1)
    done = Outcome(
        took_part=True,
        delivered=True,
        stage=choice.stage,
        dimension=10_000,
        examples=500,
        steps=16,
        upload_bytes=40_000,
        seconds=42.0,
        costs=costs,
        after=dataclasses.replace(bare, goodput=goodput),
    )
    return (
        Outcome(took_part=True, seconds=60.0, after=bare),
        dataclasses.replace(done, delivered=False, late=True),
        done,
    )


def _check_learning(
    policy: Policy[State], state: State, task: Task, choice: Choice, outcome: Outcome
) -> State:
    kept = copy.deepcopy(state)
    learned = policy.learn(state, task, choice, outcome)
    again = policy.learn(copy.deepcopy(kept), task, choice, outcome)
    promise(state == kept, "learn() leaves the state it was given alone")
    promise(learned == again, "learn() is pure: equal arguments, equal state")
    return learned


def _check_choice(policy: Policy[State], state: State, task: Task, now: Reading) -> Choice:
    kept = copy.deepcopy(state)
    choice = policy.decide(state, task, now)
    promise(isinstance(choice, Choice), "decide() gives a Choice")
    promise(state == kept, "decide() leaves the state it was given alone")
    promise(choice == policy.decide(kept, task, now), "decide() is pure: equal arguments")
    promise(choice.why.strip() != "", "every choice says why")
    if choice.takes_part:
        promise(choice.codec in task.codecs, "the codec is one the task offers")
        least = task.stage if task.least_stage is None else task.least_stage
        promise(least <= choice.stage <= task.stage, "the stage is one the task offers")
        promise(choice.way in task.ways, "the way is one the task offers")
    return choice
