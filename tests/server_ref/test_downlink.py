"""Promise: the replica follows the model, devices hold it to the bit, and for least bytes."""

import itertools
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan, read_model
from edge_sdk.values import Vector
from server_ref.downlink import (
    Contents,
    Downlink,
    Published,
    Slice,
    check_stable,
    choose,
    derive_seed,
)
from tests.server_ref.fleet import staged_plan
from tests.server_ref.serving import small_plan

RUN = "0" * 16
CODECS = ["float32", "float16", "eden:bits=1", "blockwise:rate=0.1", "topk:share=0.02"]


def publish(plan: Plan, codec: str, weights: list[Vector], **extra: float) -> list[Published]:
    downlink = Downlink(run=RUN, segments=plan.segments().all, codec=codec, **extra)
    made: list[Published] = []
    for version, each in enumerate(weights):
        before = made[-1].replica if made else None
        seed_of = partial(derive_seed, 1, version)
        made.append(downlink.publish(each, before, version=version, seed_of=seed_of))
    return made


def walk(plan: Plan, steps: int, *, rest: int = 0, size: float = 0.05) -> list[Vector]:
    """A model that moves, then rests."""
    random = np.random.Generator(np.random.PCG64(5))
    weights = [plan.whole_weights()]
    for step in range(steps + rest):
        move = random.standard_normal(len(weights[0])).astype(np.float32) * np.float32(size)
        weights.append(weights[-1] + (move if step < steps else 0))
    return weights


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("plan", [small_plan(), staged_plan()], ids=["one segment", "three"])
def test_devices_hold_the_replica_to_the_bit(plan: Plan, codec: str) -> None:
    segments = plan.segments()
    held = {s.number: s.where.take(plan.whole_weights()) for s in segments.all}
    for version, made in enumerate(publish(plan, codec, walk(plan, 6))):
        if version == 0:
            continue
        data = made.snapshot if made.delta is None else made.delta
        assert (made.delta is None) == (codec in {"float32", "float16"})
        held = read_model(
            data, run=RUN, version=version, segments=segments.all, held=held, have=version - 1
        )
        for segment in segments.all:
            assert np.array_equal(held[segment.number], segment.where.take(made.replica))
        again = read_model(
            made.snapshot, run=RUN, version=version, segments=segments.all, held={}, have=None
        )
        assert all(np.array_equal(again[number], held[number]) for number in held)


@pytest.mark.parametrize("codec", CODECS[2:])
def test_what_is_left_out_goes_out_later(codec: str) -> None:
    plan = small_plan()
    weights = walk(plan, 5, rest=120)
    made = publish(plan, codec, weights)
    behind = [np.linalg.norm(w - m.replica) for w, m in zip(weights, made, strict=True)]
    assert behind[-1] < 0.5 * behind[5]
    assert all(b <= a * 1.0001 for a, b in itertools.pairwise(behind[5:]))


def test_an_unbiased_code_of_much_error_runs_away_at_full_speed_and_follows_when_damped() -> None:
    plan, codec = small_plan(), "randomk:share=0.1"  # error 9
    weights = walk(plan, 10, rest=60)
    stormy = publish(plan, codec, weights, speed=1.0)
    damped = publish(plan, codec, weights, speed=0.1)
    fitted = publish(plan, codec, weights)
    behind = np.linalg.norm(weights[10] - damped[10].replica)
    assert np.linalg.norm(weights[-1] - stormy[-1].replica) > 1000 * behind
    assert np.linalg.norm(weights[-1] - damped[-1].replica) < 0.2 * behind
    assert np.linalg.norm(weights[-1] - fitted[-1].replica) < 0.2 * behind


@pytest.mark.parametrize(
    ("codec", "speed", "stable"),
    [
        ("blockwise:rate=0.1", 1.0, False),
        ("blockwise:rate=0.1", 0.05, True),
        ("blockwise:rate=0.1", None, True),
        ("eden:bits=1", 1.0, True),
        ("topk:share=0.01", 1.0, True),
        ("randomk:share=0.1", 1.0, False),
        ("float16", 1.0, True),
    ],
)
def test_settings_that_would_run_away_are_refused(
    codec: str, speed: float | None, stable: bool
) -> None:
    if stable:
        check_stable(codec, speed)
    else:
        with pytest.raises(Misuse, match="run away"):
            check_stable(codec, speed)


@settings(max_examples=100, deadline=None)
@given(
    have=st.none() | st.integers(0, 8),
    version=st.integers(1, 8),
    oldest=st.integers(1, 8),
    sizes=st.lists(st.integers(1, 50), min_size=8, max_size=8),
)
def test_the_cheaper_way_is_taken_and_it_arrives(
    have: int | None, version: int, oldest: int, sizes: list[int]
) -> None:
    kept = {
        n: Contents(((0, 100), (100, 10)), ((0, size), (size, 7)))
        for n, size in enumerate(sizes, start=1)
        if n >= min(oldest, version)
    }
    slices = choose(kept, version=version, wanted=[0, 1], have=have, held={0})
    assert slices[-1] == Slice(version, "snapshot", 100, 10), "segment 1 is not held"
    first = slices[:-1]
    steps = [] if have is None else range(have + 1, version + 1)
    possible = have is not None and have <= version and all(n in kept for n in steps)
    if first == [Slice(version, "snapshot", 0, 100)]:
        assert not possible or sum(sizes[n - 1] for n in steps) >= 100
    else:
        assert possible
        assert [part.version for part in first] == list(steps)
        assert sum(part.size for part in first) < 100
