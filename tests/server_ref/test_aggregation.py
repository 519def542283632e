"""Promise: a running server combines updates by the rule it was given, the same after a crash."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.values import CheckIn, Commit, Finished, Task, Vector
from server_ref.app import Listening
from tests.server_ref.serving import (
    DIMENSION,
    ScriptedDevice,
    delta,
    device,
    frames_for,
    serving,
    small_plan,
    unpack_snapshot,
)

COHORT = 5
BAD = 4
"""Number of the device that sends whatever it likes."""


def five(state: Path, aggregation: str) -> contextlib.AbstractAsyncContextManager[Listening]:
    """A server whose one round waits for five devices."""
    return serving(state, aggregation=aggregation, cohort=COHORT, min_updates=COHORT, rounds=1)


def update_of(number: int) -> Vector:
    """The bad one points elsewhere, as far as the limit on norms allows."""
    return np.full(DIMENSION, 5.0, np.float32) if number == BAD else delta(number)


async def send(one: ScriptedDevice, *, commit: bool = True) -> Task:
    task = await one.task()
    frames = frames_for(task, update_of(one.number), codec="float32")
    await one.transport.upload(task, frames)
    if commit:
        await one.transport.commit(task, Commit(chunks=len(frames), examples=10, codec="float32"))
    return task


async def final(at: Listening, one: ScriptedDevice) -> Vector:
    end = await one.transport.check_in(CheckIn(wait_s=20))
    assert isinstance(end, Finished)
    data = await one.transport.model(end.run, 1, have=None)
    assert at.url
    return unpack_snapshot(data, dimension=DIMENSION)


async def trained(state: Path, aggregation: str, *, restart: bool = False) -> Vector:
    """What one round of five devices, of which one is bad, makes of the model."""
    tokens: list[str] = []
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(five(state, aggregation))
        several = [await stack.enter_async_context(device(at, n)) for n in range(COHORT)]
        tokens = [one.token for one in several]
        for one in several[: COHORT - 1] if restart else several:
            await send(one)
        if not restart:
            return await final(at, several[0])
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(five(state, aggregation))
        last = await stack.enter_async_context(device(at, COHORT - 1, token=tokens[-1]))
        await send(last)
        return await final(at, last)


def moved(weights: Vector) -> NDArray[np.float64]:
    return weights.astype(np.float64) - small_plan().initial_weights().astype(np.float64)


HONEST = np.array([update_of(n) for n in range(COHORT) if n != BAD], np.float64)
ALL = np.array([update_of(n) for n in range(COHORT)], np.float64)


@pytest.mark.parametrize(
    ("aggregation", "expected"),
    [
        ("mean", ALL.mean(0)),
        ("median", np.median(ALL, axis=0)),
        ("trimmed:beta=.2", np.sort(ALL, axis=0)[1:-1].mean(0)),
    ],
)
async def test_the_model_moves_by_the_rule(
    aggregation: str, expected: NDArray[np.float64], tmp_path: Path
) -> None:
    weights = await trained(tmp_path, aggregation)
    assert np.allclose(moved(weights), expected, atol=1e-6)
    if aggregation != "mean":
        assert np.abs(moved(weights)).max() <= np.abs(HONEST).max()


async def test_krum_takes_an_honest_update_and_clip_a_short_one(tmp_path: Path) -> None:
    weights = await trained(tmp_path / "krum", "krum:f=1")
    distances = np.abs(HONEST - moved(weights)).max(axis=1)
    assert distances.min() < 1e-6
    weights = await trained(tmp_path / "clip", "clip:factor=1")
    lengths = np.sort(np.linalg.norm(ALL, axis=1))
    scale = np.minimum(1, lengths[2] / np.linalg.norm(ALL, axis=1))
    assert np.allclose(moved(weights), (ALL * scale[:, None]).mean(0), atol=1e-6)


@pytest.mark.parametrize("aggregation", ["clip", "median", "krum:f=1,pick=2"])
async def test_a_restart_in_the_round_changes_no_bit(aggregation: str, tmp_path: Path) -> None:
    whole = await trained(tmp_path / "whole", aggregation)
    broken = await trained(tmp_path / "broken", aggregation, restart=True)
    assert whole.tobytes() == broken.tobytes()


@pytest.mark.parametrize(
    ("aggregation", "memory", "said"),
    [
        ("average", "none", "no aggregation"),
        ("krum:f=2", "none", "needs 7 updates"),
        ("median", "artemis", "Artemis"),
    ],
)
async def test_a_rule_that_cannot_keep_its_promise_is_refused_at_the_start(
    aggregation: str, memory: str, said: str, tmp_path: Path
) -> None:
    with pytest.raises(Misuse, match=said):
        async with serving(
            tmp_path, cohort=5, min_updates=5, aggregation=aggregation, memory=memory,
            codecs=("eden:bits=4",),
        ):  # fmt: skip
            pass
