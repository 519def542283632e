import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.runtime.backoff import Backoff

seeds = st.integers(0, 2**53)


@given(failures=st.integers(1, 10_000), seed=seeds)
def test_a_delay_stays_under_its_ceiling(failures: int, seed: int) -> None:
    backoff = Backoff(base_s=2.0, cap_s=60.0)
    assert 0 <= backoff.delay_s(failures, seed=seed) < backoff.ceiling_s(failures) <= 60.0


def test_ceilings_double_up_to_the_cap() -> None:
    backoff = Backoff(base_s=1.0, cap_s=10.0)
    assert [backoff.ceiling_s(n) for n in range(1, 7)] == [1, 2, 4, 8, 10, 10]


def test_a_fleet_comes_back_spread_out() -> None:
    delays = [Backoff().delay_s(5, seed=seed) / Backoff().ceiling_s(5) for seed in range(400)]
    quarters = [sum(i / 4 <= d < (i + 1) / 4 for d in delays) for i in range(4)]
    assert all(70 <= count <= 130 for count in quarters)
    assert Backoff().delay_s(5, seed=1) == Backoff().delay_s(5, seed=1)


@given(wait=st.floats(0, 1e6), seed=seeds, turn=st.integers(0, 10**6))
def test_a_wait_the_server_asked_for_is_never_shortened(wait: float, seed: int, turn: int) -> None:
    assert wait <= Backoff().asked_s(wait, seed=seed, turn=turn) <= wait * 1.1


def test_a_schedule_that_makes_no_sense_is_refused() -> None:
    for base, cap in [(0.0, 1.0), (2.0, 1.0)]:
        with pytest.raises(ValueError, match="schedule"):
            Backoff(base_s=base, cap_s=cap)
