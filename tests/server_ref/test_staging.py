"""Promise: what a round trains follows from the rounds on record and the settings."""

import dataclasses
from pathlib import Path

import pytest

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import Evaluation
from server_ref.coordinator.staging import (
    check_growth,
    next_terms,
    past_of,
    past_of_round,
    versions_wanted,
)
from server_ref.growth import Past
from server_ref.settings import Terms
from server_ref.store.records import RoundRow
from tests.server_ref.fleet import growing_plan, staged_plan
from tests.server_ref.serving import settings, small_plan


def played(plan: Plan, **changes: object) -> list[Terms]:
    """Terms of all rounds of a run in which each makes a version."""
    given = settings(Path("unused"), **changes)
    past: list[Past] = []
    terms: list[Terms] = []
    while (one := next_terms(given, plan, past)) is not None:
        terms.append(one)
        past.append(past_of_round(one, None))
    assert len(terms) == versions_wanted(given, plan)
    return terms


def test_a_plan_of_several_stages_grows_in_equal_shares_by_default() -> None:
    assert [one.stage for one in played(growing_plan(), rounds=6)] == [0, 0, 0, 1, 1, 1]
    assert [one.stage for one in played(growing_plan(), rounds=6, schedule="whole")] == [1] * 6
    assert [one.stage for one in played(small_plan(), rounds=3)] == [0] * 3


def test_warm_ups_come_on_top_and_take_their_stage_alone() -> None:
    found = played(
        growing_plan(), rounds=4, warm_up_rounds=2, cohort=6, min_updates=4, least_stage=0
    )
    assert [(t.stage, t.warm_up) for t in found] == [
        *[(0, False)] * 2, *[(1, True)] * 2, *[(1, False)] * 2,
    ]  # fmt: skip
    assert [t.least_stage for t in found] == [None] * 4 + [0] * 2
    assert [(t.cohort, t.min_updates) for t in found] == [
        *[(6, 4)] * 2, *[(3, 3)] * 2, *[(6, 4)] * 2,
    ]  # fmt: skip


def test_the_learning_rate_falls_over_the_rounds_but_not_in_warm_ups() -> None:
    found = played(growing_plan(), rounds=4, warm_up_rounds=1, decay="cosine", learning_rate=1.0)
    rates = [t.learning_rate for t in found]
    assert rates[0] == rates[2] == 1.0
    assert [rates[1], rates[3]] == pytest.approx([0.75, 0.25])
    assert 0 < rates[4] < 1e-4


def test_early_stages_offer_no_split() -> None:
    found = played(growing_plan(), rounds=2, ways=("split", "full"))
    assert [t.ways for t in found] == [("full",), ("split", "full")]
    assert [t.stage for t in played(growing_plan(), rounds=2, ways=("split",))] == [1, 1]


def _row(number: int, version: int, terms: Terms, **changes: object) -> RoundRow:
    row = RoundRow(
        number=number, state="published", model_version=version, terms=terms,
        opened_at=0.0, closed_at=1.0, loss=1.0, accuracy=None, measured=True, closing=None,
    )  # fmt: skip
    return dataclasses.replace(row, **changes)  # type: ignore[arg-type]  # fields of RoundRow


def test_abandoned_rounds_do_not_count_and_a_version_brought_back_does() -> None:
    early = settings(Path("unused")).terms()
    late = dataclasses.replace(early, stage=1, warm_up=True)
    rows = [
        _row(1, 0, early),
        _row(2, 1, early, state="abandoned"),
        _row(3, 2, late, state="open", loss=None),
    ]
    brought_back = past_of(rows, 2)
    assert brought_back == [Past(0, warm_up=False, loss=1.0)] * 2
    ending = past_of_round(late, Evaluation(examples=1, loss=2.0, accuracy=0.5))
    assert past_of(rows, 3, ending=[ending]) == [
        *brought_back, Past(1, warm_up=True, loss=2.0, accuracy=0.5),
    ]  # fmt: skip
    assert past_of([], 0) == []


@pytest.mark.parametrize(
    ("plan", "changes"),
    [
        (growing_plan(), {"schedule": "plateau"}),
        (growing_plan(), {"schedule": "equal", "ways": ("split",)}),
        (staged_plan(), {"warm_up_rounds": 1}),
        (growing_plan(), {"least_stage": 2}),
        (growing_plan(), {"least_stage": 0, "cohort": 4, "min_updates": 1}),
        (growing_plan(), {"least_stage": 0, "cohort": 4, "stage_quorum": 1.0}),
    ],
)
def test_what_cannot_be_kept_is_refused_at_the_start(
    plan: Plan, changes: dict[str, object]
) -> None:
    with pytest.raises(Misuse):
        check_growth(settings(Path("unused"), **changes), plan, measures=False)
