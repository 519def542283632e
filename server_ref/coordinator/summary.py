"""The run as its operator sees it."""

import asyncio
from functools import partial
from typing import Literal

from edge_sdk.values.summaries import RoundSummary, RunSummary
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.parts import RunParts
from server_ref.coordinator.staging import versions_wanted
from server_ref.store import Connection, records
from server_ref.store.records import RoundRow, Tally


async def summarise(parts: RunParts, cycle: Cycle, *, devices: int) -> RunSummary:
    """What is recorded, with the counts that are not recorded yet.

    A run counts as finished once its last version is published and, where versions are evaluated,
    evaluated too.
    """
    async with parts.recording:
        found = await asyncio.to_thread(parts.read, partial(_rounds, run=parts.run.run))
        rounds = tuple(_round(parts, cycle, *one) for one in found)
    pending = parts.evaluate is not None and any(
        row.state == "published" and not row.measured for row, _, _ in found
    )
    return RunSummary(
        run=parts.run.run,
        plan=parts.run.plan,
        state=_state(cycle, pending=pending),
        model_version=cycle.model_version,
        rounds_wanted=versions_wanted(parts.settings, parts.plan),
        dimension=parts.plan.layout(parts.plan.stages - 1).size,
        devices=devices,
        rounds=rounds,
    )


def _state(cycle: Cycle, *, pending: bool) -> Literal["running", "paused", "stopped", "finished"]:
    if cycle.mode == "stopped":
        return "stopped"
    if cycle.current is None and not pending:
        return "finished"
    return cycle.mode


def _rounds(connection: Connection, *, run: str) -> list[tuple[RoundRow, Tally, tuple[int, int]]]:
    """Rounds with participation and bytes, in one read."""
    tallies = records.tallies(connection, run)
    traffic = records.round_traffic(connection, run)
    return [
        (row, tallies.get(row.number, Tally()), traffic.get(row.number, (0, 0)))
        for row in records.rounds(connection, run)
    ]


def _round(
    parts: RunParts, cycle: Cycle, row: RoundRow, tally: Tally, recorded: tuple[int, int]
) -> RoundSummary:
    pending = parts.traffic.pending(row.number)
    current = cycle.current
    state = row.state
    ended_at = row.closed_at if row.closed_at is not None else parts.outside.wall_s()
    return RoundSummary(
        round=row.number,
        state="closing" if state == "open" and current and current.closing else state,
        model_version=row.model_version,
        admitted=tally.admitted,
        committed=tally.committed,
        partial=tally.partial,
        examples=tally.examples,
        bytes_up=recorded[0] + pending[0],
        bytes_down=recorded[1] + pending[1],
        seconds=max(0.0, ended_at - row.opened_at),
        loss=row.loss,
        accuracy=row.accuracy,
        stage=row.terms.stage,
        warm_up=row.terms.warm_up,
    )
