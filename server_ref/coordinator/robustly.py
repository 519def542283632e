"""A round's updates combined by a rule that one bad device cannot move far (`server_ref.robust`).

Each update is decoded again at the round's end: once to measure its length and what it covers, and
then chunk by chunk as the rule asks. All of it follows from what is recorded: the same log gives
the same bits.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from edge_sdk.codecs.memory import squared_norm
from edge_sdk.errors import Misuse
from edge_sdk.plan import Spans
from edge_sdk.values import Coordinates, Piece
from server_ref import robust
from server_ref.aggregate import Mean
from server_ref.coordinator.current import CurrentRound
from server_ref.settings import Settings
from server_ref.store.lengths import LengthRow
from server_ref.store.records import UpdateRow

WEIGHT_FACTOR = 4.0
"""An update counts at most this many times the examples of the middle one, where rules clip."""


def check_aggregation(settings: Settings) -> None:
    """See that the rule can keep its promise with these settings.

    Raises:
        Misuse: there is no such rule, rounds may publish too few updates for it, or it does not go
            with memories or split learning.
    """
    rule = robust.rule_from_spec(settings.aggregation)
    if isinstance(rule, robust.Mean):
        return
    if settings.least_updates < rule.least_updates:
        raise Misuse(
            f"aggregation {settings.aggregation} needs {rule.least_updates} updates, and "
            f"min_updates is {settings.least_updates}"
        )
    if settings.memory == "artemis" or "split" in settings.ways:
        raise Misuse(
            f"aggregation {settings.aggregation} compares whole updates: it goes neither with "
            "Artemis memories nor with split learning"
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Surveyed:
    """An update as the first pass saw it."""

    update: UpdateRow
    length: float
    chunks: tuple[tuple[int, Coordinates], ...]


def combined(
    current: CurrentRound, updates: Sequence[UpdateRow], recent: Sequence[LengthRow]
) -> tuple[Mean, list[LengthRow]]:
    """The round's step by its rule, and the lengths to remember. Blocks: call it in a thread.

    Args:
        current: the round.
        updates: all that count, in the order of summation.
        recent: lengths of updates of earlier rounds, oldest first.

    Raises:
        Refused: `storage`.
    """
    segments = current.parts.segments
    covered = np.zeros(segments.size, np.bool_)
    surveyed: list[_Surveyed] = []
    stored: list[robust.Stored] = []
    for update in updates:
        spans = current.where(update.stage)
        where = None if spans.runs == ((0, segments.size),) else spans
        one = _survey(current, update)
        surveyed.append(one)
        stored.append(
            robust.Stored(
                float(update.examples), partial(_pieces, current, one, where is None), where
            )
        )
        _cover(covered, spans, one)
    rows = [
        LengthRow(current.number, one.update.position, one.length, one.update.examples)
        for one in surveyed
    ]
    return Mean(_apply(current, stored, [*recent, *rows]), covered, 1.0), rows


def _apply(
    current: CurrentRound, stored: Sequence[robust.Stored], lengths: Sequence[LengthRow]
) -> robust.Result:
    rule = robust.rule_from_spec(current.parts.terms.aggregation)
    limit, weight_limit = math.inf, math.inf
    if isinstance(rule, robust.Clip):
        latest = lengths[-robust.RECENT :]
        limit = robust.clip_limit([r.length for r in latest], factor=rule.factor, fallback=math.inf)
        weight_limit = robust.most_weight(
            [float(row.examples) for row in latest], factor=WEIGHT_FACTOR
        )
    size = current.parts.segments.size
    return robust.combine(rule, stored, size, limit=limit, weight_limit=weight_limit)


def _survey(current: CurrentRound, update: UpdateRow) -> _Surveyed:
    square, chunks = 0.0, []
    for first, end in update.chunks:
        for index in range(first, end):
            piece = current.piece_now(update.device, index)
            square += squared_norm(piece.values)
            chunks.append((index, piece.where))
    return _Surveyed(update, math.sqrt(square), tuple(chunks))


def _cover(
    covered: "np.ndarray[tuple[int], np.dtype[np.bool_]]", spans: Spans, one: _Surveyed
) -> None:
    marks = np.zeros(spans.size)
    for _, where in one.chunks:
        where.put(np.ones(where.size), marks)
    whole = np.zeros(len(covered))
    spans.put(marks, whole)
    covered |= whole > 0


def _pieces(
    current: CurrentRound,
    one: _Surveyed,
    direct: bool,
    first: int,
    end: int,
) -> Iterator[Piece]:
    """The chunks that touch a range; all where their own coordinates are not the whole's."""
    for index, where in one.chunks:
        if not direct or (where.first < end and where.end > first):
            yield current.piece_now(one.update.device, index)
