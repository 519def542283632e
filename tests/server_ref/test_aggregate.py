"""Promise: a coordinate is averaged over those who trained it; history outlives a restart."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.plan import Spans
from edge_sdk.values import Coordinates, Piece, Vector
from server_ref.aggregate import Decoded, ServerOptimizer, Tally, averaged, optimize
from server_ref.memory import Remembered, default_speed, exchange, mean_of_all, moved
from tests.server_ref.fleet import staged_plan

STAGES = {0: Spans(((0, 2),)), 1: Spans(((0, 1), (2, 2)))}


def update(stage: int, values: list[float], *, examples: int, error: float | None = 0.0) -> Decoded:
    piece = Piece(Coordinates.span(0, len(values)), np.array(values, np.float32))
    return Decoded(stage=stage, examples=examples, error=error, pieces=[piece])


def tally(**changes: object) -> Tally:
    given = {"weighing": "examples", "shrink": False} | changes
    return Tally(5, STAGES.__getitem__, **given)  # type: ignore[arg-type]  # as given


def test_blocks_are_averaged_over_the_stages_that_have_them() -> None:
    total = tally()
    total.add(update(0, [1, 2], examples=1))
    total.add(update(1, [5, 6, 7], examples=3))
    mean = total.mean()
    assert mean.values.tolist() == [4, 2, 6, 7, 0]
    assert mean.covered.tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("weighing", "expected"), [("examples", 2.5), ("equal", 2.0), ("error", (3 * 3 + 1 / 2) / 3.5)]
)
def test_updates_weigh_what_was_asked(weighing: str, expected: float) -> None:
    total = tally(weighing=weighing)
    total.add(update(0, [1, 1], examples=1, error=1.0))
    total.add(update(0, [3, 3], examples=3, error=None))
    assert total.mean().values[0] == pytest.approx(expected)


def test_a_mean_of_noise_is_shrunk_and_a_clean_one_is_not() -> None:
    for error, factor in ((0.5, 1.0), (30.0, 4 / 31)):
        total = tally(shrink=True)
        total.add(update(0, [1, 1], examples=1, error=error))
        mean = total.mean()
        assert mean.factor == pytest.approx(factor)
        assert mean.values[0] == pytest.approx(factor)


def _some(seed: int, size: int = 20) -> Vector:
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(size).astype(np.float32)


@pytest.mark.parametrize("name", ["fedavg", "momentum", "fedadam"])
def test_what_nobody_trained_does_not_move(name: str) -> None:
    optimizer = ServerOptimizer(name=name)  # type: ignore[arg-type]  # one of them
    weights, covered = _some(1), np.arange(20) < 12
    kept: dict[str, Vector] = {}
    for seed in range(3):
        mean = np.where(covered, _some(seed).astype(np.float64), 0.0)
        after, history = optimize(optimizer, weights, mean, covered, kept)
        assert np.array_equal(after[12:], weights[12:])
        assert (after[:12] != weights[:12]).all()
        for vector in history.values():
            assert vector.dtype == np.float32
            assert len(set(vector[12:].tolist())) == 1
        weights, kept = after, history


def test_the_steps_are_those_of_the_papers() -> None:
    weights, everywhere = np.zeros(1, np.float32), np.ones(1, np.bool_)
    ones = np.ones(1)
    half = ServerOptimizer(learning_rate=0.5)
    assert optimize(half, weights, ones, everywhere, {})[0][0] == 0.5
    momentum = ServerOptimizer(name="momentum", momentum=0.5)
    first, kept = optimize(momentum, weights, ones, everywhere, {})
    second, _ = optimize(momentum, first, ones, everywhere, kept)
    assert (first[0], second[0]) == (1.0, 2.5)
    adam = ServerOptimizer(name="fedadam", momentum=0.9, second=0.99, epsilon=0.1)
    moved_to, kept = optimize(adam, weights, ones, everywhere, {})
    v = 0.99 * 0.1**2 + 0.01
    assert moved_to[0] == pytest.approx(0.1 / (v**0.5 + 0.1))
    assert kept["second"][0] == pytest.approx(v)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=12))
def test_the_average_is_the_mean_of_all_versions(seeds: list[int]) -> None:
    models = [_some(seed) for seed in seeds]
    average = np.zeros(20, np.float32)
    for count, model in enumerate(models, start=1):
        average = averaged(average, model, count)
    np.testing.assert_allclose(average, np.mean(models, axis=0, dtype=np.float64), atol=1e-5)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(1, 50), st.integers(0, 99)),
        max_size=15,
    )
)
def test_the_sum_of_memories_stays_what_the_devices_hold(
    events: list[tuple[int, int, int, int]],
) -> None:
    segments = staged_plan().segments()
    total = np.zeros(segments.size)
    held: dict[str, tuple[float, Vector]] = {}
    known: dict[str, Remembered] = {}
    for device, stage, examples, seed in events:
        where = segments.stage(stage)
        piece = Piece(Coordinates.span(0, where.size), _some(seed, where.size))
        name = str(device)
        start = held[name][1] if name in held else np.zeros(segments.size, np.float32)
        after = (float(examples), moved(start, where, [piece], speed=0.3))
        exchange(total, held.get(name), after)
        before = known[name].segments if name in known else ()
        numbers = {segment.number for segment in segments.of_stage(stage)} | set(before)
        known[name] = Remembered(after[0], tuple(sorted(numbers)))
        held[name] = after
    expected = np.zeros(segments.size)
    for heavy, vector in held.values():
        expected += heavy * vector.astype(np.float64)
    np.testing.assert_allclose(total, expected, atol=1e-9)
    mean = mean_of_all(total, known, segments.all, fleet=8)
    for segment in segments.all:
        those = [d for d in known if segment.number in known[d].segments]
        weight = sum(known[d].weight for d in those) * 8 / max(len(known), 1)
        own = segment.where.take(mean.astype(np.float32))
        if those:
            np.testing.assert_allclose(
                own, (segment.where.take(total.astype(np.float32)) / weight), atol=1e-5
            )
        else:
            assert not own.any()


def test_all_forgotten_is_nothing_left() -> None:
    total, memory = np.zeros(20), (3.0, _some(4))
    exchange(total, None, memory)
    assert total.any()
    exchange(total, memory, None)
    assert not total.any()


def test_the_default_speed_follows_the_codecs_error() -> None:
    assert default_speed(("eden:bits=1",)) == pytest.approx(1 / (2 * 1.571), rel=0.03)
    assert default_speed(("eden:bits=4", "eden:bits=1")) == default_speed(("eden:bits=1",))
    assert default_speed(("auto:rate=0.1",)) < 0.1
