"""Who may train a smaller stage than the round's own, so that every block gets trainers. Pure.

A device that trains a stage trains all blocks up to it, so the newest block, with its head, has the
fewest trainers: enough of those is enough of all. A round therefore has a number of *small places*.
Whoever holds one may train any stage from `Terms.least_stage` on; whoever does not trains the
round's stage or sits out. A place counts as taken until its holder's first chunk shows that it
trains the full stage after all, so the promise holds whatever devices choose:

- of the updates that close a round, at least `stage_quorum` of the cohort are of its own stage;
- of those that make a version at the deadline, however few, at least one is.

Small places go to devices that may need one: not to those that trained this stage when they last
took part. Such a device gets one after it sat a round out.
"""

import dataclasses
import math
from collections.abc import Iterable

from server_ref.settings import Terms


def cohort_of_stage(terms: Terms) -> int:
    """Updates of a round's own stage that it waits for."""
    return math.ceil(terms.stage_quorum * terms.cohort - 1e-9)


def small_places(terms: Terms) -> int:
    """Devices that may train a smaller stage at once; 0 where none may."""
    return max(0, min(terms.cohort - cohort_of_stage(terms), terms.min_updates - 1))


@dataclasses.dataclass(frozen=True, slots=True)
class Placed:
    """A device with a small place that has not left the round."""

    stage: int | None
    """That it trains; None before its first chunk."""


def may_train_less(terms: Terms, placed: Iterable[Placed], *, last: int | None) -> bool:
    """Whether one more device gets a small place.

    Args:
        terms: of the round.
        placed: who has one.
        last: stage that the device trained when it last took part; None where it did not.
    """
    if terms.least_stage is None or (last is not None and last >= terms.stage):
        return False
    taken = sum(one.stage is None or one.stage < terms.stage for one in placed)
    return taken < small_places(terms)
