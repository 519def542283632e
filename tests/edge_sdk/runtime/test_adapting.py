"""A link degrades ten times in the middle of a run, and recovers: the client adapts to both."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_sdk.adaptation import BudgetPolicy, FixedPolicy
from edge_sdk.interfaces import Policy
from edge_sdk.plan import Plan
from edge_sdk.runtime.client import Client
from edge_sdk.testing import (
    JOIN_TOKEN,
    PacedTransport,
    ScriptedClock,
    ScriptedEngine,
    ScriptedServer,
    scripted_plan,
)
from edge_sdk.values import Task

PLAN = scripted_plan(inputs=10_000, classes=3)
SIZE = 30_003
DATA = (np.linspace(0, 1, 200_000).reshape(20, 10_000), np.arange(20) % 3)
CODECS = tuple(f"blockwise:rate={rate}" for rate in (8, 4, 2, 1, 0.5, 0.25))
TASK = Task(
    run="0123456789abcdef",
    round=1,
    plan=hashlib.sha256(PLAN).hexdigest(),
    model_version=0,
    codecs=CODECS,
    seed=77,
    epochs=1,
    batch_size=5,
    deadline_s=60.0,
    chunk_bytes=8192,
    stage_sizes=(SIZE,),
)
GOOD, BAD = 400.0, 40.0
BREAKS, RECOVERS, ROUNDS = 9, 17, 26


def rate_in(number: int) -> float:
    return BAD if BREAKS <= number < RECOVERS else GOOD


def rate_of(codec: str) -> float:
    return float(codec.partition("=")[2])


async def run_over(folder: Path, policy: Policy[Any]) -> tuple[PacedTransport, list[str]]:
    """The link after all rounds, and each round's codec; empty where it was not delivered."""
    clock = ScriptedClock()
    tasks = [
        dataclasses.replace(TASK, round=number, model_version=number - 1, seed=number)
        for number in range(1, ROUNDS + 1)
    ]
    server = ScriptedServer(tasks, plan=PLAN)
    link = PacedTransport(server, clock, up=rate_in, down=1e5)
    engine = ScriptedEngine(
        np.random.Generator(np.random.PCG64(1)).standard_normal(SIZE).astype(np.float32),
        on_step=lambda: clock.advance(2.0),
    )

    def make_engine(plan: Plan, stage: int, /, *, warm_up: bool = False) -> ScriptedEngine:
        del plan, stage, warm_up
        return engine

    client = Client(
        "https://fl.example.org",
        token=JOIN_TOKEN,
        data=DATA,
        state=folder,
        seed=1,
        transport=link,
        engine=make_engine,
        sensor=link,
        clock=clock,
        policy=policy,
    )
    await client.run()
    counted = [
        server.commit_of(number).codec if server.counted.get(number) else ""
        for number in range(1, ROUNDS + 1)
    ]
    return link, counted


@pytest.mark.parametrize("thrift", [0.0, 0.5, 1.0])
async def test_deadlines_are_met_again_within_two_rounds_and_the_rate_is_back_within_five(
    thrift: float, tmp_path: Path
) -> None:
    link, codecs = await run_over(tmp_path, BudgetPolicy(thrift=thrift))
    before = codecs[BREAKS - 2]
    assert before, "all is well before"
    assert all(codecs[: BREAKS - 1])
    worst = [rate_of(codec) for codec in codecs[BREAKS : RECOVERS - 1]]
    assert max(worst) < rate_of(before), "the bad link is answered by a lower rate"
    assert [number for number in link.late if number >= BREAKS + 1] == []
    assert all(codecs[BREAKS:]), "from the second bad round on every update counts"
    after = [rate_of(codec) for codec in codecs[RECOVERS + 4 :]]
    assert min(after) >= rate_of(before), "five rounds after the link is back, and from then on"


async def test_a_fixed_policy_goes_on_missing(tmp_path: Path) -> None:
    link, _ = await run_over(tmp_path, FixedPolicy(codec=CODECS[1]))
    assert link.late == list(range(BREAKS, RECOVERS))


async def test_the_same_script_gives_the_same_choices(tmp_path: Path) -> None:
    one = await run_over(tmp_path / "one", BudgetPolicy())
    other = await run_over(tmp_path / "other", BudgetPolicy())
    assert one[1] == other[1]
