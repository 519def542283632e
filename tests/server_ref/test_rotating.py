"""Promise: a device can replace its token over a real connection, whatever gets lost on the way."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Misuse, Reason, Refused, Unavailable, Unreachable
from edge_sdk.runtime.client import Client
from edge_sdk.runtime.membership import DAY_S, TRY_AGAIN_S, Membership
from edge_sdk.runtime.state import StateFolder
from edge_sdk.testing import ScriptedServer
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Enrolled
from server_ref.app import Listening
from tests.server_ref.fleet import Device, fleet_at
from tests.server_ref.serving import serving, small_plan


class Killed(BaseException):
    """Nothing catches this, as nothing catches kill -9."""


class LosesTheAnswer(HttpTransport):
    """The server gave a fresh token; the link or the device dies before it is known."""

    def __init__(self, url: str, how: BaseException) -> None:
        super().__init__(url)
        self._how = how

    async def rotate(self) -> Enrolled:
        await super().rotate()
        raise self._how


class DiesBeforeUse(HttpTransport):
    """The device dies when the fresh token is on disk, before it is first used."""

    _dies = False

    async def rotate(self) -> Enrolled:
        fresh = await super().rotate()
        self._dies = True
        return fresh

    def identify(self, identity: Enrolled) -> None:
        if self._dies:
            raise Killed
        super().identify(identity)


class FullDisk(StateFolder):
    """Takes the identity, and then nothing more."""

    def save_identity(self, enrolled: Enrolled, *, at: float | None = None) -> None:
        if self.load_identity() is not None:
            raise Unavailable("No space left on device")
        super().save_identity(enrolled, at=at)


async def reason_of(at: Listening, token: str) -> Reason | None:
    transport = HttpTransport(at.url, token=token)
    try:
        await transport.check_in(CheckIn())
    except Refused as refusal:
        return refusal.reason
    finally:
        await transport.close()
    return None


def known(folder: Path, at: Listening) -> Enrolled:
    identity = StateFolder(folder, at.url).load_identity()
    assert identity is not None
    return identity


def member(
    at: Listening,
    folder: StateFolder | Path,
    *,
    transport: HttpTransport | None = None,
    days: float | None = None,
    wall_s: Callable[[], float] = lambda: 0.0,
) -> Membership:
    state = folder if isinstance(folder, StateFolder) else StateFolder(folder, at.url)
    return Membership(
        state,
        transport or HttpTransport(at.url),
        token=at.opened.join_token,
        name="one",
        rotate_days=days,
        wall_s=wall_s,
    )


async def test_a_client_goes_on_by_its_fresh_token_and_the_old_one_ends(tmp_path: Path) -> None:
    one = Device(0, tmp_path / "d", small_plan())
    async with fleet_at(tmp_path / "s", [one], plan=one.plan, cohort=1, rounds=4) as at:
        await one.take_part()
        assert one.client is not None
        old = known(one.folder, at)
        await one.client.rotate_token()
        fresh = known(one.folder, at)
        assert fresh.device == old.device
        assert fresh.token != old.token
        assert (one.folder / "identity.json").stat().st_mode & 0o777 == 0o600
        await one.take_part()
        assert await reason_of(at, old.token) is Reason.UNAUTHORISED
        await one.client.close()
        one.start(at)
        await one.take_part()
        assert len(at.opened.coordinator.devices) == 1


@pytest.mark.parametrize("how", [Killed(), Unreachable("the answer was lost")], ids=repr)
async def test_an_answer_that_was_lost_costs_another_try_only(
    tmp_path: Path, how: BaseException
) -> None:
    async with serving(tmp_path / "s") as at:
        link = LosesTheAnswer(at.url, how)
        dying = member(at, tmp_path / "d", transport=link)
        await dying.join(examples=1)
        with pytest.raises(type(how)):
            await dying.rotate()
        await link.close()
        old = known(tmp_path / "d", at)
        assert await reason_of(at, old.token) is None
        await _rotates(at, tmp_path / "d")
        assert await reason_of(at, known(tmp_path / "d", at).token) is None
        assert await reason_of(at, old.token) is Reason.UNAUTHORISED


async def test_a_device_that_dies_before_it_used_the_fresh_token_uses_it_next(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "s") as at:
        link = DiesBeforeUse(at.url)
        dying = member(at, tmp_path / "d", transport=link)
        await dying.join(examples=1)
        old = known(tmp_path / "d", at)
        with pytest.raises(Killed):
            await dying.rotate()
        await link.close()
        fresh = known(tmp_path / "d", at)
        assert fresh.token != old.token
        assert await reason_of(at, old.token) is None, "not used yet"
        assert await reason_of(at, fresh.token) is None
        assert await reason_of(at, old.token) is Reason.UNAUTHORISED
        await _rotates(at, tmp_path / "d")


async def test_a_full_disk_leaves_the_old_token_in_use(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as at:
        link = HttpTransport(at.url)
        full = member(at, FullDisk(tmp_path / "d", at.url), transport=link)
        await full.join(examples=1)
        with pytest.raises(Unavailable):
            await full.rotate()
        await link.check_in(CheckIn())
        await link.close()
        assert await reason_of(at, known(tmp_path / "d", at).token) is None


async def _rotates(at: Listening, folder: Path) -> None:
    """As a new process would."""
    link = HttpTransport(at.url)
    device = member(at, folder, transport=link)
    await device.join(examples=1)
    await device.rotate()
    await link.close()


async def test_tokens_are_replaced_when_they_are_old_and_no_more_often(tmp_path: Path) -> None:
    now_s = 1e9
    tokens: list[str] = []
    async with serving(tmp_path / "s") as at:
        for after_days in (0.0, 29.0, 31.0, 32.0, 62.0, -9000.0):
            link = HttpTransport(at.url)
            one = member(
                at,
                tmp_path / "d",
                transport=link,
                days=30.0,
                wall_s=lambda days=after_days: now_s + days * DAY_S,  # type: ignore[misc]  # bound now
            )
            await one.join(examples=1)
            await one.rotate_if_old()
            await link.close()
            tokens.append(known(tmp_path / "d", at).token)
            assert await reason_of(at, tokens[-1]) is None
    first, again, second, later, third, in_1970 = tokens
    assert first == again != second == later != third == in_1970


async def test_a_rotation_that_fails_is_tried_again_an_hour_later(tmp_path: Path) -> None:
    now = [1e9]
    async with serving(tmp_path / "s") as at:
        link = LosesTheAnswer(at.url, Unreachable("lost"))
        one = member(at, tmp_path / "d", transport=link, days=1.0, wall_s=lambda: now[0])
        await one.join(examples=1)
        tries = []
        for later_s in (2 * DAY_S, 10.0, TRY_AGAIN_S):
            now[0] += later_s
            before = at.opened.coordinator.devices._next_of.copy()
            await one.rotate_if_old()
            tries.append(at.opened.coordinator.devices._next_of != before)
        await link.close()
        assert tries == [True, False, True]
        assert await reason_of(at, known(tmp_path / "d", at).token) is None


async def test_an_identity_of_an_earlier_release_has_no_date_and_is_replaced(
    tmp_path: Path,
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with serving(tmp_path / "s", port=port, cohort=1) as at:
        link = HttpTransport(at.url)
        await member(at, tmp_path / "d", transport=link).join(examples=1)
        await link.close()
        path = tmp_path / "d" / "identity.json"
        fields = json.loads(await asyncio.to_thread(path.read_bytes))
        del fields["since"]
        await asyncio.to_thread(path.write_text, json.dumps(fields))
        client = Client(
            at.url,
            data=ArrayDataset([[0.0] * 40], [1]),
            state=tmp_path / "d",
            rotate_token_days=30.0,
        )
        await client._enrol_once()
        await client._membership.rotate_if_old()
        await client.close()
        assert known(tmp_path / "d", at).token != fields["enrolled"]["token"]


def test_what_cannot_be_done_is_told_at_once(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "https://fl.example.org")
    for days in (0.0, -1.0, float("nan")):
        with pytest.raises(Misuse, match="days"):
            Membership(
                folder, HttpTransport("https://x.example"), token=None, name="", rotate_days=days
            )
    with pytest.raises(Misuse, match="transport"):
        Membership(folder, ScriptedServer([]), token=None, name="", rotate_days=1.0)
