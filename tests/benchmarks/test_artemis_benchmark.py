"""Promise: `benchmarks.artemis` measures the methods it names, to the right optimum and in bits."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import artemis
from benchmarks.artemis_methods import Method, Setting, _Run, run
from benchmarks.artemis_plot import draw, method_of, scene_of
from benchmarks.artemis_problem import Problem, make_problem


@pytest.fixture(scope="module")
def problem() -> Problem:
    random = np.random.default_rng(3)
    x = random.standard_normal((240, 8))
    return make_problem("small", x, x[:, 0] + 0.3 * x[:, 1] > 0, devices=6, condition=20.0)


def named(problem: Problem, name: str) -> Method:
    return next(m for m in artemis.methods(problem.dimension) if m.name == name)


def test_the_optimum_is_where_the_gradient_vanishes_but_not_that_of_a_device(
    problem: Problem,
) -> None:
    best = problem.optimum()
    gradients = [problem.gradient(device, best) for device in range(6)]
    assert np.abs(np.mean(gradients, 0)).max() < 1e-13
    assert problem.heterogeneity() > 1e-2
    away = best + 1e-3 * np.random.default_rng(0).standard_normal(len(best))
    assert problem.value(away) > problem.value(best)


def test_gradients_are_the_slope_of_the_value(problem: Problem) -> None:
    random = np.random.default_rng(1)
    weights, along = random.standard_normal((2, problem.dimension))
    mean = np.mean([problem.gradient(device, weights) for device in range(6)], 0)
    slope = (problem.value(weights + 1e-5 * along) - problem.value(weights - 1e-5 * along)) / 2e-5
    assert slope == pytest.approx(float(mean @ along), rel=1e-6)


@pytest.mark.parametrize("taking_part", [1.0, 0.5])
def test_memory_removes_the_floor_and_two_ways_need_the_fewest_bits(
    problem: Problem, taking_part: float
) -> None:
    setting = Setting(rounds=250, step=0.5, taking_part=taking_part)
    best = problem.optimum()
    found = {m.name: run(problem, m, setting, optimum=best) for m in artemis.methods(9)}
    for with_memory, without in (("diana", "qsgd"), ("artemis", "biqsgd"), ("mcm", "biqsgd")):
        assert found[with_memory].excess_log10 < found[without].excess_log10 - 1
    payload = {name: each.bits - each.header_bits for name, each in found.items()}
    assert payload["artemis"] < 0.9 * payload["diana"] < 0.8 * payload["sgd"]


def test_the_server_holds_the_mean_of_the_memories_of_all_devices(problem: Problem) -> None:
    setting = Setting(rounds=7, step=0.5, taking_part=0.5, seed=4)
    one = _Run(problem, named(problem, "artemis"), setting)
    one.finish(0.0)
    kept = [np.zeros(problem.dimension) if m is None else m for m in one.kept]
    assert np.allclose(one.mean_memory, np.mean(kept, 0), atol=1e-6)
    assert np.abs(one.mean_memory).max() > 1e-3


def test_uncompressed_bits_are_those_of_float32_frames(problem: Problem) -> None:
    outcome = run(problem, named(problem, "sgd"), Setting(rounds=10, step=0.5), optimum=np.zeros(9))
    frame = 8 * (56 + 4 * 9)
    assert outcome.bits_up == 10 * 6 * frame
    assert outcome.bits_down == 9 * 6 * frame, "everybody begins at zero without a download"
    assert outcome.header_bits == 19 * 6 * 8 * 56


def test_a_device_that_was_away_fetches_what_it_missed_or_the_whole(problem: Problem) -> None:
    half = Setting(rounds=60, step=0.5, taking_part=0.5)
    one = _Run(problem, named(problem, "artemis"), half)
    one.messages = [0, 100, 200, 300, 8 * (56 + 36) + 200]
    whole = 8 * (56 + 36)
    for device, had, fetched in ((0, 1, 200), (1, 3, 0), (2, 0, 300)):
        before = one.bits_down
        one.version_of[device] = had
        one._fetch(device, 3)
        assert one.bits_down - before == fetched
    before = one.bits_down
    one._fetch(4, 4)
    assert one.bits_down - before == whole


def test_the_json_has_both_keys_for_every_run_and_the_plot_is_drawn(
    problem: Problem, tmp_path: Path
) -> None:
    wanted = {n: (m, s) for n, (m, s) in artemis.jobs(9, quick=True).items()}
    short = {n: run(problem, m, Setting(rounds=12, step=0.5), optimum=np.zeros(9))
             for n, (m, _) in wanted.items()}  # fmt: skip
    told = json.loads(json.dumps(artemis.figures(problem, short)))
    assert set(told["excess_log10"]) == set(told["bits"]) == set(wanted)
    assert {"sgd", "qsgd", "diana", "biqsgd", "artemis", "mcm", "artemis-half-pp2"} <= set(wanted)
    draw(short, tmp_path / "plot.png", title="small")
    assert (tmp_path / "plot.png").stat().st_size > 10_000
    assert (scene_of("diana-half-pp1"), method_of("diana-half-pp1")) == ("half", "diana")
