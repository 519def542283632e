"""The operator's desk: join tokens, devices, and whether the run goes on."""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from edge_sdk.errors import Reason, Refused
from edge_sdk.values import CheckIn, Enrolled, Vector
from edge_sdk.values.operating import Costs, Device, JoinToken, MadeToken, NewToken
from server_ref.coordinator.current import CurrentRound
from server_ref.coordinator.cycle import Cycle
from server_ref.coordinator.identity import Registry, find_device, hash_token
from server_ref.coordinator.ledger import Account
from server_ref.coordinator.parts import RunParts
from server_ref.rounds import Standing
from server_ref.store import Connection, identities, orders, records, reports
from server_ref.store.identities import DeviceRow, TokenRow
from server_ref.store.records import VersionRow

ID_DIGITS = 12
"""Of a join token's hash, by which it is named."""

SEEN_EVERY_S = 10.0
"""Between two writes of when devices were last seen."""


class _Recorded(NamedTuple):
    """What is on record of all devices."""

    rows: list[DeviceRow]
    traffic: dict[str, tuple[int, int]]
    sent: dict[str, int]
    """Bytes up in the latest counted round."""
    pending: dict[str, tuple[int, int]]
    """Bytes that are not recorded yet."""


class Desk:
    """What the operator may order and ask, and who is let in. All calls on one event loop."""

    def __init__(self, parts: RunParts, cycle: Cycle, devices: Registry) -> None:
        self._parts = parts
        self._cycle = cycle
        self._devices = devices
        self._seen: dict[str, float] = {}
        self._seen_unwritten: set[str] = set()
        _open_books(parts)
        cycle.spawn(self._record_seen())

    # ------------------------------------------------------------------ who calls

    def identify(self, token: str) -> str:
        """The device whose token this is; it was seen.

        Raises:
            Refused: `unauthorised` or `revoked`.
        """
        device, promoted = self._devices.device_of(token)
        if promoted is not None:
            change = partial(identities.promote_token, device=device, token_hash=promoted)
            self._cycle.spawn(self._cycle.insist(partial(self._parts.write, change)))
        self._seen[device] = self._parts.outside.wall_s()
        self._seen_unwritten.add(device)
        return device

    async def hear(self, device: str, request: CheckIn) -> None:
        """Keep what a device says of itself with a check-in."""
        ledger, report = self._parts.ledger, request.report
        if report is None:
            return
        ledger.heard(device, report)
        late = report.last
        if late is not None and late.run == self._parts.run.run and ledger.add_late(device, late):
            with contextlib.suppress(Refused):  # figures are not worth refusing work for
                await self._parts.write(lambda c: reports.add_late_costs(c, device, late))

    async def _record_seen(self) -> None:
        """Write down when devices were last seen, for ever."""
        while True:
            await asyncio.sleep(SEEN_EVERY_S)
            seen = {device: self._seen[device] for device in self._seen_unwritten}
            self._seen_unwritten.clear()
            if seen:
                await self._cycle.insist(
                    partial(self._parts.write, partial(identities.mark_seen, seen=seen))
                )

    # ------------------------------------------------------------------ join tokens

    async def make_token(self, wanted: NewToken) -> MadeToken:
        """A fresh join token.

        Raises:
            Refused: `storage`.
        """
        token = self._parts.outside.new_token()
        token_hash = hash_token(token)
        expires_at = self._parts.outside.wall_s() + wanted.expires_s
        change = partial(
            identities.add_join_token,
            token_hash=token_hash,
            uses=wanted.uses,
            expires_at=expires_at,
            label=wanted.label,
        )
        await self._parts.write(change)
        return MadeToken(
            id=token_hash[:ID_DIGITS], token=token, uses=wanted.uses, expires_at=expires_at
        )

    async def tokens(self) -> tuple[JoinToken, ...]:
        """Every join token, by the time it expires."""
        rows = await asyncio.to_thread(self._parts.read, identities.join_tokens)
        now = self._parts.outside.wall_s()
        return tuple(_join_token(row, now) for row in rows)

    async def revoke_token(self, token_id: str) -> tuple[JoinToken, ...]:
        """Let nobody join by a token any more; those who did stay.

        Raises:
            Refused: `not-found`, `storage`.
        """
        await self._parts.write(partial(identities.revoke_token, beginning=token_id))
        return await self.tokens()

    # ------------------------------------------------------------------ devices

    async def devices(self) -> tuple[Device, ...]:
        """Every device, in the order of enrolment."""
        parts, run = self._parts, self._parts.run.run
        last = {d: one.last_round for d, one in parts.ledger.accounts.items() if one.last_round}

        def query(connection: Connection) -> _Recorded:
            return _Recorded(
                identities.device_rows(connection),
                reports.device_traffic(connection, run),
                reports.sent_in(connection, run, last),
                pending,
            )

        async with parts.recording:
            pending = parts.traffic.pending_by_device()
            found = await asyncio.to_thread(parts.read, query)
            return tuple(self._device(row, found) for row in found.rows)

    async def revoke(self, wanted: str) -> Device:
        """Withdraw a device, by id or name; a place it holds is free for others.

        Raises:
            Refused: `not-found`, `conflict` where several have the name, `storage`.
        """
        return await self._withdraw(wanted, identities.revoke_device, forget=False)

    async def forget(self, wanted: str) -> Device:
        """Withdraw a device and erase what names it; what it contributed stays in the model.

        Raises:
            Refused: see `revoke`.
        """
        return await self._withdraw(wanted, identities.forget_device, forget=True)

    async def _withdraw(
        self, wanted: str, change: Callable[[Connection, str], None], *, forget: bool
    ) -> Device:
        device = await self._find(wanted)
        await self._parts.write(lambda c: change(c, device))
        self._devices.revoke(device, forget=forget)
        if forget:
            self._seen.pop(device, None)
            self._parts.ledger.forget(device)
        current = self._cycle.current
        if current is not None and _holds_place(current, device):
            current.decline(device, "withdrawn by the operator")
            run, number = self._parts.run.run, (current.job_of(device) or current.job).number
            await self._parts.write(lambda c: records.decline_place(c, run, number, device))
        return next(one for one in await self.devices() if one.device == device)

    async def rotate(self, wanted: str) -> Enrolled:
        """A fresh token for a device; its own is good until the fresh one is first used.

        Raises:
            Refused: see `revoke`; also `revoked`.
        """
        device = await self._find(wanted)
        states = {one.device: one.state for one in await self.devices()}
        if states[device] != "active":
            raise Refused(Reason.REVOKED, "the operator withdrew this device")
        token = self._parts.outside.new_token()
        await self._parts.write(lambda c: identities.offer_token(c, device, hash_token(token)))
        self._devices.offer(hash_token(token), device)
        return Enrolled(device=device, token=token, plan=self._parts.plan.digest)

    async def _find(self, wanted: str) -> str:
        names = await asyncio.to_thread(self._parts.read, identities.device_names)
        return find_device(names, wanted)

    def _device(self, row: DeviceRow, found: "_Recorded") -> Device:
        account = self._parts.ledger.accounts.get(row.device)
        up, down = self._bytes(row.device, found)
        last = account.last if account else None
        return Device(
            device=row.device,
            name=row.facts.name,
            platform=row.facts.platform,
            sdk=row.facts.sdk,
            state=_state(row),
            enrolled_at=row.enrolled_at,
            seen_at=self._seen.get(row.device, row.seen_at),
            updates=account.updates if account else 0,
            bytes_up=up,
            bytes_down=down,
            energy_j=account.energy_j if account else None,
            last_round=account.last_round if account else None,
            stage=None if last is None or account is None else account.stage,
            codec=None if last is None else last.codec,
            bits=self._bits(row.device, account, found),
            why=None if last is None else last.why,
            update_s=account.update_s if account else None,
            report=account.report if account else None,
        )

    def _bytes(self, device: str, found: "_Recorded") -> tuple[int, int]:
        recorded = found.traffic.get(device, (0, 0))
        pending = found.pending.get(device, (0, 0))
        return recorded[0] + pending[0], recorded[1] + pending[1]

    def _bits(self, device: str, account: Account | None, found: "_Recorded") -> float | None:
        """Bits up in its latest counted round, per parameter."""
        if account is None or account.last_round is None:
            return None
        pending = self._parts.traffic.pending_up(account.last_round, device)
        dimension = self._parts.plan.layout(account.stage).size
        return 8 * (found.sent.get(device, 0) + pending) / dimension

    # ------------------------------------------------------------------ the run

    @property
    def costs(self) -> Costs:
        """What the run cost its devices."""
        return self._parts.ledger.costs()

    async def pause(self) -> None:
        """Give nobody new work; who holds a place may finish.

        Raises:
            Refused: `conflict` when the run is stopped, `storage`.
        """
        await self._set_mode("paused")

    async def resume(self) -> None:
        """Give work again.

        Raises:
            Refused: `conflict` when the run is stopped, `storage`.
        """
        await self._set_mode("running")

    async def stop(self) -> None:
        """End the run: who holds a place may finish, and no round opens after this one.

        Raises:
            Refused: `storage`.
        """
        await self._set_mode("stopped")
        current = self._cycle.current
        if current is not None and not current.closing and not current.state.members:
            await self._cycle.give_up()

    async def _set_mode(self, mode: orders.Mode) -> None:
        if self._cycle.mode == "stopped" and mode != "stopped":
            raise Refused(Reason.CONFLICT, "the run was stopped for good")
        await self._parts.write(lambda c: orders.set_mode(c, self._parts.run.run, mode))
        self._cycle.mode = mode
        self._parts.tell("run", text=mode)

    async def roll_back(self, version: int) -> None:
        """Publish an old version as a new one and train on from there.

        The open round is abandoned: it trains from what the operator does not want.

        Raises:
            Refused: `not-found`, `storage`.
        """
        self._version(version)
        await self._cycle.give_up(back_to=version)
        text = f"version {self._cycle.model_version} is version {version} again"
        self._parts.outside.tell(text)
        self._parts.tell("run", text=text)

    async def weights(self, version: int, *, averaged: bool) -> Vector:
        """Exact weights of a version, or the mean of all versions up to it but the first.

        The mean is the Polyak-Ruppert average: it leaves out the plan's own weights.

        Raises:
            Refused: `not-found`.
        """
        row = self._version(version)
        library = self._parts.library
        return await asyncio.to_thread(library.average if averaged else library.weights, row)

    def _version(self, number: int) -> VersionRow:
        row = self._parts.read(lambda c: records.version(c, self._parts.run.run, number))
        if row is None:
            raise Refused(Reason.NOT_FOUND, "no such version")
        if not self._parts.library.file(number, "weights").exists():
            raise Refused(Reason.NOT_FOUND, "that version is no longer kept")
        return row


def _open_books(parts: RunParts) -> None:
    """Take the recorded commits into the ledger."""
    run = parts.run.run
    late = parts.read(lambda c: reports.late_costs(c, run))
    for number, device, stage, commit in parts.read(lambda c: reports.commits(c, run)):
        parts.ledger.add(number, device, commit, stage=stage)
        if (number, device) in late:
            parts.ledger.add_late(device, late[number, device])


def _holds_place(current: CurrentRound, device: str) -> bool:
    member = current.state.members.get(device)
    return not current.closing and member is not None and member.standing is Standing.ADMITTED


def _join_token(row: TokenRow, now: float) -> JoinToken:
    state: Literal["valid", "used-up", "expired", "revoked"] = "valid"
    if row.revoked:
        state = "revoked"
    elif row.expires_at <= now:
        state = "expired"
    elif row.uses_left == 0:
        state = "used-up"
    return JoinToken(
        id=row.hash[:ID_DIGITS],
        label=row.label,
        state=state,
        uses=row.uses,
        uses_left=row.uses_left,
        expires_at=row.expires_at,
    )


def _state(row: DeviceRow) -> Literal["active", "revoked", "forgotten"]:
    if row.forgotten:
        return "forgotten"
    return "revoked" if row.revoked else "active"
