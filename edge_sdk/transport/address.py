"""Whom to talk to: the server's address, and which authorities vouch for it."""

import ipaddress
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from edge_sdk.errors import Misuse


def checked_base(url: str, *, plain_http: bool) -> str:
    """`url` without a slash at its end.

    Raises:
        Misuse: it is no address, holds a secret, or would carry one over a network in clear.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Misuse(f"not an address: {error}") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise Misuse("the server's address must read https://host[:port]")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise Misuse("the server's address must not hold a user, a query or a fragment")
    if parts.scheme == "http" and not plain_http and not _is_loopback(host):
        raise Misuse(
            f"http:// to {host} would send the token in clear; use https://, or on a network you "
            "trust allow it: --plain-http, in Python plain_http=True"
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def trust(ca_file: Path | str | None) -> ssl.SSLContext:
    """TLS that trusts the authorities in `ca_file` (PEM); None: the system's.

    Raises:
        Misuse: the file cannot be used.
    """
    try:
        return ssl.create_default_context(cafile=None if ca_file is None else str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise Misuse(f"cannot use CA file {ca_file}: {error}") from error
