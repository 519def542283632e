"""Promise: whatever devices choose, enough of every version's updates are of its own stage."""

import dataclasses
import itertools
from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from server_ref.coordinator.cohort import (
    Placed,
    cohort_of_stage,
    may_train_less,
    small_places,
)
from server_ref.settings import Terms

TERMS = Terms(
    cohort=10,
    min_updates=5,
    over_selection=1.0,
    deadline_s=60.0,
    codecs=("float32",),
    epochs=1,
    batch_size=8,
    learning_rate=0.1,
    chunk_bytes=1024,
    stage=2,
    least_stage=0,
)


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    cohort = draw(st.integers(1, 12))
    stage = draw(st.integers(1, 4))
    return dataclasses.replace(
        TERMS,
        cohort=cohort,
        min_updates=draw(st.integers(1, cohort)),
        stage=stage,
        least_stage=draw(st.integers(0, stage - 1)),
        stage_quorum=draw(st.floats(0.01, 1)),
    )


@dataclasses.dataclass(frozen=True)
class Arrival:
    """A device, what it would train if it may choose, and how far it gets."""

    wants: int
    last: int | None
    capable: bool
    sends: bool
    leaves: bool


arrivals = st.lists(
    st.builds(
        Arrival,
        wants=st.integers(0, 4),
        last=st.none() | st.integers(0, 4),
        capable=st.booleans(),
        sends=st.booleans(),
        leaves=st.booleans(),
    ),
    max_size=60,
)


def counted(round_terms: Terms, devices: list[Arrival]) -> Iterator[int]:
    """Stages of the updates of a round in the order of their commits."""
    placed: dict[int, Placed] = {}
    for number, one in enumerate(devices):
        stage = round_terms.stage
        if may_train_less(round_terms, placed.values(), last=one.last):
            stage = min(max(one.wants, round_terms.least_stage or 0), stage)
            if not one.leaves:
                placed[number] = Placed(stage if one.sends else None)
        elif not one.capable:
            continue
        if one.sends and not one.leaves:
            yield stage


@settings(max_examples=300, deadline=None)
@given(terms(), arrivals)
def test_every_version_has_its_share_of_the_full_stage(
    round_terms: Terms, devices: list[Arrival]
) -> None:
    committed: list[int] = []
    for stage in itertools.islice(counted(round_terms, devices), round_terms.cohort):
        committed.append(stage)
        small = sum(stage < round_terms.stage for stage in committed)
        assert small <= small_places(round_terms)
        if len(committed) >= round_terms.min_updates:
            assert small < len(committed)
    if len(committed) == round_terms.cohort:
        assert committed.count(round_terms.stage) >= cohort_of_stage(round_terms)


def test_places_that_showed_to_be_full_are_free_again() -> None:
    assert small_places(TERMS) == 4
    some = [Placed(None), Placed(1), Placed(0)]
    assert may_train_less(TERMS, [*some, Placed(2)], last=None)
    assert not may_train_less(TERMS, [*some, Placed(None)], last=None)


def test_who_trained_the_stage_last_needs_no_place() -> None:
    assert may_train_less(TERMS, [], last=1)
    assert not may_train_less(TERMS, [], last=2)


def test_without_a_least_stage_nobody_trains_less() -> None:
    alone = dataclasses.replace(TERMS, least_stage=None)
    assert not may_train_less(alone, [], last=None)


def test_the_quorum_is_rounded_up() -> None:
    assert cohort_of_stage(dataclasses.replace(TERMS, cohort=3, min_updates=2)) == 2
    assert cohort_of_stage(dataclasses.replace(TERMS, stage_quorum=0.3)) == 3
