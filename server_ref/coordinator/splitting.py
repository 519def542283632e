"""Split learning in the rounds: what sessions begin from, and how their outcome counts.

A device that trained split commits an update of its own parts. Counted is the change of the whole
model: its parts' as it sent it, and the server's as its session made it, with one weight. So the
blocks of devices that trained whole and of those that trained split meet in one average.
"""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge_sdk.engines.split import SplitTerms, default_activations
from edge_sdk.errors import Misuse, Reason, Refused
from edge_sdk.plan import Plan, Segments
from edge_sdk.plan.split import DEVICE_PARTS, SERVER_PART
from edge_sdk.values import Coordinates, Piece, Vector, Way
from server_ref.aggregate import Decoded
from server_ref.coordinator.parts import RunParts
from server_ref.rounds import Standing
from server_ref.settings import Terms

if TYPE_CHECKING:
    from server_ref.coordinator.current import CurrentRound
    from server_ref.split import Results, SplitRoom, SplitRound, Visit


LEAST_MESSAGE_BYTES = 1 << 16


class WholeUpdate:
    """Makes of a split update one of the whole model; leaves others as they are.

    Args:
        segments: of the plan.
        stage: that is the whole model.
        change: of the server's part, by device; None where no split updates are taken.
        longest: norm of the longest usable change of the server's part.
    """

    def __init__(
        self,
        segments: Segments,
        stage: int,
        change: Callable[[str], Vector] | None,
        *,
        longest: float,
    ) -> None:
        self._segments = segments
        self._stage = stage
        self._change = change
        self._longest = longest

    def of(self, device: str, decoded: Decoded) -> Decoded:
        """What is counted. Blocks.

        Raises:
            Refused: `incomplete` when a chunk is missing or the session has not ended; `not-finite`
                when the server's part ran away; `storage`.
        """
        if decoded.stage != DEVICE_PARTS or self._change is None:
            return decoded
        mine = self._segments.stage(DEVICE_PARTS)
        if sum(piece.where.size for piece in decoded.pieces) != mine.size:
            raise Refused(Reason.INCOMPLETE, "a split update counts only whole")
        change = self._change(device)
        if not float(np.linalg.norm(change.astype(np.float64))) < self._longest:
            raise Refused(Reason.NOT_FINITE, "the server's part ran away in this session")
        sent = np.zeros(mine.size, np.float32)
        for piece in decoded.pieces:
            piece.where.put(piece.values, sent)
        whole = np.zeros(self._segments.size, np.float32)
        mine.put(sent, whole)
        self._segments.part(SERVER_PART).put(change, whole)
        values = self._segments.stage(self._stage).take(whole)
        pieces = [Piece(Coordinates.span(0, len(values)), values)]
        made = dataclasses.replace(decoded, stage=self._stage, pieces=pieces)
        if decoded.error is None or not made.energy:
            return made
        # The server's half was not coded: the error is a smaller share of the whole.
        share = decoded.energy / made.energy
        return dataclasses.replace(made, error=decoded.error * share)


class Splitting:
    """The split sessions of a run. All calls on one event loop.

    Args:
        parts: of the run.
        room: where sessions sit; None where rounds offer no split.
    """

    def __init__(self, parts: RunParts, room: "SplitRoom | None") -> None:
        self._parts = parts
        self._room = room
        self._start: SplitRound | None = None

    @property
    def most_bytes(self) -> int:
        """Largest message of a session."""
        return LEAST_MESSAGE_BYTES if self._room is None else self._room.most_bytes

    def visit(self, current: "CurrentRound", device: str) -> "Visit":
        """Let a connection of a device into its session of the round.

        Raises:
            Refused: `not-admitted` without a place in the round or where it offers no split;
                `round-closed`, `busy`.
        """
        from server_ref.split import SplitRound  # noqa: PLC0415 - loads the training engine

        member = current.state.members.get(device)
        if self._room is None or member is None or current.parts.split_change is None:
            raise Refused(Reason.NOT_ADMITTED, "no place for split learning in this round")
        if current.closing or member.standing is not Standing.ADMITTED:
            raise Refused(Reason.ROUND_CLOSED, "the round takes no more of this device")
        if self._start is None or self._start.number != current.number:
            # One array for all sessions of the round.
            weights = current.parts.segments.part(SERVER_PART).take(current.parts.weights)
            results = results_of(self._parts, current.number)
            self._start = SplitRound(number=current.number, weights=weights, results=results)
        terms = split_terms(self._parts.plan, current, device)
        return self._room.visit(device, terms, self._start)


def split_terms(plan: Plan, current: "CurrentRound", device: str) -> SplitTerms:
    """What both halves of one device's session agree on."""
    terms = current.parts.terms
    return SplitTerms(
        run=current.parts.run,
        round=current.number,
        seed=current.parts.seed_of(device),
        learning_rate=terms.learning_rate,
        activations=terms.split_activations or default_activations(plan),
        gradients=terms.split_gradients,
        correction=terms.split_correction,
    )


def make_room(parts: RunParts) -> "SplitRoom | None":
    """The room of a run whose settings offer `split`.

    Raises:
        Misuse: the plan has no split.
    """
    if "split" not in parts.settings.ways:
        return None
    if parts.plan.split is None:
        raise Misuse(f"{parts.plan.name} has no split: build it with --cut, or offer no 'split'")
    from server_ref.split import SplitRoom  # noqa: PLC0415 - loads the training engine

    return SplitRoom(parts.plan, most_sessions=parts.settings.split_sessions)


def results_of(parts: RunParts, number: int) -> "Results":
    """What a round's sessions leave."""
    from server_ref.split import Results  # noqa: PLC0415 - loads the training engine

    size = parts.library.segments.part(SERVER_PART).size
    return Results(_folder(parts, number), size, parts.outside.sync)


def split_change(parts: RunParts, terms: Terms, number: int) -> Callable[[str], Vector] | None:
    """Reads the outcome of a device's session; None where the round takes no split updates.

    It takes none while it trains an early stage, or only the newest block: the parts of a split are
    those of the whole model.
    """
    whole = terms.stage == parts.plan.stages - 1 and not terms.warm_up
    if "split" not in terms.ways or parts.plan.split is None or not whole:
        return None
    return results_of(parts, number).read


def without_split(ways: Sequence[Way]) -> tuple[Way, ...]:
    """What is left of the ways; `full` where nothing is."""
    return tuple(way for way in ways if way != "split") or ("full",)


def forget_sessions(parts: RunParts, *, up_to: int) -> None:
    """Remove the files of rounds that are over. Blocks."""
    for folder in _folder(parts, 0).parent.glob("*"):
        if folder.name.isdigit() and int(folder.name) <= up_to:
            shutil.rmtree(folder, ignore_errors=True)


def _folder(parts: RunParts, number: int) -> Path:
    return parts.folder.split_sessions(parts.run.run, number)
