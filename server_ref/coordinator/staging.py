"""What the next round promises: the settings' terms, and the stage it trains. Pure.

Stages follow from the versions made so far (`server_ref.growth`), which are on record, so a server
that restarts grows where it would have grown anyway.
"""

import dataclasses
from collections.abc import Collection, Sequence
from functools import cache

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import Evaluation
from server_ref.coordinator.cohort import cohort_of_stage, small_places
from server_ref.growth import Growth, Past, Turn, learning_rate, most_versions, next_turn
from server_ref.memory import default_speed
from server_ref.settings import Settings, Terms
from server_ref.store.records import RoundRow


def check_growth(settings: Settings, plan: Plan, *, measures: bool) -> None:
    """See that the run can grow as the settings say.

    Args:
        settings: of the run.
        plan: to train.
        measures: whether versions are measured.

    Raises:
        Misuse: they ask for what the plan, or what else they ask for, does not allow.
    """
    growth = growth_of(settings, plan)
    if settings.schedule == "plateau" and not measures:
        raise Misuse("schedule plateau needs test data: give evaluate")
    if growth is not None and "full" not in settings.ways:
        raise Misuse("a run whose devices only train split cannot grow: schedule whole")
    lacking = [n for n in range(1, plan.stages) if not plan.has_warm_up(n)]
    if growth is not None and settings.warm_up_rounds and lacking:
        raise Misuse(f"warm_up_rounds: stage {lacking[0]} of this plan has no warm-up graph")
    if settings.least_stage is None:
        return
    if settings.least_stage >= plan.stages:
        raise Misuse(f"least_stage {settings.least_stage}: the plan has {plan.stages} stages")
    if plan.stages > 1 and not small_places(settings.terms()):
        raise Misuse(
            "least_stage: no device could train a smaller stage; make stage_quorum smaller or "
            "min_updates larger, because every version needs one update of the round's own stage"
        )


def growth_of(settings: Settings, plan: Plan) -> Growth | None:
    """When the run grows; None where every round trains the whole model."""
    schedule = settings.schedule
    if schedule is None:
        schedule = "equal" if "full" in settings.ways else "whole"
    if schedule == "whole" or plan.stages == 1:
        return None
    return Growth(
        stages=plan.stages,
        rounds=settings.rounds,
        schedule=schedule,
        warm_up_rounds=settings.warm_up_rounds,
        patience=settings.patience,
        decay=settings.decay,
    )


def versions_wanted(settings: Settings, plan: Plan) -> int:
    """Versions after which the run is finished."""
    growth = growth_of(settings, plan)
    return settings.rounds if growth is None else most_versions(growth)


def next_terms(settings: Settings, plan: Plan, past: Sequence[Past]) -> Terms | None:
    """The terms of the round about to open; None after the last.

    This is the one place where it is decided which stage a round trains.

    Args:
        settings: of the run.
        plan: to train.
        past: the rounds that made the versions there are, oldest first.
    """
    last = plan.stages - 1
    growth = growth_of(settings, plan)
    if growth is None:
        growth = Growth(stages=1, rounds=settings.rounds, decay=settings.decay)
        past = [dataclasses.replace(one, stage=0) for one in past]
        turn = next_turn(growth, past)
        turn = turn and dataclasses.replace(turn, stage=last)
    else:
        turn = next_turn(growth, past)
    if turn is None:
        return None
    terms = settings.terms()
    speed = terms.memory_speed
    if terms.memory == "artemis" and speed is None:
        speed = _speed(terms.codecs)
    return _staged(
        dataclasses.replace(
            terms,
            memory_speed=speed,
            learning_rate=learning_rate(growth, turn, settings.learning_rate),
        ),
        turn,
        least=settings.least_stage,
        last=last,
    )


def _staged(terms: Terms, turn: Turn, *, least: int | None, last: int) -> Terms:
    """The same for a stage.

    A warm-up takes its own stage alone, because all that smaller ones train stands still, and so
    expects only the devices that can. Split learning is of the whole model.
    """
    whole = turn.stage == last and not turn.warm_up
    smaller = least is not None and least < turn.stage
    cohort, min_updates = terms.cohort, terms.min_updates
    if turn.warm_up and smaller:
        cohort = cohort_of_stage(terms)
        min_updates = min(min_updates, cohort)
    return dataclasses.replace(
        terms,
        stage=turn.stage,
        warm_up=turn.warm_up,
        least_stage=least if smaller and not turn.warm_up else None,
        cohort=cohort,
        min_updates=min_updates,
        ways=terms.ways if whole else ("full",),
    )


def past_of(rows: Sequence[RoundRow], version: int, *, ending: Collection[Past] = ()) -> list[Past]:
    """What made the versions 1 to `version`, oldest first.

    A version that brings an old one back counts as one more of the round before it, without gain.

    Args:
        rows: of all rounds.
        version: the newest.
        ending: of the round that makes the newest version, while that is not on record.
    """
    made = {row.model_version + 1: row for row in rows if row.state == "published"}
    past: list[Past] = []
    for number in range(1, version + 1 - len(ending)):
        row = made.get(number)
        if row is not None:
            past.append(Past(row.terms.stage, row.terms.warm_up, row.loss, row.accuracy))
        else:
            past.append(past[-1] if past else Past(0, warm_up=False))
    return [*past, *ending]


def before_turn(past: Sequence[Past], terms: Terms) -> int:
    """How many versions were made before those of the turn that a round goes on with.

    A turn is a stage, or its warm-up: the server's optimizer and the mean of versions begin with
    it, as ProgFed's optimizers do.
    """
    number = len(past)
    turn = (terms.stage, terms.warm_up)
    while number and (past[number - 1].stage, past[number - 1].warm_up) == turn:
        number -= 1
    return number


def past_of_round(terms: Terms, figures: Evaluation | None) -> Past:
    """A round that has just made a version."""
    if figures is None:
        return Past(terms.stage, terms.warm_up)
    return Past(terms.stage, terms.warm_up, figures.loss, figures.accuracy)


@cache
def _speed(codecs: tuple[str, ...]) -> float:
    return default_speed(codecs)
