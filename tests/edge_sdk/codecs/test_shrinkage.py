"""Server shrinkage: harmless noise passes, dangerous noise is shrunk, advice fits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.codecs.shrinkage import (
    Advice,
    Stated,
    james_stein,
    judge,
    updates_needed,
)
from edge_sdk.errors import Misuse


def equal(count: int, vnmse: float) -> list[Stated]:
    return [Stated(weight=2.0, vnmse=vnmse, energy=5 * (1 + vnmse)) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "vnmse", "factor", "advice"),
    [
        (20, 5.9, 1, Advice.KEEP),
        (5, 14.9, 1, Advice.KEEP),
        (5, 25, 4 / 6, Advice.RICHER),
        (5, 50, 4 / 11, Advice.RICHER),
        (1, 99, 4 / 100, Advice.FEEDBACK),
        (1, 0.57, 1, Advice.KEEP),
        (2, 0, 1, Advice.KEEP),
    ],
)
def test_equal_updates_are_judged_by_error_over_number(
    count: int, vnmse: float, factor: float, advice: Advice
) -> None:
    judgement = judge(equal(count, vnmse))
    assert judgement.load == pytest.approx(vnmse / count)
    assert judgement.factor == pytest.approx(factor)
    assert judgement.noise == pytest.approx(5 * vnmse / count)
    assert judgement.advice is advice


def test_the_plain_form_is_best_for_updates_that_point_the_same_way() -> None:
    rng = np.random.default_rng(0)
    truth, count, vnmse = rng.standard_normal(200_000), 4, 8.0
    noise = rng.standard_normal((count, len(truth))) * np.sqrt(vnmse)
    seen = truth + noise
    stated = [Stated(weight=1, vnmse=vnmse, energy=float(row @ row)) for row in seen]
    factor = judge(stated, harmless=0).factor
    mean = seen.mean(axis=0)
    best = float(mean @ truth) / float(mean @ mean)
    assert factor == pytest.approx(best, rel=0.03)
    energy = float(mean @ mean)
    assert james_stein(energy=energy, noise=vnmse / count * float(truth @ truth)) == pytest.approx(
        best, rel=0.05
    )


def test_a_rich_update_counts_more_than_a_poor_one() -> None:
    mixed = [*equal(3, 30), *equal(3, 0.1)]
    assert judge(mixed).load < judge(equal(6, 30)).load
    heavy = [Stated(weight=9, vnmse=30, energy=31), Stated(weight=1, vnmse=0, energy=1)]
    light = [Stated(weight=1, vnmse=30, energy=31), Stated(weight=9, vnmse=0, energy=1)]
    assert judge(light).load < judge(heavy).load


@given(
    st.lists(
        st.tuples(st.floats(1e-6, 1e6), st.floats(0, 1e6), st.floats(0, 1e20)),
        min_size=1,
        max_size=8,
    ),
    st.floats(0, 10),
)
def test_the_factor_is_a_share_and_more_noise_never_raises_it(
    rows: list[tuple[float, float, float]], harmless: float
) -> None:
    def judged(times: float) -> float:
        stated = [Stated(weight=w, vnmse=v * times, energy=e * (1 + v * times)) for w, v, e in rows]
        return judge(stated, harmless=harmless).factor

    assert 0 < judged(2) <= judged(1) + 1e-12
    assert judged(1) <= 1


def test_zeros_need_no_shrinking() -> None:
    judgement = judge([Stated(weight=1, vnmse=9, energy=0)])
    assert (judgement.factor, judgement.load, judgement.advice) == (1, 0, Advice.KEEP)
    assert judge([]).factor == 1
    assert james_stein(energy=0, noise=1) == 0
    assert james_stein(energy=1, noise=2) == 0


@pytest.mark.parametrize(("vnmse", "count"), [(0, 1), (2.9, 1), (3.1, 2), (25, 9), (57, 19)])
def test_updates_needed_keep_the_load_harmless(vnmse: float, count: int) -> None:
    assert updates_needed(vnmse) == count
    assert judge(equal(count, vnmse)).factor == 1


@pytest.mark.parametrize(
    "bad",
    [
        Stated(weight=0, vnmse=1, energy=1),
        Stated(weight=1, vnmse=-1, energy=1),
        Stated(weight=1, vnmse=float("inf"), energy=1),
        Stated(weight=1, vnmse=1, energy=float("nan")),
    ],
)
def test_impossible_statements_are_misuse(bad: Stated) -> None:
    with pytest.raises(Misuse):
        judge([bad])
    with pytest.raises(Misuse):
        james_stein(energy=-1, noise=0)
    with pytest.raises(Misuse):
        updates_needed(-1)
