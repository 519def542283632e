"""Promise: devices can join, join again after a lost answer, and be withdrawn; no token is lost."""

import socket
from pathlib import Path

import pytest

from edge_sdk.errors import Misuse, Reason, Refused
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Enrol, Enrolled, Facts
from server_ref.app import Listening, bound_socket, url_of
from server_ref.coordinator import Orders, Surroundings
from server_ref.coordinator.identity import new_token
from tests.server_ref.serving import device, serving, settings

SECRET = "s" * 43


async def enrol(at: Listening, token: str | None, attempt: str | None, name: str = "") -> Enrolled:
    """One answer that arrived."""
    transport = HttpTransport(at.url)
    try:
        request = Enrol(join_token=token or "", attempt=attempt, facts=Facts(name=name))
        return await transport.enrol(request)
    finally:
        await transport.close()


async def reason_of(at: Listening, token: str) -> Reason | None:
    """Why a device with this token gets no answer; None when it gets one."""
    async with device(at, 0, token=token) as one:
        try:
            await one.transport.check_in(CheckIn())
        except Refused as refused:
            return refused.reason
        return None


async def test_the_same_attempt_is_the_same_device_and_uses_the_token_once(tmp_path: Path) -> None:
    async with serving(tmp_path, join_uses=2) as at:
        join = at.opened.join_token
        first = await enrol(at, join, SECRET)
        again = await enrol(at, join, SECRET)
        assert again.device == first.device
        assert await reason_of(at, first.token) is Reason.UNAUTHORISED
        assert await reason_of(at, again.token) is None
        other = await enrol(at, join, "t" * 43)
        assert other.device != first.device
        with pytest.raises(Refused):
            await enrol(at, join, "u" * 43)
        assert (await enrol(at, join, SECRET)).device == first.device
        with pytest.raises(Refused):
            await enrol(at, "j" * 43, SECRET)
        assert (await at.opened.coordinator.summary()).devices == 2


async def test_an_attempt_goes_on_after_a_restart_but_not_after_the_token_expired(
    tmp_path: Path,
) -> None:
    clock = [1000.0]
    outside = Surroundings(wall_s=lambda: clock[0])
    async with serving(tmp_path, outside=outside, join_expires_s=60) as at:
        join = at.opened.join_token
        first = await enrol(at, join, SECRET)
    async with serving(tmp_path, outside=outside) as at:
        again = await enrol(at, join, SECRET)
        assert again.device == first.device
        assert await reason_of(at, first.token) is Reason.UNAUTHORISED
        clock[0] += 61
        with pytest.raises(Refused):
            await enrol(at, join, SECRET)


async def test_a_join_token_that_nobody_used_is_replaced_at_the_next_start(tmp_path: Path) -> None:
    async with serving(tmp_path) as at:
        lost = at.opened.join_token
    async with serving(tmp_path) as at:
        assert at.opened.join_token not in {None, lost}
        await enrol(at, at.opened.join_token, None)
        await enrol(at, lost, None)
    async with serving(tmp_path) as at:
        assert at.opened.join_token is None
    async with serving(tmp_path, orders=Orders(new_token=True, token_uses=1)) as at:
        await enrol(at, at.opened.join_token, None)
        with pytest.raises(Refused):
            await enrol(at, at.opened.join_token, None)


async def test_a_port_in_use_is_said_before_a_run_begins(tmp_path: Path) -> None:
    taken = socket.create_server(("127.0.0.1", 0))
    with taken, pytest.raises(Misuse, match="cannot listen"):
        async with serving(tmp_path / "state", port=taken.getsockname()[1]):
            pass
    assert not (tmp_path / "state").exists()


async def test_a_device_is_withdrawn_by_id_or_name_and_its_place_is_free(tmp_path: Path) -> None:
    async with serving(tmp_path, cohort=2) as at:
        join = at.opened.join_token
        first = await enrol(at, join, SECRET, "kitchen")
        twins = [await enrol(at, join, None, "twin") for _ in range(2)]
        for one in (first, *twins[:1]):
            assert await reason_of(at, one.token) is None
    for unclear in ("nobody", "twin"):
        with pytest.raises(Misuse, match="kitchen"):
            async with serving(tmp_path, orders=Orders(revoke=(unclear,))):
                pass
    orders = Orders(revoke=("kitchen", twins[1].device))
    async with serving(tmp_path, cohort=2, orders=orders) as at:
        for gone in (first, twins[1]):
            assert await reason_of(at, gone.token) is Reason.REVOKED
        with pytest.raises(Refused) as refused:
            await enrol(at, join, SECRET)
        assert refused.value.reason is Reason.REVOKED
        async with device(at, 7, token=(await enrol(at, join, None)).token) as newcomer:
            assert (await newcomer.task()).round == 1


@pytest.mark.parametrize(("host", "scheme"), [("0.0.0.0", "http"), ("127.0.0.1", "http")])  # noqa: S104
def test_the_address_announced_can_be_dialled(host: str, scheme: str, tmp_path: Path) -> None:
    chosen = settings(tmp_path, host=host, insecure=True)
    with bound_socket(chosen) as listener:
        url = url_of(listener, chosen)
        assert url.startswith(f"{scheme}://")
        assert "0.0.0.0" not in url  # noqa: S104
        listener.listen()
        address, port = url.removeprefix(f"{scheme}://").rsplit(":", 1)
        with socket.create_connection((address, int(port)), timeout=10):
            pass


def test_tokens_are_no_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    made = iter(["-abc", "-def", "ghi-"])
    monkeypatch.setattr("secrets.token_urlsafe", lambda _: next(made))
    assert new_token() == "ghi-"
