"""An aggregation server in memory, that plays tasks and counts updates."""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from edge_sdk.codecs import codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.errors import Misuse, Reason, Refused
from edge_sdk.plan import StageParts, TensorSpec, load_plan, pack_plan
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Parameter,
    Progress,
    Range,
    Receipt,
    Task,
    Vector,
    Wait,
)
from edge_sdk.wire import HEADER_BYTES, Frame, FrameReader, Kind, pack

JOIN_TOKEN = "scripted-join-token-0"  # noqa: S105 - opens nothing but the fake below
"""The join token that a `ScriptedServer` takes."""

_MODEL_PAYLOAD_BYTES = 4096
_DECLINED_WAIT_S = 10.0


def scripted_plan(*, inputs: int = 4, classes: int = 3) -> bytes:
    """A valid bundle for a linear model without graphs, to train with a `ScriptedEngine`.

    The parameters are `w` (inputs, classes) and `b` (classes,), all zero.
    """
    parameters = (Parameter("w", (inputs, classes)), Parameter("b", (classes,)))
    return pack_plan(
        name="scripted",
        loss="cross-entropy",
        optimizer="sgd",
        classes=classes,
        input_spec=TensorSpec(name="input", dtype="float32", shape=(inputs,)),
        target_spec=TensorSpec(name="target", dtype="int64", shape=()),
        parameters=parameters,
        weights=np.zeros((inputs + 1) * classes, np.float32),
        stages=(
            StageParts(
                name="all",
                parameters=(0, 1),
                state=(),
                train=b"no train graph",
                evaluate=b"no evaluation graph",
            ),
        ),
    )


def snapshot_frames(weights: Vector, *, run: str, version: int, codec: str = "float32") -> bytes:
    """Model frames of one version, as a server sends them."""
    chosen = codec_from_spec(codec)
    wire_id, parameter = frame_ids(chosen)
    payloads = chosen.encode(weights, seed=0, chunk_bytes=_MODEL_PAYLOAD_BYTES)
    return b"".join(
        pack(
            Frame(
                kind=Kind.SNAPSHOT,
                codec=wire_id,
                parameter=parameter,
                index=index,
                count=len(payloads),
                run=run,
                number=version,
                seed=0,
                dimension=len(weights),
                payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    )


@dataclasses.dataclass(slots=True)
class _Round:
    chunks: dict[int, bytes] = dataclasses.field(default_factory=dict)
    commit: Commit | None = None
    receipt: Receipt | None = None


class ScriptedServer:
    """One server with one device; an `interfaces.Transport` to itself, and a record of what came.

    It keeps the real server's promises: whole frames are held as they arrive, a chunk or commit
    sent twice counts once, a closed or declined round takes nothing, an attempt to enrol made
    twice gives one device.

    Args:
        answers: what check-ins get, in order. A task is offered until its round has a receipt, was
            declined or was closed, a wait once; after the last comes `Finished`.
        plan: the bundle on offer.
        weights: the model, the same in every version; zeros by default.
    """

    def __init__(
        self,
        answers: Sequence[Task | Wait],
        *,
        plan: bytes | None = None,
        weights: Vector | None = None,
    ) -> None:
        self.plan_bytes = scripted_plan() if plan is None else plan
        loaded = load_plan(self.plan_bytes)
        self.layout = loaded.layout()
        self.weights = np.zeros(self.layout.size, np.float32) if weights is None else weights
        self._answers = list(answers)
        self._closed: set[int] = set()
        self._rounds: dict[int, _Round] = {}
        self._attempts: dict[str, int] = {}
        self._tokens = 0
        self.devices: list[Enrolled] = []
        """Every device in order of enrolment, each with its latest token."""
        self.received: list[tuple[int, int]] = []
        """(round, chunk) of every whole frame that arrived, repeated ones too."""
        self.counted: dict[int, int] = {}
        """How often each round's update was added to the sum: 1, or the server is broken."""
        self.declined: dict[int, str] = {}
        """Rounds whose place was given back, and the first reason given."""
        self.closed = False
        """Whether `close` was called."""

    # ------------------------------------------------------------------ looking at it

    def close_round(self, number: int) -> None:
        """From now on this round takes nothing."""
        self._closed.add(number)

    def commit_of(self, number: int) -> Commit:
        """The commit that was counted in a round."""
        commit = self._rounds[number].commit
        if commit is None:
            raise Misuse(f"round {number} has no commit")
        return commit

    def update_of(self, number: int) -> Vector:
        """What the counted update of a round decodes to."""
        total = np.zeros(self.layout.size, np.float32)
        for raw in self._rounds[number].chunks.values():
            (frame,) = FrameReader().feed(raw)
            codec = codec_from_frame(frame.codec, frame.parameter)
            piece = codec.decode(frame.payload, frame.place)
            piece.where.add(piece.values, total)
        return total

    # ------------------------------------------------------------------ the calls

    def identify(self, identity: Enrolled) -> None:
        """Refuse a device that never enrolled here."""
        if identity not in self.devices:
            raise Refused(Reason.UNAUTHORISED, "unknown device")

    async def enrol(self, request: Enrol) -> Enrolled:
        """Hand out device tokens for the one join token."""
        if request.join_token != JOIN_TOKEN:
            raise Refused(Reason.UNAUTHORISED, "unknown join token")
        self._tokens += 1
        token = f"scripted-device-token-{self._tokens}"
        index = len(self.devices)
        if request.attempt is not None:
            index = self._attempts.setdefault(request.attempt, index)
        enrolled = Enrolled(device=f"{index + 1:032x}", token=token)
        self.devices[index : index + 1] = [enrolled]
        return enrolled

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        """The next answer of the script."""
        del request
        while self._answers:
            answer = self._answers[0]
            if isinstance(answer, Wait):
                return self._answers.pop(0)
            if self._is_open(answer.round):
                return answer
            self._answers.pop(0)
        return Finished(run="0" * 16, model_version=0)

    async def plan(self, digest: str) -> bytes:
        """The bundle."""
        if hashlib.sha256(self.plan_bytes).hexdigest() != digest:
            raise Refused(Reason.NOT_FOUND, "no such plan")
        return self.plan_bytes

    async def model(
        self,
        run: str,
        version: int,
        *,
        have: int | None,
        stage: int | None = None,
        held_stage: int | None = None,
    ) -> bytes:
        """The model, always as a snapshot."""
        del have, stage, held_stage
        return snapshot_frames(self.weights, run=run, version=version)

    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        """Hold the frames."""
        self.receive(task, b"".join(frames))
        return await self.progress(task)

    async def progress(self, task: Task) -> Progress:
        """What is held."""
        held = self._round(task)
        return Progress(held=ranges_of(held.chunks), receipt=held.receipt)

    async def commit(self, task: Task, commit: Commit) -> Receipt:
        """Count the update; the same question later gets the same answer."""
        held = self._round(task)
        if held.receipt is not None:
            if held.commit != commit:
                raise Refused(Reason.CONFLICT, "another commit was counted")
            return held.receipt
        if not held.chunks:
            raise Refused(Reason.INCOMPLETE, "no chunk arrived")
        held.commit = commit
        held.receipt = Receipt(
            run=task.run,
            round=task.round,
            chunks=ranges_of(held.chunks),
            examples=commit.examples,
        )
        self.counted[task.round] = self.counted.get(task.round, 0) + 1
        return held.receipt

    async def decline(self, task: Task, decline: Decline) -> Wait:
        """Take the place back; an update that was counted stays counted."""
        if self._is_open(task.round):
            self.declined[task.round] = decline.why
        return Wait(retry_after_s=_DECLINED_WAIT_S, why=f"declined round {task.round}")

    async def close(self) -> None:
        """Note it."""
        self.closed = True

    # ------------------------------------------------------------------ bytes that arrive

    def receive(self, task: Task, body: bytes) -> None:
        """Take an upload's body, as far as it got: whole frames are held, a cut one is lost."""
        held = self._round(task)
        for frame in FrameReader(max_frame_bytes=task.chunk_bytes).feed(body):
            self._check_frame(frame, task)
            self.received.append((task.round, frame.index))
            if held.chunks.setdefault(frame.index, frame.raw) != frame.raw:
                raise Refused(Reason.CONFLICT, f"chunk {frame.index} came before, with other bytes")

    def _check_frame(self, frame: Frame, task: Task) -> None:
        fits = (
            frame.kind is Kind.UPDATE
            and (frame.run, frame.number) == (task.run, task.round)
            and (frame.seed, frame.dimension) == (task.seed, self.layout.size)
            and len(frame.payload) + HEADER_BYTES <= task.chunk_bytes
        )
        if not fits:
            raise Refused(Reason.MISMATCH, "the frame is not of this task")

    def _round(self, task: Task) -> _Round:
        held = self._rounds.setdefault(task.round, _Round())
        if task.round in self._closed and held.receipt is None:
            raise Refused(Reason.ROUND_CLOSED, f"round {task.round} is over")
        if task.round in self.declined:
            raise Refused(Reason.NOT_ADMITTED, f"the place in round {task.round} was given back")
        return held

    def _is_open(self, number: int) -> bool:
        held = self._rounds.get(number, _Round())
        over = number in self._closed or number in self.declined
        return not over and held.receipt is None


def ranges_of(chunks: Sequence[int] | dict[int, bytes]) -> tuple[Range, ...]:
    """Half-open ranges that cover exactly these chunk numbers."""
    ranges: list[tuple[int, int]] = []
    for index in sorted(chunks):
        if ranges and ranges[-1][1] == index:
            ranges[-1] = (ranges[-1][0], index + 1)
        else:
            ranges.append((index, index + 1))
    return tuple(ranges)
