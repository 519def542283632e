"""What follows a round's end: its version is measured and the operator told."""

import asyncio
import logging
from functools import partial

from edge_sdk.errors import EdgeError
from edge_sdk.values import Evaluation
from edge_sdk.values.summaries import RoundSummary, RunSummary
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.measuring import measured, tell_unmeasured
from server_ref.coordinator.parts import Evaluate, RunParts
from server_ref.coordinator.summary import summarise
from server_ref.coordinator.telling import fall_line, finished_line, round_line
from server_ref.store import records
from server_ref.store.records import RoundRow

log = logging.getLogger(__name__)


class Aftermath:
    """Follows a run: every round that ends is measured, where that is asked for, and told once."""

    def __init__(self, parts: RunParts, cycle: Cycle) -> None:
        self._parts = parts
        self._cycle = cycle
        self._fallen = False
        self._told = 0
        """Rounds up to this one are done with."""

    async def follow(self) -> None:
        """Measure and tell, for ever; what an earlier process measured is not told again."""
        self._told = self._done_before()
        while True:
            self._cycle.round_ended.clear()
            for row in self._rows():
                if row.number > self._told and row.state != "open":
                    await self._finish(row)
                    self._told = row.number
            run = await self._summary()
            if run.state == "finished":
                self._parts.outside.tell(finished_line(run))
            await self._cycle.round_ended.wait()

    def _rows(self) -> list[RoundRow]:
        return self._parts.read(lambda c: records.rounds(c, self._parts.run.run))

    def _done_before(self) -> int:
        done = 0
        for row in self._rows():
            if row.state == "open" or self._to_measure(row) is not None:
                break
            done = row.number
        return done

    def _to_measure(self, row: RoundRow) -> Evaluate | None:
        return self._parts.evaluate if row.state == "published" and not row.measured else None

    async def _summary(self) -> RunSummary:
        return await summarise(self._parts, self._cycle, devices=0)

    async def _finish(self, row: RoundRow) -> None:
        if self._to_measure(row) is not None:
            await self._measure(row)
        rounds = (await self._summary()).rounds
        at = next(i for i, one in enumerate(rounds) if one.round == row.number)
        self._parts.outside.tell(round_line(rounds[at]))
        self._warn(rounds[at], list(rounds[:at]))

    def _warn(self, now: RoundSummary, before: list[RoundSummary]) -> None:
        """Say it when the model becomes far worse than it was; not again before it recovers."""
        line = fall_line(now, before)
        if line is not None and not self._fallen:
            log.error("%s", line)
            self._parts.outside.tell(line)
        self._fallen = line is not None

    async def _measure(self, row: RoundRow) -> None:
        """Record how good the version is, or that this cannot be told."""
        parts, run = self._parts, self._parts.run.run
        version = parts.read(partial(records.version, run=run, number=row.model_version + 1))
        evaluation: Evaluation | None = None
        try:
            if version is not None:  # its files are still there
                weights = await asyncio.to_thread(parts.library.weights, version)
                evaluation = await measured(parts, version.version, weights, row.terms.stage)
        except EdgeError as error:
            tell_unmeasured(parts, row.model_version + 1, error)
        change = partial(records.add_evaluation, run=run, number=row.number, evaluation=evaluation)
        await self._cycle.insist(partial(parts.write, change))
