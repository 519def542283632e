"""A round's updates become a version: memories move, the optimizer steps, files are written.

Nothing here is seen before the one transaction that records it (`record`), and all of it follows
from what is recorded, so a server that dies in between does the same again.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.values import Evaluation, Vector
from server_ref.aggregate import Mean, ServerOptimizer, optimize
from server_ref.coordinator.current import CurrentRound
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.publishing import ModelState
from server_ref.coordinator.robustly import combined
from server_ref.coordinator.staging import before_turn, past_of
from server_ref.memory import Remembered, exchange, mean_of_all, moved
from server_ref.robust import RECENT
from server_ref.rounds import Round
from server_ref.settings import Terms
from server_ref.store import Connection, lengths, memories, records
from server_ref.store.lengths import LengthRow
from server_ref.store.memories import MemoryRow
from server_ref.store.records import RoundRow, UpdateRow, VersionRow


@dataclasses.dataclass(frozen=True, slots=True)
class Ending:
    """What a round leaves; its files are durable."""

    row: VersionRow
    weights: Vector = dataclasses.field(repr=False)
    moved: tuple[MemoryRow, ...] = ()
    dropped: tuple[str, ...] = ()
    """Devices whose memory is zero again."""
    lengths: tuple[LengthRow, ...] = ()
    """Of the updates, where aggregation looked at them."""
    measured: bool = False
    """Whether `figures` were sought already."""
    figures: Evaluation | None = None

    def record(self, connection: Connection, run: str) -> None:
        """Make it true."""
        records.add_version(connection, run, self.row)
        memories.drop_memories(connection, run, self.dropped)
        memories.put_memories(connection, run, self.moved)
        lengths.add_lengths(connection, run, self.lengths)
        if self.measured and self.row.round is not None:
            records.add_evaluation(connection, run, self.row.round, self.figures)


def make_version(
    parts: RunParts, current: CurrentRound, updates: Sequence[UpdateRow], version: int
) -> Ending:
    """Write the files of the version after `version`. Blocks: call it in a thread.

    Args:
        parts: of the run.
        current: the round.
        updates: all that count, in the order of summation.
        version: that the round trained from.

    Raises:
        Refused: `storage`.
    """
    base_row = parts.read(lambda c: records.version(c, parts.run.run, version))
    if base_row is None:
        raise RuntimeError(f"version {version} is not there")
    base = parts.library.state(base_row)
    terms = current.parts.terms
    mean, found = _mean_of(parts, current, updates)
    step, memory = mean.values, _Memories(parts, current, base)
    if terms.memory == "artemis":
        step = memory.step(mean)
        for update in updates:
            memory.move(update)
    memory.forget(updates)
    rows = parts.read(lambda c: records.rounds(c, parts.run.run))
    since = before_turn(past_of(rows, version), terms)
    weights, moments = optimize(
        _optimizer(terms),
        base.weights,
        step,
        mean.covered,
        {} if since == version else base.moments,
    )
    row = parts.library.publish(
        weights, base, number=current.number, moments=moments, memories=memory.total, since=since
    )
    return Ending(row, weights, tuple(memory.moved), tuple(memory.dropped), tuple(found))


def _mean_of(
    parts: RunParts, current: CurrentRound, updates: Sequence[UpdateRow]
) -> tuple[Mean, list[LengthRow]]:
    """The running mean, or what a rule that needs all updates makes of them."""
    if current.parts.terms.aggregation == "mean":
        return current.mean_now(), []
    recent = parts.read(lambda c: lengths.recent_lengths(c, parts.run.run, RECENT))
    return combined(current, updates, recent)


class _Memories:
    """The memories of a run while one round moves them."""

    def __init__(self, parts: RunParts, current: CurrentRound, base: ModelState) -> None:
        self.total: NDArray[np.float64] = base.memories.copy()
        self.moved: list[MemoryRow] = []
        self.dropped: list[str] = []
        self._parts = parts
        self._current = current
        run = parts.run.run
        self._rows = parts.read(lambda c: memories.memories(c, run))
        self._fleet = parts.read(lambda c: memories.fleet_of(c, run, current.number))

    def step(self, mean: Mean) -> NDArray[np.float64]:
        """The mean of all memories as they were plus that of what was decoded, where it was."""
        known = {d: Remembered(row.weight, row.segments) for d, row in self._rows.items()}
        segments = self._parts.library.segments.all
        of_all = mean_of_all(self.total, known, segments, fleet=self._fleet)
        return np.where(mean.covered, of_all + mean.values, 0.0)

    def move(self, update: UpdateRow) -> None:
        """Move the memory of one counted update's device."""
        current, library = self._current, self._parts.library
        before = self._kept(update.device)
        base = current.memory_rounds.get(update.device)
        goes_on = before is not None and base == self._rows[update.device].round
        start = before[1] if before and goes_on else np.zeros(library.segments.size, np.float32)
        decoded = current.decode_now(update.device)
        speed = current.parts.terms.memory_speed or 1.0
        after = moved(start, current.where(decoded.stage), decoded.pieces, speed=speed)
        weight = 1.0 if current.parts.terms.weighing == "equal" else float(update.examples)
        exchange(self.total, before, (weight, after))
        seen = set(self._rows[update.device].segments) if goes_on else set[int]()
        warm_up = current.parts.terms.warm_up
        seen.update(library.segments.segments_trained(decoded.stage, warm_up=warm_up))
        digest = library.write_memory(update.device, current.number, after)
        self.moved.append(
            MemoryRow(update.device, current.number, weight, tuple(sorted(seen)), digest)
        )

    def forget(self, updates: Sequence[UpdateRow]) -> None:
        """Take the memories out of devices that are gone, or were away for too long."""
        gone = self._parts.read(memories.withdrawn)
        after = self._parts.settings.forget_after_rounds
        counted = {update.device for update in updates}
        for device, row in self._rows.items():
            away = after is not None and row.round + after < self._current.number
            if device not in counted and (away or device in gone):
                exchange(self.total, self._kept(device), None)
                self.dropped.append(device)

    def _kept(self, device: str) -> tuple[float, Vector] | None:
        row = self._rows.get(device)
        if row is None:
            return None
        return row.weight, self._parts.library.memory(device, row.round, row.sha256)


def oldest_log(ended: Round, rows: Iterable[RoundRow], *, keep: int) -> int:
    """The first round whose chunk log is kept, now that the end of round `ended` is on record.

    Receipts, sums and memories of a round that is over are on record, so its log is read by nobody
    but a later buffer that takes devices over from it.
    """
    first, most = ended.number + 1 - keep, ended.rules.max_staleness
    if most is None:
        return first
    taken = [row.number for row in rows if row.model_version >= ended.model_version - most]
    return min([first, *taken])


def kept_rounds(rows: Mapping[str, MemoryRow]) -> dict[str, int]:
    """By device, the round in the name of its memory's file."""
    return {device: row.round for device, row in rows.items()}


def _optimizer(terms: Terms) -> ServerOptimizer:
    return ServerOptimizer(
        name=terms.optimizer,
        learning_rate=terms.server_learning_rate,
        momentum=terms.server_momentum,
    )
