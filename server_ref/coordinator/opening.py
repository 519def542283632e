"""A state folder becomes a run: a new one, or the one it holds."""

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.identity import hash_token
from server_ref.coordinator.parts import Evaluate, RunParts, Surroundings
from server_ref.coordinator.publishing import Library
from server_ref.coordinator.run import Coordinator
from server_ref.coordinator.traffic import TrafficCounter
from server_ref.downlink import derive_seed
from server_ref.settings import Settings
from server_ref.store import Connection, Database, Folder, lock_folder, records, write_durably
from server_ref.store.records import RunRow


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A run that goes on while the context that gave it lasts."""

    coordinator: Coordinator
    operator_token: str
    join_token: str | None
    """Shown once, when the run is new; only its hash is kept."""
    failed: "asyncio.Future[None]"
    """Gets an exception when the run cannot go on."""


@contextlib.asynccontextmanager
async def open_run(
    settings: Settings,
    plan: Plan,
    *,
    evaluate: Evaluate | None = None,
    outside: Surroundings | None = None,
) -> AsyncIterator[Opened]:
    """Open the run of `settings.state`; leaving the context stops it cleanly.

    Raises:
        Misuse: the folder belongs to another plan, a newer release, or a running server.
        Refused: `storage`.
    """
    outside = outside or Surroundings()
    with (
        lock_folder(settings.state) as folder,
        contextlib.closing(Database(folder.database)) as database,
    ):
        run, join_token = _find_or_begin(folder, database, settings, plan, outside)
        parts = RunParts(
            folder=folder,
            database=database,
            settings=settings,
            plan=plan,
            run=run,
            outside=outside,
            evaluate=evaluate,
            library=Library(folder, run, outside.sync),
            traffic=TrafficCounter(),
        )
        cycle = Cycle(parts)
        try:
            await cycle.start()
            yield Opened(
                Coordinator(parts, cycle),
                _operator_token(folder, outside),
                join_token,
                cycle.failed,
            )
        finally:
            await cycle.stop()


def _find_or_begin(
    folder: Folder, database: Database, settings: Settings, plan: Plan, outside: Surroundings
) -> tuple[RunRow, str | None]:
    found = database.read(records.find_run)
    if found is not None:
        if found.plan != plan.digest:
            raise Misuse(
                f"{folder.root} holds a run of plan {found.plan[:12]}, not {plan.digest[:12]}: "
                "give that plan, or another --state"
            )
        return found, None
    seed = secrets.randbits(53) if settings.run_seed is None else settings.run_seed
    run = RunRow(f"{derive_seed(seed, 'run'):016x}", plan.digest, seed)
    first = Library(folder, run, outside.sync).publish(
        plan.initial_weights(), version=0, number=None, codec=settings.downlink_codec
    )
    token = outside.new_token()
    now = outside.wall_s()

    def change(connection: Connection) -> None:
        records.begin_run(connection, run, first, now)
        records.add_join_token(
            connection,
            hash_token(token),
            uses=settings.join_uses or settings.cohort,
            expires_at=now + settings.join_expires_s,
        )

    database.write(change).result()
    return run, token


def _operator_token(folder: Folder, outside: Surroundings) -> str:
    """The operator's token, made at the first start.

    It is kept as it is, readable by its owner only: a restarted server has to announce it again,
    and whoever can read the state folder owns the run anyway.
    """
    if not folder.operator_token.exists():
        write_durably(
            folder.operator_token, outside.new_token().encode(), mode=0o600, sync=outside.sync
        )
    return folder.operator_token.read_text()
