"""What every call needs of the run."""

import asyncio
import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from edge_sdk.errors import Reason, Refused
from edge_sdk.plan.split import DEVICE_PARTS
from edge_sdk.values import (
    CheckIn,
    Commit,
    Decline,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Task,
    Wait,
)
from edge_sdk.values.summaries import RunSummary
from edge_sdk.wire import Frame
from server_ref import rounds
from server_ref.coordinator.current import CurrentRound
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.desk import Desk
from server_ref.coordinator.identity import Registry, hash_attempt, hash_token
from server_ref.coordinator.labels import stands_for
from server_ref.coordinator.limits import most_chunks, most_update_bytes, pause_s
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.shelf import Shelf
from server_ref.coordinator.split_offers import split_offer
from server_ref.coordinator.splitting import Splitting
from server_ref.coordinator.summary import summarise
from server_ref.downlink import derive_seed
from server_ref.settings import Terms
from server_ref.store import Connection, identities, memories, records
from server_ref.store.records import UpdateRow

if TYPE_CHECKING:
    from server_ref.split import Visit

log = logging.getLogger(__name__)


class Coordinator:
    """One run as its callers see it; made by `open_run`. All calls on one event loop."""

    def __init__(self, parts: RunParts, cycle: Cycle, splitting: Splitting) -> None:
        self.plan = parts.plan
        self.run = parts.run.run
        self.traffic = parts.traffic
        self.shelf = Shelf(parts)
        self.devices = Registry(parts.read(identities.devices))
        self.settings = parts.settings
        self.news = parts.news
        self.ledger = parts.ledger
        self.desk = Desk(parts, cycle, self.devices)
        self._parts = parts
        self._cycle = cycle
        self._splitting = splitting
        self._pauses = 0

    @property
    def stopping(self) -> bool:
        """Whether the server is about to end."""
        return self._cycle.stopping.is_set()

    def prepare_stop(self) -> None:
        """Take nothing new and let waiting devices and listeners go."""
        self._cycle.stopping.set()
        self._parts.tell("run", text="the server is stopping")

    # ------------------------------------------------------------------ calls of devices

    async def enrol(self, request: Enrol) -> Enrolled:
        """Turn a join token's use into a device; the same attempt again into the same device.

        Raises:
            Refused: `unauthorised`, `revoked` or `storage`.
        """
        token = self._parts.outside.new_token()
        change = partial(
            identities.enrol_device,
            join_hash=hash_token(request.join_token),
            attempt_hash=hash_attempt(request.join_token, request.attempt),
            name=lambda n: f"{derive_seed(self._parts.run.seed, 'device', n):014x}{n:018x}",
            token_hash=hash_token(token),
            facts=request.facts,
            at=self._parts.outside.wall_s(),
        )
        device = await self._parts.write(change)
        new = self.devices.add(hash_token(token), device)
        if new:
            self._parts.tell("device-joined", device=device, text=request.facts.name)
            self._parts.outside.tell(f"device {device} joined, named {request.facts.name!a}")
        return Enrolled(device=device, token=token, plan=self.plan.digest)

    async def check_in(
        self, device: str, request: CheckIn, *, still_there: Callable[[], bool] = lambda: True
    ) -> Task | Wait | Finished:
        """Work for a device, or a pause; holds the answer up to `wait_s` while there is none.

        A device that is no longer `still_there` when work turns up gets no place, nor does one that
        was withdrawn while it waited.

        Raises:
            Refused: `revoked`.
        """
        until_s = self._parts.outside.now_s() + request.wait_s
        while True:
            current = await self._quiet_round(device)
            self.devices.check(device)
            if current is None or (held := self._held_back(current, device)) == "stopped":
                return Finished(run=self.run, model_version=self._cycle.model_version)
            if held is not None:
                return Wait(retry_after_s=self._pause_s(current, device), why=held)
            effect = current.decide(rounds.CheckIn(device))
            if isinstance(effect, rounds.Offer):
                return await self._offer(current, device, request)
            left_s = until_s - self._parts.outside.now_s()
            if self.stopping:
                return Wait(retry_after_s=self._away_s(device), why="the server is stopping")
            if left_s <= 0:
                why = effect.why if isinstance(effect, rounds.Wait) else ""
                return Wait(retry_after_s=self._pause_s(current, device), why=why)
            await self._wait_end(current, left_s)
            if not still_there():
                return Wait(retry_after_s=0.0, why="nobody reads this")

    def take_chunk(self, device: str, number: int, frame: Frame) -> "asyncio.Task[None] | None":
        """See `CurrentRound.take_chunk`.

        Raises:
            Refused: see there; also `round-closed` and `not-admitted` for other rounds.
        """
        return self._round_of(device, number).take_chunk(device, frame)

    @property
    def most_split_bytes(self) -> int:
        """Largest message of a split session."""
        return self._splitting.most_bytes

    def split_visit(self, device: str, number: int) -> "Visit":
        """Let a connection of a device into its split session of the open round.

        Raises:
            Refused: see `Splitting.visit`; also `round-closed` and `not-admitted` for other rounds.
        """
        return self._splitting.visit(self._open_round(number), device)

    def check_split(self, number: int) -> None:
        """See that a round still takes split sessions' messages.

        Raises:
            Refused: `round-closed`, or `busy` while the server is stopping.
        """
        if self._open_round(number).closing:
            raise Refused(Reason.ROUND_CLOSED, "the round is over")

    def largest_upload(self, device: str, number: int) -> tuple[int, int]:
        """Bytes of the largest frame, and of the largest update, that a round takes.

        Raises:
            Refused: `round-closed`, `stale-model` or `not-admitted`.
        """
        current = self._round_of(device, number)
        terms = (current.job_of(device) or current.job).terms
        dimension = self._parts.library.segments.stage(terms.stage).size
        return terms.chunk_bytes, most_update_bytes(dimension, most_chunks(dimension))

    async def progress(self, device: str, number: int) -> Progress:
        """What is held of an update, with its receipt once it counts.

        Raises:
            Refused: `round-closed` when the round is over without it, or `stale-model` where later
                ones took updates for it; `not-admitted`.
        """
        current = self._working(device, number)
        if current is not None:
            return current.progress(device)
        receipt = self._past_receipt(device, number)
        return Progress(held=receipt.chunks, receipt=receipt)

    async def commit(self, device: str, number: int, commit: Commit) -> Receipt:
        """Count an update; the same question gets the same answer.

        Raises:
            Refused: see `CurrentRound.commit`; `round-closed` when the round ended without it, or
                `stale-model` where later ones took updates for it.
        """
        while (current := self._working(device, number)) is not None:
            receipt = await current.commit(device, commit)
            if receipt is not None:
                return receipt
            await self._wait_end(current, None)
            if self.stopping:
                break
        return self._past_receipt(device, number, commit)

    async def decline(self, device: str, number: int, decline: Decline) -> Wait:
        """Take a place back, durably; for a round that is over there is nothing left to do.

        Raises:
            Refused: `not-admitted` where there is no such place, `storage`.
        """
        current = self._working(device, number)
        if current is None:
            if number > self._cycle.last_round:
                raise Refused(Reason.NOT_ADMITTED, "no such round yet; check in first")
            return Wait(retry_after_s=self._parts.settings.pace_s, why="the round is over")
        why = current.decline(device, decline.why)
        log.info("%s declined round %d: %s", device, number, ascii(decline.why))
        if current.state.members[device].standing is rounds.Standing.DECLINED:
            await self._parts.write(lambda c: records.decline_place(c, self.run, number, device))
        return Wait(retry_after_s=self._pause_s(current, device), why=why)

    # ------------------------------------------------------------------ what can be read

    async def summary(self) -> RunSummary:
        """The run as its operator sees it."""
        return await summarise(self._parts, self._cycle, devices=len(self.devices))

    def ready(self) -> str | None:
        """Why the server takes no work now; None where it does."""
        if self.stopping:
            return "stopping"
        if self._cycle.failed.done():
            return "the run cannot go on"
        return self._parts.folder.trouble()

    def traffic_round(self, named: int | None) -> int:
        """The round that a call's bytes belong to: the one it names, if there is such a round."""
        if named is not None and 1 <= named <= self._cycle.last_round:
            return named
        return self._cycle.last_round

    # ------------------------------------------------------------------ one call's parts

    async def _quiet_round(self, device: str) -> CurrentRound | None:
        """The current round, once no chunk of the device is on its way to the disk."""
        if self._cycle.current is not None:
            await self._cycle.current.written(device)
        return self._cycle.current

    async def _offer(self, current: CurrentRound, device: str, request: CheckIn) -> Task:
        job = current.job_of(device)
        if job is not None and job is not current.job:  # on record with the round it is from
            size = self.shelf.bytes_for(request, job.version, job.terms.stage)
            task = current.task(device, download_bytes=size)
            return self._with_split(task, job.terms, request)
        admitted = device in current.recorded_admissions
        before = current.memory_rounds.get(device)
        base = self._memory_base(current, device, request)
        if not admitted and current.parts.terms.least_stage is not None:
            number = current.number
            last = self._parts.read(lambda c: records.last_trained(c, self.run, number, device))
            current.place(device, last=last)
        if not admitted or base != before:
            small = device in current.small
            await self._parts.write(
                partial(self._record_offer, current.number, device, base, small)
            )
            current.recorded_admissions.add(device)
        if base is not None:
            current.memory_rounds[device] = base
        elif before is not None:
            del current.memory_rounds[device]
        terms = current.parts.terms
        size = self.shelf.bytes_for(request, current.state.model_version, terms.stage)
        task = current.task(device, download_bytes=size)
        return self._with_split(task, terms, request)

    def _with_split(self, task: Task, terms: Terms, request: CheckIn) -> Task:
        """The task with what the way `split` costs, where it is offered."""
        if "split" not in task.ways:
            return task
        size = self.shelf.bytes_for(request, task.model_version, DEVICE_PARTS)
        offer = split_offer(self._parts.plan, terms, download_bytes=size)
        return dataclasses.replace(task, split=offer)

    def _record_offer(
        self, number: int, device: str, base: int | None, small: bool, connection: Connection
    ) -> None:
        records.add_admission(connection, self.run, number, device, small=small)
        memories.give_memory(connection, self.run, number, device, base)

    def _memory_base(self, current: CurrentRound, device: str, request: CheckIn) -> int | None:
        """Which Artemis memory the device goes on from: its own if the server has the same.

        Whatever else it says (nothing, an older round, a later one), both begin at zero. Once
        chunks are held that were made from one memory, the answer stays.
        """
        if current.parts.terms.memory != "artemis":
            return None
        if current.state.members[device].held:
            return current.memory_rounds.get(device)
        kept = self._parts.read(partial(memories.memory_round, run=self.run, device=device))
        same = request.holds_run == self.run and request.memory_round == kept
        return kept if same else None

    def _held_back(self, current: CurrentRound, device: str) -> str | None:
        """Why the operator lets this device have no work; None where there is work as usual.

        Who holds a place already may finish its update.
        """
        if self._cycle.mode == "running":
            return None
        member = current.state.members.get(device)
        if member is not None and member.standing is rounds.Standing.ADMITTED:
            return None
        return "stopped" if self._cycle.mode == "stopped" else "the operator paused the run"

    def _away_s(self, device: str) -> float:
        """When to come back to a server that is stopping: not all at once."""
        self._pauses += 1
        share = derive_seed(self._pauses, device) / 2**53
        return self._parts.settings.away_s * (0.5 + share)

    def _pause_s(self, current: CurrentRound, device: str) -> float:
        self._pauses += 1
        return pause_s(
            pace_s=self._parts.settings.pace_s,
            recent_s=self._cycle.recent_s,
            elapsed_s=self._parts.outside.wall_s() - self._cycle.current_opened_at,
            remaining_s=current.remaining_s(),
            recess_s=current.recess_s(),
            device=device,
            attempt=self._pauses,
        )

    async def _wait_end(self, current: CurrentRound, left_s: float | None) -> None:
        """Until the round is over, the server stops, or the time is up."""
        waits = [
            asyncio.ensure_future(event.wait()) for event in (current.ended, self._cycle.stopping)
        ]
        try:
            await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _open_round(self, number: int) -> CurrentRound:
        if self.stopping:
            raise self._leaving()
        if self._cycle.current is not None and self._cycle.current.number == number:
            return self._cycle.current
        if number <= self._cycle.last_round:
            raise Refused(Reason.ROUND_CLOSED, "the round is over")
        raise Refused(Reason.NOT_ADMITTED, "no such round yet; check in first")

    def _working(self, device: str, number: int) -> CurrentRound | None:
        """The current round, if an update of the device for the task of round `number` is for it.

        In buffers that may be an earlier task, which then is the only one.
        """
        current = self._cycle.current
        if current is None:
            return None
        job = current.job_of(device) or current.job
        return current if job.number == number else None

    def _round_of(self, device: str, number: int) -> CurrentRound:
        """The round that takes chunks for the task of round `number` from the device."""
        if self.stopping:
            raise self._leaving()
        current = self._working(device, number)
        if current is not None:
            return current
        if number <= self._cycle.last_round and self._counts(device, number) is None:
            raise self._closed(number)
        return self._open_round(number)

    def _closed(self, number: int) -> Refused:
        """Why an update for the task of a round is not taken any more."""
        current = self._cycle.current
        if current is None or current.parts.terms.max_staleness is None:
            return Refused(Reason.ROUND_CLOSED, "the round is over")
        if number == current.number:
            return Refused(Reason.NOT_ADMITTED, "there is another task under way; check in first")
        return Refused(Reason.STALE_MODEL, "the model went on without this; check in again")

    def _leaving(self) -> Refused:
        away_s = self._parts.settings.away_s
        return Refused(Reason.BUSY, "the server is stopping", retry_after_s=away_s)

    def _counts(self, device: str, number: int) -> UpdateRow | None:
        return self._parts.read(lambda c: records.update_of(c, self.run, number, device))

    def _past_receipt(self, device: str, number: int, commit: Commit | None = None) -> Receipt:
        if self.stopping and self._working(device, number) is not None:
            raise self._leaving()
        if number > self._cycle.last_round:
            raise Refused(Reason.NOT_ADMITTED, "no such round yet; check in first")
        update = self._counts(device, number)
        if update is None:
            raise self._closed(number)
        counted = (update.chunk_count, update.examples)
        if commit is not None and not (
            (commit.chunks, commit.examples) == counted and stands_for(update.codec, commit.codec)
        ):
            raise Refused(Reason.CONFLICT, "committed before with other content")
        return records.receipt_for(self.run, number, update)
