"""TLS of the server: one context whose certificate follows its files."""

import asyncio
import logging
import ssl
from pathlib import Path

from edge_sdk.errors import Misuse
from server_ref.settings import Settings

LOOK_EVERY_S = 2.0
"""How often the files are looked at."""

log = logging.getLogger(__name__)


class Certificate:
    """A certificate and its key on disk, and the context that new connections use.

    When the files change, connections from then on get the new certificate; those that are open go
    on as they are. Files that do not fit together, as while being replaced, change nothing.

    Raises:
        Misuse: they cannot be used at the start.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._seen = self._stamps()
        try:
            self.context = self._fresh()
        except (OSError, ssl.SSLError) as error:
            raise Misuse(f"cannot use the certificate: {error}") from None

    def look(self) -> bool:
        """Take the files' new content where there is any; whether that was done."""
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        try:
            self._fresh()
            self.context.load_cert_chain(self._chain, self._key)
        except (OSError, ssl.SSLError) as error:
            log.warning("the new certificate cannot be used, the old one stays: %s", error)
            self._seen = stamps
            return False
        self._seen = stamps
        log.info("certificate read again from %s", self._chain)
        return True

    async def follow(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            await asyncio.to_thread(self.look)

    def _fresh(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._chain, self._key)
        return context

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(_stamp(path) for path in (self._chain, self._key))


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that the settings name; None without one.

    Raises:
        Misuse: it cannot be used.
    """
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return Certificate(settings.tls_cert, settings.tls_key)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes when a file is written or replaced; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
