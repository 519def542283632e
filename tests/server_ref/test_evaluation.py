"""Promise: versions are measured when that is asked for, also after a restart; else not at all."""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.errors import Misuse
from edge_sdk.values import CheckIn, Evaluation, Finished, RunSummary, Vector
from server_ref.app import Listening
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
    found = evaluator(plan, file)(np.zeros(plan.layout().size, np.float32))
    assert found.examples == 50
    assert found.loss == pytest.approx(np.log(3), rel=1e-5)
    with pytest.raises(Misuse):
        evaluator(plan, tmp_path / "none.npz")


def _steps(summary: RunSummary) -> list[float | None]:
    return [one.loss for one in summary.rounds]


async def test_a_restart_measures_what_is_missing(tmp_path: Path) -> None:
    measured: list[float] = []

    def evaluate(weights: Vector) -> Evaluation:
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


async def _until(at: Listening, wanted: Callable[[RunSummary], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if wanted(await at.opened.coordinator.summary()):
                return
            await asyncio.sleep(0.01)
