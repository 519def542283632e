"""Promise: versions are measured when that is asked for, also after a restart; else not at all."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import CheckIn, Evaluation, Finished, Vector
from edge_sdk.values.summaries import RoundSummary, RunSummary
from server_ref.app import Listening
from server_ref.coordinator import Surroundings
from server_ref.coordinator.telling import fall_line, round_line
from server_ref.evaluation import evaluator
from tests.server_ref.serving import device, serving


def test_nothing_of_onnx_is_loaded_unless_asked_for() -> None:
    program = "import sys, server_ref.__main__; print([m for m in sys.modules if 'onnx' in m])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_the_evaluator_measures_the_test_split(tmp_path: Path) -> None:
    plan = build_plan(zoo.mlp((4,), 3), loss="cross-entropy", name="tiny")
    random = np.random.Generator(np.random.PCG64(1))
    file = tmp_path / "data.npz"
    np.savez(
        file,
        x_train=np.zeros((1, 4), np.float32), y_train=np.zeros(1, np.int64),
        x_test=random.standard_normal((50, 4)).astype(np.float32), y_test=np.arange(50) % 3,
    )  # fmt: skip
    found = evaluator(plan, file)(np.zeros(plan.layout().size, np.float32), 0)
    assert found.examples == 50
    assert found.loss == pytest.approx(np.log(3), rel=1e-5)
    with pytest.raises(Misuse):
        evaluator(plan, tmp_path / "none.npz")


def _steps(summary: RunSummary) -> list[float | None]:
    return [one.loss for one in summary.rounds]


async def test_a_restart_measures_what_is_missing(tmp_path: Path) -> None:
    measured: list[float] = []

    def evaluate(weights: Vector, _stage: int) -> Evaluation:
        measured.append(float(weights[0]))
        return Evaluation(examples=1, loss=float(weights[0]) + 100)

    async with serving(tmp_path, cohort=1) as at, device(at, 0) as a:
        for _ in range(2):
            await a.take_part()
        assert isinstance(await a.transport.check_in(CheckIn(wait_s=9)), Finished)
        assert _steps(await at.opened.coordinator.summary()) == [None, None]
    async with serving(tmp_path, cohort=1, evaluate=evaluate) as at:
        await _until(at, lambda summary: summary.state == "finished")
        losses = _steps(await at.opened.coordinator.summary())
    assert losses == [value + 100 for value in measured]
    assert len(set(measured)) == 2
    async with serving(tmp_path, cohort=1, evaluate=evaluate) as at:
        assert _steps(await at.opened.coordinator.summary()) == losses
    assert len(measured) == 2


async def test_a_version_that_cannot_be_measured_does_not_end_the_run(tmp_path: Path) -> None:
    lines: list[str] = []

    def evaluate(_weights: Vector, _stage: int) -> Evaluation:
        raise Corrupt("the model's loss is not finite")

    outside = Surroundings(tell=lines.append)
    async with (
        serving(tmp_path, cohort=1, evaluate=evaluate, outside=outside) as at,
        device(at, 0) as a,
    ):
        for _ in range(2):
            await a.take_part()
        await _until(at, lambda summary: summary.state == "finished")
        summary = await at.opened.coordinator.summary()
        assert [(one.state, one.loss) for one in summary.rounds] == [("published", None)] * 2
        assert not at.opened.failed.done()
    assert sum("cannot be measured: the model's loss is not finite" in one for one in lines) == 2
    async with serving(tmp_path, cohort=1, evaluate=evaluate) as at:
        assert (await at.opened.coordinator.summary()).state == "finished"


async def test_the_operator_reads_a_line_for_every_round_and_the_end(tmp_path: Path) -> None:
    accuracies = iter([0.9, 0.3, 0.2, 0.95])
    lines: list[str] = []

    def evaluate(_weights: Vector, _stage: int) -> Evaluation:
        return Evaluation(examples=1, loss=1.0, accuracy=next(accuracies))

    outside = Surroundings(tell=lines.append)
    async with (
        serving(tmp_path, cohort=1, rounds=4, evaluate=evaluate, outside=outside) as at,
        device(at, 0) as a,
    ):
        for number in range(1, 5):
            task = await a.task()
            assert task.round == number
            await a.take_part()
        await _until(at, lambda summary: summary.state == "finished")
        async with asyncio.timeout(10):
            while not lines[-1].startswith("finished"):  # noqa: ASYNC110 - the server's own lines
                await asyncio.sleep(0.01)
    told = [one.split(",")[0] for one in lines[1:]]
    assert told[0] == "round 1: 1 update"
    assert told[2].startswith("WARNING: the model got much worse (round 2: accuracy 0.300")
    assert [one for one in told if one.startswith("round")] == [
        f"round {n}: 1 update" for n in range(1, 5)
    ]
    assert sum(one.startswith("WARNING") for one in told) == 1
    assert lines[-1] == "finished: accuracy 0.950 after 4 versions"


def _summary(state: Literal["published", "abandoned"], **changes: float) -> RoundSummary:
    whole: dict[str, object] = {
        "round": 3, "state": state, "model_version": 2, "admitted": 2, "committed": 1,
        "partial": 1, "examples": 9, "bytes_up": 1234, "bytes_down": 5_600_000, "seconds": 2.04,
    }  # fmt: skip
    return RoundSummary(**(whole | changes))  # type: ignore[arg-type]  # fields of RoundSummary


def test_lines_name_what_is_known() -> None:
    assert round_line(_summary("published", accuracy=0.5, loss=1.0)) == (
        "round 3: 2 updates (1 unfinished), 1.23 kB up, 5.6 MB down, accuracy 0.500, 2.0 s"
    )
    assert "loss 1.5" in round_line(_summary("published", loss=1.5))
    assert round_line(_summary("abandoned")).startswith("round 3 abandoned: 2 updates")


def test_a_fall_is_no_noise() -> None:
    good = _summary("published", accuracy=0.9, loss=0.3)
    assert fall_line(_summary("published", accuracy=0.75, loss=0.6), [good]) is None
    assert fall_line(_summary("published", accuracy=0.6, loss=0.6), [good]) is not None
    assert fall_line(_summary("published", loss=0.6), [_summary("published", loss=0.3)]) is None
    assert fall_line(_summary("published", loss=1.7), [_summary("published", loss=0.3)])
    assert fall_line(good, []) is None


async def _until(at: Listening, wanted: Callable[[RunSummary], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if wanted(await at.opened.coordinator.summary()):
                return
            await asyncio.sleep(0.01)
