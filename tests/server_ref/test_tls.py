"""Promise: a certificate is taken from its files, also when they change under a running server."""

import asyncio
import datetime as dt
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from edge_sdk.errors import Misuse
from edge_sdk.transport.operator import OperatorClient
from server_ref.tls import Certificate
from tests.server_ref.serving import serving

AUTHORITY = trustme.CA()


def issue(folder: Path, *, days: int) -> tuple[Path, Path]:
    """A certificate for loopback, told from others by its last day."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    end = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    made = AUTHORITY.issue_cert("127.0.0.1", not_after=end)
    made.private_key_pem.write_to_path(key)
    chain.write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))
    return chain, key


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


def last_day(port: int) -> str:
    """Of the certificate that a new connection is shown."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
        trusting().wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        found = wrapped.getpeercert()
    assert found is not None
    return str(found["notAfter"])


async def test_a_new_certificate_is_shown_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_ref.tls.LOOK_EVERY_S", 0.02)
    chain, key = issue(tmp_path, days=5)
    authority = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(authority)
    async with serving(tmp_path / "state", tls_cert=chain, tls_key=key) as at:
        assert at.url.startswith("https://")
        port = int(at.url.rsplit(":", 1)[1])
        before = await asyncio.to_thread(last_day, port)
        token = at.opened.operator_token
        async with OperatorClient(at.url, token, ca_file=authority) as open_connection:
            assert await open_connection.runs()
            issue(tmp_path, days=50)
            async with asyncio.timeout(20):
                while await asyncio.to_thread(last_day, port) == before:  # noqa: ASYNC110 - asks as a device would
                    await asyncio.sleep(0.02)
            assert await open_connection.runs()


def test_files_that_do_not_fit_together_change_nothing(tmp_path: Path) -> None:
    chain, key = issue(tmp_path, days=5)
    certificate = Certificate(chain, key)
    assert not certificate.look()
    whole = chain.read_bytes()
    for broken in (b"", whole[:200], key.read_bytes()):
        chain.write_bytes(broken)
        assert not certificate.look()
    chain.write_bytes(whole + b"\n")
    assert certificate.look()
    chain.unlink()
    assert not certificate.look()


def test_a_certificate_that_cannot_be_used_is_said_at_the_start(tmp_path: Path) -> None:
    chain, key = issue(tmp_path, days=5)
    key.write_text("no key")
    for missing in (key, tmp_path / "nowhere.pem"):
        with pytest.raises(Misuse, match="cannot use the certificate"):
            Certificate(chain, missing)
