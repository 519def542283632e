"""From one round to the next: opening, closing, publishing, taking up again after a crash."""

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Literal, TypeVar

from edge_sdk.errors import Reason, Refused
from edge_sdk.values import Vector
from server_ref import rounds
from server_ref.coordinator.beginning import Beginning, Opening
from server_ref.coordinator.carrying import hands_on
from server_ref.coordinator.current import CurrentRound
from server_ref.coordinator.ending import Ending, kept_rounds, make_version, oldest_log
from server_ref.coordinator.jobs import Job
from server_ref.coordinator.limits import PATIENT_ROUNDS, recess_s
from server_ref.coordinator.measuring import measured
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.splitting import forget_sessions
from server_ref.coordinator.staging import next_terms, past_of, past_of_round
from server_ref.growth import Past
from server_ref.rounds import Phase, Round
from server_ref.settings import Terms
from server_ref.store import Connection, memories, orders, records
from server_ref.store.records import RoundRow

RETRY_S = 5.0
"""Pause before a round's end is tried again after the disk refused it."""

TICK_S = 0.5
"""How often the deadline is looked at."""

TICKS_PER_RECORD = 4
"""Ticks between two writes of the traffic counts."""

RECENT_ROUNDS = 5
"""Rounds that the expected length of a round is drawn from."""

T = TypeVar("T")

log = logging.getLogger(__name__)


class Cycle:
    """Holds the current round and moves the run on. All calls on one event loop."""

    def __init__(self, parts: RunParts) -> None:
        self.current: CurrentRound | None = None
        """None once the run is finished."""
        self.current_opened_at = 0.0
        self.last_round = 0
        """Number of the newest round, open or over."""
        self.model_version = parts.read(lambda c: records.last_version(c, parts.run.run))
        self.recent_s: list[float] = []
        """How long the latest rounds took."""
        self.fruitless = 0
        """Rounds in a row, up to the latest, that made no version."""
        self.mode = parts.read(lambda c: orders.mode_of(c, parts.run.run))
        """How the operator wants it to go on; stopped, no round opens any more."""
        self.stopping = asyncio.Event()
        self.round_ended = asyncio.Event()
        """Set when a round ended; cleared by who follows the run."""
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Gets the exception when a background job dies: a bug, so the server should end."""
        self._parts = parts
        self._sums = ThreadPoolExecutor(1, thread_name_prefix="sums")
        self._files = ThreadPoolExecutor(1, thread_name_prefix="files")
        self._beginning = Beginning(
            parts, worker=self._sums, in_thread=self._in_thread, closing=self._begin_closing
        )
        self._background: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take the run up where the state folder left it."""
        parts = self._parts
        await self._in_thread(self._drop_unrecorded)  # what a crash kept from being dropped
        rows = parts.read(lambda c: records.rounds(c, parts.run.run))
        self.last_round = rows[-1].number if rows else 0
        self.recent_s = [r.closed_at - r.opened_at for r in rows if r.closed_at is not None][
            -RECENT_ROUNDS:
        ]
        for row in rows:
            self._count_end(made_version=row.state == "published", over=row.state != "open")
        if rows and rows[-1].state == "open":
            await self._take_up(rows[-1])
        else:
            opening = self._next(self.model_version)
            if opening is not None:
                await parts.write(partial(self._record_opening, opening))
                current = await self._beginning.of(opening, recess_s=self._recess_s())
                self._enter(current, opening)
        self.spawn(self._watch())

    async def stop(self) -> None:
        """Let what is being written be written; the next start goes on from there."""
        self.stopping.set()
        if self.current is not None:
            await self.current.wait_commits()
        if self._closing is not None:
            await asyncio.wait([self._closing], timeout=RETRY_S)
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await self._record_traffic()
        for executor in (self._sums, self._files):
            await asyncio.to_thread(executor.shutdown)
        if self.current is not None:
            _close_logs(self.current.jobs.values())

    def tick(self) -> None:
        """Look at the clock: closes a round that is due."""
        current = self.current
        if current is None or current.state.phase is not Phase.OPEN:
            return
        due = current.remaining_s() == 0.0
        current.decide(rounds.Tick())
        if due and self.mode == "stopped" and not current.closing:
            # A buffer waits for its updates, but nobody new is let in to make them.
            self.spawn(self.give_up())

    # ------------------------------------------------------------------ opening

    def _next(self, model_version: int, *ending: Past) -> Opening | None:
        """The round that follows; None after the last version, or where the run was stopped.

        `ending` is the round that makes the newest version, while that is not on record.
        """
        parts = self._parts
        if self.mode == "stopped":
            return None
        rows = parts.read(lambda c: records.rounds(c, parts.run.run))
        past = past_of(rows, model_version, ending=ending)
        terms = next_terms(parts.settings, parts.plan, past)
        if terms is None:
            return None
        return Opening(self.last_round + 1, model_version, terms, parts.outside.wall_s())

    def _record_opening(self, opening: Opening, connection: Connection) -> None:
        records.open_round(
            connection,
            self._parts.run.run,
            number=opening.number,
            model_version=opening.model_version,
            terms=opening.terms,
            at=opening.at,
        )

    def _enter(self, current: CurrentRound, opening: Opening) -> None:
        """Make a prepared round the current one."""
        self.last_round = opening.number
        self.current_opened_at = opening.at
        self.current = current
        self._parts.tell(
            "round-opened", number=opening.number, text=f"from version {opening.model_version}"
        )

    async def _take_up(self, row: RoundRow) -> None:
        """Go on with the round that was open when the server ended."""
        opening = Opening(row.number, row.model_version, row.terms, row.opened_at)
        current, chunks = await self._beginning.again(opening, recess_s=self._recess_s())
        self._enter(current, opening)
        log.info("round %d taken up again with %d chunks", row.number, chunks)
        if row.closing is None:
            self.tick()
        else:
            current.close_again(count_unfinished=row.closing)

    # ------------------------------------------------------------------ commits and the end

    def _begin_closing(self, count_unfinished: bool) -> None:
        if self.current is not None:
            self._closing = self.spawn(self._close(self.current, count_unfinished))

    async def give_up(self, *, back_to: int | None = None) -> None:
        """Abandon the open round; with `back_to`, publish that version's weights as a new one.

        A round that is closing already ends as it would, and the one after it is given up. What
        was recorded of the abandoned round stays, and so do its receipts.

        Raises:
            Refused: `storage`, while no round is open; with one, the disk is waited for.
        """
        while self.current is not None and self.current.closing:
            await self.current.ended.wait()
        current = self.current
        if current is not None:
            current.give_up()
            self._closing = self.spawn(self._finish(current, False, back_to))
            await asyncio.shield(self._closing)
        elif back_to is not None:
            ending = await self._old_version(back_to, self.model_version)
            at = self._parts.outside.wall_s()
            await self._parts.write(partial(self._record_version, ending, back_to, at))
            self.model_version += 1

    async def _close(self, current: CurrentRound, count_unfinished: bool) -> None:
        """End the round and begin the next."""
        run, number = self._parts.run.run, current.number

        def mark(connection: Connection) -> None:
            records.mark_closing(connection, run, number, count_unfinished=count_unfinished)
            memories.count_fleet(connection, run, number)

        await self.insist(partial(self._parts.write, mark))
        await self._finish(current, count_unfinished)

    async def _finish(
        self, current: CurrentRound, count_unfinished: bool, back_to: int | None = None
    ) -> None:
        end = partial(self._end, current, count_unfinished=count_unfinished, back_to=back_to)
        settled, opening, weights = await self.insist(end)
        carries = opening is not None and hands_on(current.parts.terms, opening.terms)
        if not carries:
            current.state = settled
        published = settled.phase is Phase.PUBLISHED or back_to is not None
        self.model_version += published
        self._count_end(made_version=published, declined=settled.is_declined())
        if self.fruitless >= PATIENT_ROUNDS:
            self._complain(current.last_trouble)
        took_s = self._parts.outside.wall_s() - self.current_opened_at
        self.recent_s = [*self.recent_s, max(took_s, 0.0)][-RECENT_ROUNDS:]
        await self._record_traffic()
        following: CurrentRound | None = None
        if opening is not None:
            begin = partial(self._beginning.of, opening, weights=weights, recess_s=self._recess_s())
            following = await self.insist(begin)
            if carries:  # chunks were taken until now: over and carried on is one step
                current.state = dataclasses.replace(current.state, phase=settled.phase)
                since = 0 if back_to is None else opening.model_version
                following.take_over(current, since_version=since)
            self._enter(following, opening)
        self.current = following
        text = f"{settled.phase} with {len(settled.counted())} updates"
        self._parts.tell("round-closed", number=current.number, text=text)
        current.ended.set()
        self.round_ended.set()
        kept = set() if following is None else set(following.jobs)
        done = [job for number, job in current.jobs.items() if number not in kept]
        await self._in_thread(partial(_close_logs, done))

    def _count_end(self, *, made_version: bool, over: bool = True, declined: bool = False) -> None:
        """What all devices declined may bring about a recess, but does not lengthen it."""
        if made_version:
            self.fruitless = 0
        elif over and not (declined and self.fruitless >= PATIENT_ROUNDS):
            self.fruitless += 1

    def _recess_s(self) -> float:
        return recess_s(fruitless=self.fruitless, pace_s=self._parts.settings.pace_s)

    def _complain(self, trouble: str) -> None:
        last = ascii(trouble) if trouble else "too few updates at the deadline"
        line = (
            f"WARNING: {self.fruitless} rounds in a row made no version; nobody is admitted for "
            f"{self._recess_s():.0f} s. Last trouble: {last}"
        )
        log.error("%s", line)
        self._parts.outside.tell(line)

    async def _end(
        self, current: CurrentRound, *, count_unfinished: bool, back_to: int | None
    ) -> tuple[Round, Opening | None, Vector]:
        """New version files, then one transaction; only then anybody sees the new round."""
        parts = self._parts
        run, number = parts.run.run, current.number
        settled, unfinished = await current.settle(count_unfinished=count_unfinished)
        published = settled.phase is Phase.PUBLISHED
        ending: Ending | None = None
        if published:
            counted = parts.read(lambda c: records.updates(c, run, number))
            make = partial(
                make_version, parts, current, [*counted, *unfinished], settled.model_version
            )
            ending = await self._in_thread(make)
        elif back_to is not None:
            ending = await self._old_version(back_to, settled.model_version)
        weights = current.parts.weights if ending is None else ending.weights
        made: list[Past] = []
        if published and ending is not None:
            ending = await self._measure_for_growth(ending, current.parts.terms)
            made = [past_of_round(current.parts.terms, ending.figures)]
        opening = self._next(settled.model_version + (ending is not None), *made)
        at = parts.outside.wall_s()

        def change(connection: Connection) -> None:
            state: Literal["published", "abandoned"] = "published" if published else "abandoned"
            records.close_round(connection, run, number, state=state, at=at)
            for update in unfinished:
                records.add_update(connection, run, number, update, None)
            if ending is not None:
                self._record_version(ending, back_to, at, connection)
            if opening is not None:
                self._record_opening(opening, connection)

        await parts.write(change)
        await self._in_thread(partial(self._tidy, settled))
        log.info("round %d %s, %d updates", number, settled.phase, len(settled.counted()))
        return settled, opening, weights

    async def _measure_for_growth(self, ending: Ending, terms: Terms) -> Ending:
        """With figures, where it depends on them what the next round trains."""
        if self._parts.settings.schedule != "plateau":
            return ending
        version = ending.row.version
        figures = await measured(self._parts, version, ending.weights, terms.stage)
        return dataclasses.replace(ending, figures=figures, measured=True)

    async def _old_version(self, source: int, version: int) -> Ending:
        """An old version's weights as the one after `version`; its files are durable."""
        library, run = self._parts.library, self._parts.run.run
        old = self._parts.read(lambda c: records.version(c, run, source))
        newest = self._parts.read(lambda c: records.version(c, run, version))
        if old is None or newest is None:
            raise Refused(Reason.NOT_FOUND, "no such version, or its files are no longer kept")

        def publish() -> Ending:
            weights = library.weights(old)
            return Ending(library.publish(weights, library.state(newest), number=None), weights)

        return await self._in_thread(publish)

    def _record_version(
        self, ending: Ending, back_to: int | None, at: float, connection: Connection
    ) -> None:
        run, version = self._parts.run.run, ending.row.version
        ending.record(connection, run)
        records.drop_versions(connection, run, before=self._oldest_kept(version))
        if back_to is not None:
            orders.add_rollback(connection, run, version, source=back_to, at=at)

    def _oldest_kept(self, version: int) -> int:
        return version + 1 - self._parts.settings.keep_versions

    def _tidy(self, ended: Round) -> None:
        """Remove files that nothing recorded needs any more; what fails is left for later."""
        parts, run = self._parts, self._parts.run.run
        rows = parts.read(lambda c: records.rounds(c, run))
        with contextlib.suppress(OSError):
            logs_from = oldest_log(ended, rows, keep=parts.settings.keep_logs)
            parts.folder.forget_chunk_logs(run, before=logs_from)
            forget_sessions(parts, up_to=self.last_round)
        self._drop_unrecorded()

    def _drop_unrecorded(self) -> None:
        """Remove files of versions and memories that are not on record, or no longer."""
        parts, run = self._parts, self._parts.run.run
        with contextlib.suppress(OSError):
            parts.library.keep(
                row.version for row in parts.read(partial(records.versions, run=run))
            )
            parts.library.keep_memories(
                kept_rounds(parts.read(lambda c: memories.memories(c, run)))
            )

    async def insist(self, job: Callable[[], Awaitable[T]]) -> T:
        """Do `job` again until the disk takes it."""
        while True:
            try:
                return await job()
            except Refused as refusal:
                log.warning("trying again in %.0f s: %s", RETRY_S, refusal)
                await asyncio.sleep(RETRY_S)

    # ------------------------------------------------------------------ background

    async def _watch(self) -> None:
        """Look at the clock and write traffic down, for ever."""
        while True:
            for _ in range(TICKS_PER_RECORD):
                await asyncio.sleep(TICK_S)
                self.tick()
            await self._record_traffic()

    async def _record_traffic(self) -> None:
        with contextlib.suppress(Refused):
            await self._parts.record_traffic()

    def spawn(self, job: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Run `job` until the run stops; should it die, the run has failed."""
        task = asyncio.ensure_future(job)
        self._background.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._background.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("the run cannot go on", exc_info=error)
            if not self.failed.done():
                self.failed.set_exception(error)

    async def _in_thread(self, job: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, job)


def _close_logs(jobs: Iterable[Job]) -> None:
    """Finish what is queued and let go of the files. Blocks."""
    for job in jobs:
        job.log.close()
