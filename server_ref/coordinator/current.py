"""One round while it runs: chunks, commits and the end."""

import asyncio
import dataclasses
import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import TypeVar

from edge_sdk.errors import Reason, Refused
from edge_sdk.plan import Spans
from edge_sdk.values import Commit, Piece, Progress, Receipt, Task
from edge_sdk.wire import Frame, unpack
from server_ref import rounds
from server_ref.aggregate import Decoded, Mean, Tally, norm_limit
from server_ref.coordinator.cohort import Placed, may_train_less
from server_ref.coordinator.counting import Counting
from server_ref.coordinator.jobs import Job, RoundParts, job_of_round
from server_ref.coordinator.labels import codec_ids
from server_ref.coordinator.limits import most_update_bytes
from server_ref.coordinator.splitting import WholeUpdate
from server_ref.rounds import Origin, Phase, Round, Standing, bits, ranges
from server_ref.store import Entry
from server_ref.store.records import UpdateRow

T = TypeVar("T")

log = logging.getLogger(__name__)

COMMITS_IN_FLIGHT = 4
"""Decoded updates held at once between decoding and summing: the bound on their memory."""


class CurrentRound:
    """Carries out what `server_ref.rounds` decides for one round."""

    def __init__(self, state: Round, parts: RoundParts) -> None:
        self.state = state
        self.parts = parts
        self.ended = asyncio.Event()
        """Set when the round is over and what follows it is in place."""
        self.job = job_of_round(parts, number=state.number, version=state.model_version)
        self.jobs = {state.number: self.job}
        """By round: its own, and those that devices were carried into it with."""
        self.successor: CurrentRound | None = None
        """The buffer that took its devices over."""
        self.recorded_admissions = set(state.members)
        self.given_up = False
        """Whether it ends without a version, whatever counts already."""
        self.last_trouble = ""
        """What the latest device that gave up, or was dropped, said or was told."""
        terms = parts.terms
        tally = Tally(
            parts.segments.size,
            self.where,
            weighing=terms.weighing,
            shrink=terms.shrink,
        )
        longest = norm_limit(parts.weights)
        whole = WholeUpdate(parts.segments, terms.stage, parts.split_change, longest=longest)
        self._counting = Counting(parts.worker, tally, longest=longest, finish=whole.of)
        self.memory_rounds: dict[str, int] = {}
        """Round whose Artemis memory a device goes on from; those not named begin at zero."""
        self.small: set[str] = set()
        """Devices that may train a smaller stage; see `cohort`."""
        self._appended: defaultdict[str, int] = defaultdict(int)
        self._writing: defaultdict[str, set[asyncio.Task[None]]] = defaultdict(set)
        self._slots = asyncio.Semaphore(COMMITS_IN_FLIGHT)
        self._commits: set[asyncio.Task[Receipt | None]] = set()
        self._partial: dict[str, UpdateRow] = {}

    @property
    def number(self) -> int:
        """The round's number."""
        return self.state.number

    @property
    def closing(self) -> bool:
        """Whether it takes nothing more but is not over yet."""
        return self.state.phase is not Phase.OPEN

    def where(self, stage: int) -> Spans:
        """What an update of a stage carries, in the whole model: in a warm-up only what is new."""
        terms = self.parts.terms
        return self.parts.segments.trained(stage, warm_up=terms.warm_up and stage == terms.stage)

    def place(self, device: str, *, last: int | None) -> None:
        """Give a device that is let in a small place, if it should have one.

        `last` is the stage it trained when it last took part; None is none.
        """
        if device not in self.small:
            members = self.state.members
            placed = [
                Placed(label.stage if (label := members[one].label) else None)
                for one in self.small
                if one in members and members[one].standing not in rounds.GONE
            ]
            if may_train_less(self.parts.terms, placed, last=last):
                self.small.add(device)

    def decide(self, event: rounds.Event) -> rounds.Effect | None:
        """Let `event` happen; its own effect. A round that begins to close is told on.

        Raises:
            Refused: the decision was `Refuse`.
        """
        self.state, effects = rounds.step(self.state, event, self.parts.now_s())
        answer: rounds.Effect | None = None
        for effect in effects:
            if isinstance(effect, rounds.Close):
                self.parts.closing(effect.count_unfinished)
            else:
                answer = effect
        if isinstance(answer, rounds.Refuse):
            raise Refused(answer.reason, answer.detail)
        return answer

    def job_of(self, device: str) -> Job | None:
        """What a member of the round works on; None for others."""
        member = self.state.members.get(device)
        if member is None:
            return None
        return self.job if member.origin is None else self.jobs[member.origin.round]

    def works_on(self, device: str, number: int) -> bool:
        """Whether a device is here with the task of round `number`."""
        job = self.job_of(device)
        return job is not None and job.number == number

    def task(self, device: str, *, download_bytes: int | None = None) -> Task:
        """What a member is to do: the same each time, but for the time left."""
        job = self.job_of(device) or self.job
        own = job is self.job
        return job.task(
            device,
            deadline_s=self._place_s(device),
            small=own and device in self.small,
            memory_round=self.memory_rounds.get(device) if own else None,
            download_bytes=download_bytes,
        )

    def _place_s(self, device: str) -> float:
        """Seconds in which the device is waited for."""
        until_s = self.state.members[device].place_until_s
        if math.isinf(until_s):
            return self.remaining_s() or 0.0
        return max(0.0, until_s - self.parts.now_s())

    def remaining_s(self) -> float | None:
        """Seconds until the deadline; None before the first admission."""
        if self.state.deadline_at_s is None:
            return None
        return max(0.0, self.state.deadline_at_s - self.parts.now_s())

    def recess_s(self) -> float:
        """Seconds until anybody is admitted."""
        return max(0.0, (self.state.admits_from_s or 0.0) - self.parts.now_s())

    def decline(self, device: str, why: str) -> str:
        """Take a place back; what to tell the device.

        Raises:
            Refused: `not-admitted`.
        """
        self.last_trouble = why
        effect = self.decide(rounds.Decline(device))
        if not isinstance(effect, rounds.Wait):
            raise TypeError(f"a decline is answered by Wait, not {effect}")
        return effect.why

    # ------------------------------------------------------------------ chunks

    def take_chunk(self, device: str, frame: Frame) -> "asyncio.Task[None] | None":
        """Judge a chunk and queue it for the disk; the task ends when it is durably held.

        None when it is held already. The task goes on whatever becomes of the connection.

        Raises:
            Refused: the chunk does not fit the task, the round or what is held.
        """
        job = self.job_of(device) or self.job
        label = job.wanted.label(frame, seed=job.seed_of(device))
        if label.stage < self.parts.terms.stage and device not in self.small:
            raise Refused(Reason.MISMATCH, f"this task is of stage {self.parts.terms.stage} alone")
        same = self._counting.same(device, frame)
        effect = self.decide(rounds.Chunk(device, frame.index, label, same))
        if not isinstance(effect, rounds.Store):
            return None
        self._appended[device] += len(frame.raw)
        if self._appended[device] > 2 * most_update_bytes(frame.dimension, label.count):
            raise Refused(Reason.TOO_LARGE, "more bytes than any update of this task needs")
        durable = job.log.append(device, frame.raw)
        task = asyncio.ensure_future(self._hold(job, device, frame, label, durable))
        self._writing[device].add(task)
        task.add_done_callback(self._writing[device].discard)
        task.add_done_callback(_retrieve)
        return task

    async def _hold(
        self, job: Job, device: str, frame: Frame, label: rounds.Label, durable: "Future[Entry]"
    ) -> None:
        entry = await asyncio.wrap_future(durable)
        now = self
        while now.successor is not None:  # the buffer may have ended meanwhile
            now = now.successor
        if not now.works_on(device, job.number):
            raise Refused(Reason.STALE_MODEL, "the task is too old by now; check in again")
        same = now._counting.same(device, frame)
        now.decide(rounds.ChunkStored(device, frame.index, label, same))
        if same is None:
            now._counting.hold(frame.index, entry, job.log)

    async def written(self, device: str) -> None:
        """Until no chunk of the device is on its way to the disk."""
        while writes := self._writing.get(device):
            await asyncio.wait(writes)

    def progress(self, device: str) -> Progress:
        """What is held of a device's update.

        Raises:
            Refused: `not-admitted`.
        """
        member = self.state.members.get(device)
        if member is None:
            raise Refused(Reason.NOT_ADMITTED, "no place in this round; check in first")
        counts = member.standing is Standing.COMMITTED
        return Progress(held=ranges(member.held), receipt=self._receipt(device) if counts else None)

    # ------------------------------------------------------------------ commits

    async def commit(self, device: str, commit: Commit) -> Receipt | None:
        """Count the device's update; None when only the end of the round decides that.

        Goes on when the caller is cancelled.

        Raises:
            Refused: the update is unusable, disagrees with its chunks, or came too late.
        """
        codec = (self.job_of(device) or self.job).wanted.offered(codec_ids(commit.codec))
        member = self.state.members.get(device)
        stage = member.label.stage if member and member.label else 0
        label = rounds.Label(
            count=commit.chunks, examples=commit.examples, codec=codec, stage=stage
        )
        effect = self.decide(rounds.Commit(device, label))
        if isinstance(effect, rounds.Receipted):
            return self._receipt(device)
        if not isinstance(effect, rounds.Check):
            return None
        task = asyncio.ensure_future(self._check_and_record(device, commit))
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)
        task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _check_and_record(self, device: str, commit: Commit) -> Receipt | None:
        async with self._slots:
            try:
                decoded = await self._decode(device)
            except Refused as flaw:
                if flaw.reason is Reason.STORAGE:
                    self.decide(rounds.NotRecorded(device))
                    raise
                self.last_trouble = str(flaw)
                self.decide(rounds.Checked(device, rounds.Refuse(flaw.reason, flaw.detail)))
                return None
            effect = self.decide(rounds.Checked(device))
            if not isinstance(effect, rounds.Record):
                return None
            update = self._update(device, effect.order, partial_update=False)
            try:
                await asyncio.wrap_future(self.parts.record(update, commit))
            except Refused:
                self.decide(rounds.NotRecorded(device))
                raise
            await self._counting.add(decoded, position=update.position)
            self.decide(rounds.Recorded(device))
            return self._receipt(device)

    async def _decode(self, device: str, *, trusted: bool = False) -> Decoded:
        member = self.state.members[device]
        discount = rounds.staleness_weight(self.state.staleness(member))
        return await self._counting.decode(device, member, trusted=trusted, discount=discount)

    def _update(self, device: str, order: int, *, partial_update: bool) -> UpdateRow:
        member = self.state.members[device]
        if member.label is None:
            raise RuntimeError("an update without chunks cannot count")
        return UpdateRow(
            device=device,
            position=order,
            partial=partial_update,
            chunks=ranges(member.held),
            chunk_count=member.label.count,
            examples=member.label.examples,
            codec=member.label.codec,
            stage=member.label.stage,
            origin=None if member.origin is None else member.origin.round,
        )

    def _receipt(self, device: str) -> Receipt:
        member = self.state.members[device]
        return Receipt(
            run=self.parts.run,
            round=(self.job_of(device) or self.job).number,
            chunks=ranges(member.held),
            examples=member.label.examples if member.label else 0,
        )

    # ------------------------------------------------------------------ the end, and after a crash

    async def settle(self, *, count_unfinished: bool) -> tuple[Round, list[UpdateRow]]:
        """Wait for commits under way and sum unfinished updates up.

        Gives the round as it will be once that is recorded, and the unfinished updates it counts.

        Raises:
            Refused: `storage`; ask again later.
        """
        await self.wait_commits()
        for device in rounds.unfinished(self.state) if count_unfinished else ():
            if device not in self._partial:
                await self._count_unfinished(device)
        event = rounds.Settled(tuple(self._partial))
        settled, _ = rounds.step(self.state, event, self.parts.now_s())
        if self.given_up:
            settled = dataclasses.replace(settled, phase=Phase.ABANDONED)
        return settled, list(self._partial.values()) if settled.phase is Phase.PUBLISHED else []

    async def _count_unfinished(self, device: str) -> None:
        order = self.state.next_order + len(self._partial)
        update = self._update(device, order, partial_update=True)
        try:
            decoded = await self._decode(device)
        except Refused as flaw:
            if flaw.reason is Reason.STORAGE:
                raise
            log.warning("unfinished update of %s is unusable: %s", device, flaw)
            return
        await self._counting.add(decoded, position=order)
        self._partial[device] = update

    async def wait_commits(self) -> None:
        """Until no commit is being checked or recorded."""
        while self._commits:
            await asyncio.wait(self._commits)

    def mean_now(self) -> Mean:
        """The mean of everything counted; in the calling thread."""
        return self._counting.mean_now()

    def decode_now(self, device: str) -> Decoded:
        """A counted update again; in the calling thread.

        Raises:
            Refused: `storage`.
        """
        return self._counting.decode_now(device, self.state.members[device], trusted=True)

    def piece_now(self, device: str, index: int) -> Piece:
        """One chunk of a counted update again; in the calling thread.

        Raises:
            Refused: `storage`.
        """
        return self._counting.piece_now(device, index)

    def take_over(self, ended: "CurrentRound", *, since_version: int = 0) -> None:
        """Go on with everybody who is still expected in a buffer that is over.

        Who trains from a version before `since_version` is left behind.
        """
        young = {
            device: member
            for device, member in ended.state.members.items()
            if (ended.job_of(device) or ended.job).version >= since_version
        }
        over = dataclasses.replace(ended.state, members=young)
        self.state = rounds.carry_over(over, self.state, now_s=self.parts.now_s())
        for device in self.state.members:
            job = ended.job_of(device) or ended.job
            self.jobs[job.number] = job
            self._counting.take_over(device, ended._counting)
            self._appended[device] = ended._appended[device]
        self._writing = ended._writing
        ended.successor = self

    async def replay(
        self,
        admitted: Mapping[str, bool],
        logged: Sequence[tuple[Job, Sequence[Entry]]],
        committed: Iterable[UpdateRow],
        *,
        carried: Mapping[str, Origin],
    ) -> None:
        """Rebuild state, index and sum of a round that was open when its server died.

        Args:
            admitted: says of each device whether it holds its place still.
            logged: what is in the log of each job, its own included.
            committed: updates that count, in the order of summation.
            carried: who works on the task of an earlier round.
        """
        self.recorded_admissions |= set(admitted)
        gone = [device for device, stays in admitted.items() if not stays]
        self.state = rounds.readmit(self.state, set(admitted) - set(gone), gone, carried)
        self.jobs |= {job.number: job for job, _ in logged}
        for job, entries in logged:
            for entry in entries:
                if self.works_on(entry.device, job.number):
                    self._hold_again(job, entry)
        now_s = self.parts.now_s()
        updates = list(committed)
        positions = [(u.device, u.position, bits(u.chunks)) for u in updates]
        self.state = rounds.recommit(self.state, positions, now_s=now_s)
        for update in updates:
            decoded = await self._decode(update.device, trusted=True)
            await self._counting.add(decoded, position=update.position)

    def _hold_again(self, job: Job, entry: Entry) -> None:
        frame = unpack(job.log.read(entry))
        self._appended[entry.device] += entry.size
        label = job.wanted.label(frame, seed=frame.seed)
        same = self._counting.same(entry.device, frame)
        event = rounds.ChunkStored(entry.device, frame.index, label, same)
        self.state, effects = rounds.step(self.state, event, self.parts.now_s())
        if same is None and effects == (rounds.Held(),):
            self._counting.hold(frame.index, entry, job.log)

    def give_up(self) -> None:
        """Take nothing more, and come to nothing."""
        self.given_up = True
        self.state = rounds.reclose(self.state)

    def close_again(self, *, count_unfinished: bool) -> None:
        """Go on closing: what devices were told is closed stays closed."""
        self.state = rounds.reclose(self.state)
        self.parts.closing(count_unfinished)


def _retrieve(task: "asyncio.Task[T]") -> None:
    """Look at a task's error, so that one whose caller is gone does not cry for attention."""
    if not task.cancelled():
        task.exception()
