"""A state folder becomes a run: a new one, or the one it holds."""

import asyncio
import contextlib
import dataclasses
import secrets
from collections.abc import AsyncIterator, Iterable

from edge_sdk.errors import Misuse, Refused
from edge_sdk.plan import Plan
from server_ref.coordinator.aftermath import Aftermath
from server_ref.coordinator.carrying import check_asynchronous
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.identity import find_device, hash_token
from server_ref.coordinator.parts import Evaluate, RunParts, Surroundings
from server_ref.coordinator.publishing import Library
from server_ref.coordinator.robustly import check_aggregation
from server_ref.coordinator.run import Coordinator
from server_ref.coordinator.splitting import Splitting, make_room
from server_ref.coordinator.staging import check_growth
from server_ref.coordinator.traffic import TrafficCounter
from server_ref.downlink import Downlink, check_stable, derive_seed
from server_ref.settings import Settings
from server_ref.store import (
    Connection,
    Database,
    Folder,
    identities,
    lock_folder,
    records,
    write_durably,
)
from server_ref.store.records import RunRow


@dataclasses.dataclass(frozen=True, slots=True)
class Opened:
    """A run that goes on while the context that gave it lasts."""

    coordinator: Coordinator
    operator_token: str
    join_token: str | None
    """Shown once: when it was asked for, or nobody has joined yet. Only its hash is kept."""
    failed: "asyncio.Future[None]"
    """Gets an exception when the run cannot go on."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What an operator wants done with identities at this start: done once, so no setting."""

    new_token: bool = False
    """Make a fresh join token."""
    token_uses: int | None = None
    """Devices it admits; as the settings say where not given."""
    revoke: tuple[str, ...] = ()
    """Devices to withdraw, by id or by the name they gave themselves."""


NO_ORDERS = Orders()


@contextlib.asynccontextmanager
async def open_run(
    settings: Settings,
    plan: Plan,
    *,
    orders: Orders = NO_ORDERS,
    evaluate: Evaluate | None = None,
    outside: Surroundings | None = None,
) -> AsyncIterator[Opened]:
    """Open the run of `settings.state`; leaving the context stops it cleanly.

    Raises:
        Misuse: devices could not follow the model with this downlink codec; updates cannot be
            combined, the model grow, or the run be asynchronous, as asked; the folder belongs to
            another plan, a newer release, or a running server; the rounds are to offer `split`, and
            the plan has none; no device, or more than one, has a name to revoke.
        Refused: `storage`.
    """
    check_stable(settings.downlink_codec, settings.downlink_speed)
    check_aggregation(settings)
    check_growth(settings, plan, measures=evaluate is not None)
    check_asynchronous(settings, plan)
    outside = outside or Surroundings()
    with (
        lock_folder(settings.state) as folder,
        contextlib.closing(outside.open_database(folder.database)) as database,
    ):
        run = _find_or_begin(folder, database, settings, plan, outside)
        _revoke(database, orders.revoke)
        join_token = _join_token(database, settings, orders, outside)
        parts = RunParts(
            folder=folder,
            database=database,
            settings=settings,
            plan=plan,
            run=run,
            outside=outside,
            evaluate=evaluate,
            library=_library(folder, run, settings, plan, outside),
            traffic=TrafficCounter(),
        )
        room = make_room(parts)
        cycle = Cycle(parts)
        try:
            await cycle.start()
            cycle.spawn(Aftermath(parts, cycle).follow())
            yield Opened(
                Coordinator(parts, cycle, Splitting(parts, room)),
                _operator_token(folder, outside),
                join_token,
                cycle.failed,
            )
        finally:
            await cycle.stop()
            if room is not None:
                await room.close()


def _find_or_begin(
    folder: Folder, database: Database, settings: Settings, plan: Plan, outside: Surroundings
) -> RunRow:
    found = database.read(records.find_run)
    if found is not None:
        if found.plan != plan.digest:
            raise Misuse(
                f"{folder.root} holds a run of plan {found.plan[:12]}, not {plan.digest[:12]}: "
                "give that plan, or another --state"
            )
        return found
    seed = secrets.randbits(53) if settings.run_seed is None else settings.run_seed
    run = RunRow(f"{derive_seed(seed, 'run'):016x}", plan.digest, seed)
    library = _library(folder, run, settings, plan, outside)
    first = library.publish(plan.whole_weights(), None, number=None)
    database.write(lambda c: records.begin_run(c, run, first, outside.wall_s())).result()
    return run


def _library(
    folder: Folder, run: RunRow, settings: Settings, plan: Plan, outside: Surroundings
) -> Library:
    segments = plan.segments()
    downlink = Downlink(
        run=run.run,
        segments=segments.all,
        codec=settings.downlink_codec,
        speed=settings.downlink_speed,
    )
    return Library(folder, run, outside.sync, segments, downlink)


def _join_token(
    database: Database, settings: Settings, orders: Orders, outside: Surroundings
) -> str | None:
    """A fresh join token when one is asked for, or nobody has joined.

    As long as no device has joined nobody may ever have seen an earlier token: the server may have
    died before it was shown.
    """
    if database.read(identities.devices) and not orders.new_token:
        return None
    token = outside.new_token()
    database.write(
        lambda c: identities.add_join_token(
            c,
            hash_token(token),
            uses=orders.token_uses or settings.join_uses or settings.cohort,
            expires_at=outside.wall_s() + settings.join_expires_s,
        )
    ).result()
    return token


def _revoke(database: Database, wanted: Iterable[str]) -> None:
    """Withdraw devices; all of `wanted` or, when one of them is not clear, none."""
    names = database.read(identities.device_names)
    try:
        found = [find_device(names, one) for one in wanted]
    except Refused as unclear:
        raise Misuse(unclear.detail) from None

    def change(connection: Connection) -> None:
        for device in found:
            identities.revoke_device(connection, device)

    database.write(change).result()


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
