"""What a device writes down besides its deliveries: lessons, costs, and where training stands.

======================= =========================================================================
`learned.json`          the policy's state, the link's estimate, quotas used, last upload's cost
`ledger.jsonl`          one line for each round: what each phase of it cost; the last rounds only
`training.checkpoint`   training that was interrupted, with the choice it was begun by
======================= =========================================================================

None of it is needed to go on: a file that cannot be read is as if it had never been there.
"""

import logging
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from edge_sdk.adaptation import Usage
from edge_sdk.errors import Corrupt, EdgeError, Malformed
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.runtime.records import (
    MAX_HEADER_BYTES,
    load_record,
    remove_durably,
    save_record,
    write_atomically,
)
from edge_sdk.telemetry import LinkEstimate
from edge_sdk.values import (
    STRICT,
    Checkpoint,
    Choice,
    Cost,
    Count,
    Digest,
    LateCosts,
    RunId,
    Seconds,
    Seed,
    ShortText,
    Stage,
    Task,
    Vector,
)

_log = logging.getLogger(__name__)

MOST_LINES = 200
"""Rounds kept in the ledger; twice as many may stand in the file before it is cut."""
MOST_LEARNED_BYTES = 1 << 18

Positive = Annotated[float, Field(gt=0, le=1e15)]
Row = Annotated[tuple[Positive, ...], Field(max_length=32)]
Errors = Annotated[tuple[Annotated[float, Field(ge=0, le=1e9)], ...], Field(max_length=32)]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Link:
    """`telemetry.LinkEstimate` as it is kept."""

    up_bytes_per_s: Row = ()
    down_bytes_per_s: Row = ()
    up_errors: Errors = ()
    down_errors: Errors = ()
    rtts_s: Row = ()

    @classmethod
    def of(cls, estimate: LinkEstimate) -> "Link":
        """From the estimate."""
        return cls(
            up_bytes_per_s=estimate.up_bytes_per_s,
            down_bytes_per_s=estimate.down_bytes_per_s,
            up_errors=estimate.up_errors,
            down_errors=estimate.down_errors,
            rtts_s=estimate.rtts_s,
        )

    def estimate(self) -> LinkEstimate:
        """Back to the estimate."""
        return LinkEstimate(
            up_bytes_per_s=self.up_bytes_per_s,
            down_bytes_per_s=self.down_bytes_per_s,
            up_errors=self.up_errors,
            down_errors=self.down_errors,
            rtts_s=self.rtts_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Kept:
    """What survives a restart."""

    policy: ShortText = ""
    """Name of the policy's class: another one's state is not read."""
    learned: Annotated[str, Field(max_length=1 << 16)] | None = None
    link: Link = Link()
    usage: Usage = Usage()
    late: LateCosts | None = None
    """Costs that the next check-in carries."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class Line:
    """One round in the ledger."""

    run: RunId
    round: Count
    delivered: bool
    stage: Stage
    codec: ShortText
    steps: Count
    upload_bytes: Count | None
    why: ShortText
    costs: tuple[Cost, ...]


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Position:
    """Header of a checkpoint: whose it is, and its numbers."""

    run: RunId
    round: Count
    plan: Digest
    model_version: Count
    seed: Seed
    deadline_s: Seconds
    choice: Choice
    epoch: Count
    batches: Count
    runs: Count
    steps: Count
    distinct: Count
    epoch_examples: Count
    epoch_loss: float
    weights: Count
    state: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """Training of a task that was interrupted."""

    choice: Choice
    deadline_s: float
    """Of the task when that choice was made."""


class Books:
    """The three files; also the fake for whoever wants none (`path` None keeps all in memory).

    Args:
        path: the state folder.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept = Kept()

    # ------------------------------------------------------------------ what was learned

    def load(self) -> Kept:
        """What is kept; nothing if the file is missing or unreadable."""
        if self._path is None:
            return self._kept
        try:
            data = (self._path / "learned.json").read_bytes()
            return load_json(Kept, data, limit=MOST_LEARNED_BYTES)
        except FileNotFoundError:
            return Kept()
        except (Malformed, OSError) as error:
            _log.warning("what was learned is unreadable (%s); learning afresh", error)
            return Kept()

    def save(self, kept: Kept) -> None:
        """Keep it; a full disk costs what was learned, never a round."""
        self._kept = kept
        if self._path is None:
            return
        try:
            write_atomically(self._path / "learned.json", (dump_json(kept),))
        except EdgeError as error:
            _log.warning("what was learned is not kept: %s", error)

    # ------------------------------------------------------------------ the ledger

    def enter(self, line: Line) -> None:
        """Add a round to the ledger, and cut it when it has grown to twice its length."""
        if self._path is None:
            return
        path = self._path / "ledger.jsonl"
        try:
            with path.open("ab") as file:
                file.write(dump_json(line) + b"\n")
            lines = path.read_bytes().splitlines(keepends=True)
            if len(lines) >= 2 * MOST_LINES:
                write_atomically(path, lines[-MOST_LINES:])
        except (EdgeError, OSError) as error:
            _log.warning("the ledger is not written: %s", error)

    def ledger(self) -> tuple[Line, ...]:
        """The rounds in the ledger, oldest first; lines that a power cut damaged are left out."""
        if self._path is None or not (self._path / "ledger.jsonl").exists():
            return ()
        lines: list[Line] = []
        for text in (self._path / "ledger.jsonl").read_bytes().splitlines():
            try:
                lines.append(load_json(Line, text))
            except Malformed:
                continue
        return tuple(lines[-MOST_LINES:])

    # ------------------------------------------------------------------ interrupted training

    def save_checkpoint(self, task: Task, choice: Choice, checkpoint: Checkpoint) -> None:
        """Keep where training of `task` stands; a full disk costs the checkpoint only."""
        if self._path is None:
            return
        position = _Position(
            run=task.run,
            round=task.round,
            plan=task.plan,
            model_version=task.model_version,
            seed=task.seed,
            deadline_s=task.deadline_s,
            choice=choice,
            epoch=checkpoint.epoch,
            batches=checkpoint.batches,
            runs=checkpoint.runs,
            steps=checkpoint.steps,
            distinct=checkpoint.distinct,
            epoch_examples=checkpoint.epoch_examples,
            epoch_loss=checkpoint.epoch_loss if np.isfinite(checkpoint.epoch_loss) else 0.0,
            weights=len(checkpoint.weights),
            state=len(checkpoint.state),
        )
        body = [np.ascontiguousarray(v, "<f4").tobytes() for v in _vectors(checkpoint)]
        try:
            save_record(self._checkpoint_path(self._path), dump_json(position), body)
        except EdgeError as error:
            _log.warning("training is not checkpointed: %s", error)

    def begun(self, task: Task) -> Begun | None:
        """How training of `task` was begun, if it was interrupted."""
        found = self._load_checkpoint(task)
        return (
            None if found is None else Begun(choice=found[0].choice, deadline_s=found[0].deadline_s)
        )

    def load_checkpoint(self, task: Task) -> Checkpoint | None:
        """Where training of `task` stands; None when there is no checkpoint of it."""
        found = self._load_checkpoint(task)
        return None if found is None else found[1]

    def drop_checkpoint(self) -> None:
        """Training is over."""
        if self._path is not None:
            remove_durably(self._checkpoint_path(self._path))

    def _load_checkpoint(self, task: Task) -> tuple[_Position, Checkpoint] | None:
        if self._path is None:
            return None
        try:
            record = load_record(self._checkpoint_path(self._path))
            if record is None:
                return None
            position = load_json(_Position, record.header, limit=MAX_HEADER_BYTES)
            checkpoint = _checkpoint(position, record.body)
        except (Malformed, OSError) as error:
            _log.warning("the checkpoint is unreadable (%s); training begins afresh", error)
            return None
        ours = (task.run, task.round, task.plan, task.model_version, task.seed)
        its = (position.run, position.round, position.plan, position.model_version, position.seed)
        return (position, checkpoint) if ours == its else None

    @staticmethod
    def _checkpoint_path(folder: Path) -> Path:
        return folder / "training.checkpoint"


def _vectors(checkpoint: Checkpoint) -> tuple[Vector, Vector]:
    return checkpoint.weights, checkpoint.state


def _checkpoint(position: _Position, body: bytes) -> Checkpoint:
    if len(body) != 4 * (position.weights + position.state):
        raise Corrupt("a checkpoint of another size than its header says")
    both = np.frombuffer(body, "<f4").astype(np.float32)
    return Checkpoint(
        weights=both[: position.weights],
        state=both[position.weights :],
        epoch=position.epoch,
        batches=position.batches,
        runs=position.runs,
        steps=position.steps,
        distinct=position.distinct,
        epoch_examples=position.epoch_examples,
        epoch_loss=position.epoch_loss,
    )
