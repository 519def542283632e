"""Stages follow from the rounds that made versions, as ProgFed says."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server_ref.growth import Growth, Past, Turn, ends, learning_rate, most_versions, next_turn


def played(growth: Growth, accuracies: list[float] | None = None) -> list[Turn]:
    """All turns of a run, each judged with the next of `accuracies`, the last of which stays."""
    past: list[Past] = []
    turns: list[Turn] = []
    while (turn := next_turn(growth, past)) is not None:
        turns.append(turn)
        accuracy = accuracies[min(len(past), len(accuracies) - 1)] if accuracies else None
        past.append(Past(turn.stage, turn.warm_up, accuracy=accuracy))
        assert len(past) < 20_000
    return turns


growths = st.builds(
    Growth,
    stages=st.integers(1, 6),
    rounds=st.integers(1, 60),
    schedule=st.sampled_from(["equal", "halved", "plateau"]),
    warm_up_rounds=st.integers(0, 3),
    patience=st.integers(1, 4),
)


@given(growths, st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_stages_only_grow_end_with_the_whole_model_and_count_the_wanted_rounds(
    growth: Growth, accuracies: list[float]
) -> None:
    turns = played(growth, accuracies)
    assert all(a.stage <= b.stage for a, b in itertools.pairwise(turns))
    assert sum(not turn.warm_up for turn in turns) == growth.rounds
    assert turns[-1].stage == growth.stages - 1
    assert not turns[-1].warm_up


@given(growths)
def test_every_growth_that_trains_begins_with_its_warm_ups(growth: Growth) -> None:
    for stage, group in itertools.groupby(played(growth), key=lambda turn: turn.stage):
        warm = [turn.warm_up for turn in group]
        wanted = growth.warm_up_rounds if stage else 0
        assert warm[:wanted] == [True] * min(wanted, len(warm))
        assert not any(warm[wanted:])


@pytest.mark.parametrize(
    ("stages", "rounds", "each"), [(4, 3000, 375), (2, 3000, 750), (3, 3000, 500), (3, 1500, 250)]
)
def test_halved_is_the_schedule_of_the_papers_configurations(
    stages: int, rounds: int, each: int
) -> None:
    turns = played(Growth(stages=stages, rounds=rounds, schedule="halved"))
    lengths = [len(list(group)) for _, group in itertools.groupby(turns, lambda turn: turn.stage)]
    assert lengths == [each] * (stages - 1) + [rounds - (stages - 1) * each]


@pytest.mark.parametrize(
    ("sizes", "rounds", "warm_up", "share"),
    [
        ((156_324, 688_292, 2_800_804, 11_220_132), 3000, 25, 0.674),
        ((2_366, 22_846, 1_206_590), 1500, 5, 0.674),
        ((1_226, 20_042, 56_970, 122_960), 2000, 0, 0.706),
    ],
)
def test_parameters_sent_over_those_of_end_to_end_training_are_the_papers(
    sizes: tuple[int, ...], rounds: int, warm_up: int, share: float
) -> None:
    growth = Growth(stages=len(sizes), rounds=rounds, schedule="halved", warm_up_rounds=warm_up)
    sent = sum(sizes[turn.stage] for turn in played(growth))
    assert sent / (rounds * sizes[-1]) == pytest.approx(share, abs=0.006)


def test_a_stage_that_no_longer_gains_ends_early() -> None:
    growth = Growth(stages=2, rounds=100, schedule="plateau", patience=5)
    turns = played(growth, [0.1, 0.2, 0.3, 0.4, 0.5])
    first = [turn for turn in turns if turn.stage == 0]
    assert len(first) == 5 + 5


def test_a_stage_whose_quality_is_unknown_keeps_its_equal_share() -> None:
    turns = played(Growth(stages=2, rounds=20, schedule="plateau", patience=2))
    assert sum(turn.stage == 0 for turn in turns) == 10


def test_the_loss_tells_a_plateau_where_there_are_no_classes() -> None:
    growth = Growth(stages=2, rounds=40, schedule="plateau", patience=3)
    past = [Past(0, warm_up=False, loss=loss) for loss in (4.0, 3.0, 2.0, 2.0, 2.0, 2.0)]
    turn = next_turn(growth, past)
    assert turn is not None
    assert turn.stage == 1


def test_the_rate_falls_over_the_whole_run_and_warm_ups_do_not_move_it() -> None:
    growth = Growth(stages=3, rounds=30, warm_up_rounds=2, decay="cosine")
    turns = played(growth)
    rates = [learning_rate(growth, turn, 0.1) for turn in turns]
    ordinary = [rate for rate, turn in zip(rates, turns, strict=True) if not turn.warm_up]
    assert ordinary[0] == 0.1
    assert ordinary == sorted(ordinary, reverse=True)
    assert ordinary[-1] == pytest.approx(0.1 * 1e-5)
    assert [r for r, turn in zip(rates, turns, strict=True) if turn.warm_up] == [0.1] * 4


def test_stages_share_the_rounds_and_the_run_ends_with_the_last() -> None:
    assert ends(Growth(stages=4, rounds=10)) == (2, 5, 7, 10)
    assert ends(Growth(stages=1, rounds=10)) == (10,)


@given(growths)
def test_how_many_versions_a_run_makes_is_known_from_the_start(growth: Growth) -> None:
    assert most_versions(growth) == len(played(growth))
