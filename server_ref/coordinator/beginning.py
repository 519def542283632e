"""Rounds begin, or begin again after a crash, from what is recorded of them."""

import asyncio
import dataclasses
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Protocol, TypeVar

from edge_sdk.values import Commit, Vector
from server_ref import rounds
from server_ref.coordinator.carrying import origins_taken
from server_ref.coordinator.current import CurrentRound
from server_ref.coordinator.jobs import Job, RoundParts, job_of_round
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.splitting import split_change
from server_ref.downlink import derive_seed
from server_ref.rounds import Origin, Round, Rules
from server_ref.settings import Terms
from server_ref.store import ChunkLog, Connection, Entry, memories, orders, records
from server_ref.store.records import UpdateRow

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Opening:
    """A round about to open, and when that was decided."""

    number: int
    model_version: int
    terms: Terms
    at: float


class InThread(Protocol):
    """Does what blocks elsewhere."""

    async def __call__(self, job: Callable[[], T], /) -> T:
        """The job's result."""
        ...


class Beginning:
    """Makes current rounds.

    Args:
        parts: of the run.
        worker: where rounds decode and sum.
        in_thread: for files.
        closing: see `RoundParts.closing`.
    """

    def __init__(
        self,
        parts: RunParts,
        *,
        worker: Executor,
        in_thread: InThread,
        closing: Callable[[bool], None],
    ) -> None:
        self._parts = parts
        self._worker = worker
        self._in_thread = in_thread
        self._closing = closing

    async def of(
        self, opening: Opening, *, weights: Vector | None = None, recess_s: float
    ) -> CurrentRound:
        """A recorded round, as it is when it opens.

        `weights` are those it trains from, read where not given; nobody is admitted for `recess_s`.

        Raises:
            Refused: `storage`.
        """
        parts, number, terms = self._parts, opening.number, opening.terms
        if weights is None:
            row = parts.read(lambda c: records.version(c, parts.run.run, opening.model_version))
            if row is None:
                raise RuntimeError(f"round {number} needs version {opening.model_version}")
            weights = parts.library.weights(row)
        state = rounds.open_round(
            number=number,
            model_version=opening.model_version,
            rules=Rules(
                cohort=terms.cohort,
                min_updates=terms.min_updates,
                deadline_s=terms.deadline_s,
                over_selection=terms.over_selection,
                max_staleness=terms.max_staleness,
            ),
            admits_from_s=parts.outside.now_s() + recess_s if recess_s else None,
        )
        current = CurrentRound(state, await self._round_parts(number, terms, weights))
        given = parts.read(lambda c: memories.given_memories(c, parts.run.run, number))
        current.memory_rounds.update(given)
        current.small |= parts.read(lambda c: records.small_places(c, parts.run.run, number))
        return current

    async def again(self, opening: Opening, *, recess_s: float) -> tuple[CurrentRound, int]:
        """A round as it was when its server died, and the number of chunks in its log.

        Raises:
            Refused: `storage`.
        """
        current = await self.of(opening, recess_s=recess_s)
        parts, run, number = self._parts, self._parts.run.run, opening.number
        carried = parts.read(partial(_carried, run=run, state=current.state))
        origins = sorted(set(carried.values()), key=lambda origin: origin.round)
        jobs = [*[await self._old_job(current, origin) for origin in origins], current.job]
        logged = [(job, await self._in_thread(partial(_entries, job))) for job in jobs]
        await current.replay(
            parts.read(lambda c: records.admissions(c, run, number)),
            logged,
            parts.read(lambda c: records.updates(c, run, number)),
            carried=carried,
        )
        return current, len(logged[-1][1])

    async def _round_parts(self, number: int, terms: Terms, weights: Vector) -> RoundParts:
        parts = self._parts
        return RoundParts(
            run=parts.run.run,
            plan=parts.run.plan,
            terms=terms,
            log=await self._open_log(number),
            weights=weights,
            segments=parts.library.segments,
            worker=self._worker,
            record=partial(self._record_commit, number),
            seed_of=partial(self._seed_of, number),
            now_s=parts.outside.now_s,
            closing=self._closing,
            split_change=split_change(parts, terms, number),
        )

    async def _old_job(self, current: CurrentRound, origin: Origin) -> Job:
        """What an earlier round asked of those who were carried on."""
        parts = self._parts
        rows = parts.read(lambda c: records.rounds(c, parts.run.run))
        old = dataclasses.replace(
            current.parts,
            terms=next(row.terms for row in rows if row.number == origin.round),
            log=await self._open_log(origin.round),
            seed_of=partial(self._seed_of, origin.round),
        )
        return job_of_round(old, number=origin.round, version=origin.version)

    def _seed_of(self, number: int, device: str) -> int:
        return derive_seed(self._parts.run.seed, "update", number, device)

    async def _open_log(self, number: int) -> ChunkLog:
        parts = self._parts
        path = parts.folder.chunk_log(parts.run.run, number)
        return await self._in_thread(partial(parts.outside.open_log, path, sync=parts.outside.sync))

    def _record_commit(self, number: int, update: UpdateRow, commit: Commit) -> "Future[None]":
        run = self._parts.run.run
        done = self._parts.database.write(
            lambda c: records.add_update(c, run, number, update, commit)
        )
        task = number if update.origin is None else update.origin
        counted = partial(self._parts.counted, task, update, commit)
        asyncio.wrap_future(done).add_done_callback(counted)
        return done


def _carried(connection: Connection, *, run: str, state: Round) -> dict[str, Origin]:
    """Who works in a round on the task of an earlier one, from what is recorded."""
    taken = origins_taken(
        records.rounds(connection, run),
        state.number,
        since_version=max(orders.rollbacks(connection, run), default=0),
    )
    if not taken:
        return {}
    admitted = {one: records.admissions(connection, run, one.round) for one in taken}
    left = records.counted_before(connection, run, state.number, since=taken[0].round)
    left |= {
        (device, origin.round)
        for origin, devices in admitted.items()
        for device, stays in devices.items()
        if not stays
    }
    return rounds.still_carried(state, admitted, left)


def _entries(job: Job) -> list[Entry]:
    """What its log holds. Blocks."""
    return list(job.log.entries())
