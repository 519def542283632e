"""Being a device of one server: joining once, and a fresh token now and then."""

import logging
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

from pydantic import ValidationError

from edge_sdk.errors import Corrupt, EdgeError, Misuse
from edge_sdk.interfaces import RotatingTransport, Transport
from edge_sdk.runtime.state import StateFolder
from edge_sdk.values import Enrol, Enrolled, Facts

_log = logging.getLogger(__name__)

DAY_S = 86400.0
TRY_AGAIN_S = 3600.0
"""After a rotation that failed."""


class Membership:
    """Who this device is to its server.

    Args:
        folder: keeps the identity.
        transport: to the server.
        token: join token from the operator, needed until the device is enrolled.
        name: what the operator sees this device as.
        rotate_days: age at which the device token is replaced; None is never.
        wall_s: seconds since 1970, also after a restart.

    Raises:
        Misuse: tokens cannot be replaced so often, or not by this transport.
    """

    def __init__(
        self,
        folder: StateFolder,
        transport: Transport,
        *,
        token: str | None,
        name: str,
        rotate_days: float | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        if rotate_days is not None and not rotate_days > 0:
            raise Misuse(f"a token cannot be replaced every {rotate_days} days")
        if rotate_days is not None and not isinstance(transport, RotatingTransport):
            raise Misuse("this transport cannot ask for a fresh token")
        self._folder = folder
        self._transport = transport
        self._token = token
        self._name = name
        self._rotate_s = None if rotate_days is None else rotate_days * DAY_S
        self._wall_s = wall_s
        self._tried_at: float | None = None
        self._identity: Enrolled | None = None

    @property
    def enrolled(self) -> bool:
        """Whether the transport was told who this device is."""
        return self._identity is not None

    @property
    def plan(self) -> str | None:
        """Digest of the plan that the server works with, as far as it told."""
        return None if self._identity is None else self._identity.plan

    async def join(self, *, examples: int) -> None:
        """Be the device of an earlier start, or enrol as a new one.

        Raises:
            Misuse: not enrolled and no join token.
            Unreachable, Refused, Malformed, Unavailable: see `Client.participate`.
        """
        identity = self._folder.load_identity()
        if identity is None:
            # On disk before it is sent: should the answer be lost, asking again is the same device.
            identity = await self._transport.enrol(self._enrol(examples))
            self._folder.save_identity(identity, at=self._wall_s())
            _log.info("enrolled as device %s", identity.device)
        self._transport.identify(identity)
        self._identity = identity

    def leave(self) -> None:
        """Look at the disk again before the next call."""
        self._identity = None

    def forget(self) -> bool:
        """Drop an identity the server does not know, so that `join` enrols again.

        Returns:
            False when that cannot help: there is no join token, or none was accepted.
        """
        if self._identity is None or self._token is None:
            return False
        self._folder.forget_identity()
        self._identity = None
        return True

    async def rotate(self) -> None:
        """Replace the device token.

        The server takes the old one until the fresh one is first used, and that is on disk before.
        So whatever gets lost (the answer, or the device before it has saved) the device can go on.

        Raises:
            Misuse: the transport cannot do that, or the device is not enrolled.
            Unreachable, Refused, Malformed: the old token stays in use.
            Unavailable: the fresh one could not be saved; the old one stays in use.
        """
        if self._identity is None:
            raise Misuse("only a device that is enrolled has a token to replace")
        if not isinstance(self._transport, RotatingTransport):
            raise Misuse("this transport cannot ask for a fresh token")
        fresh = await self._transport.rotate()
        if fresh.device != self._identity.device:
            raise Corrupt("a fresh token came for another device")
        self._folder.save_identity(fresh, at=self._wall_s())
        self._transport.identify(fresh)
        self._identity = fresh
        _log.info("the device token was replaced")

    async def rotate_if_old(self) -> None:
        """Replace the token when it is due; what fails is tried again an hour later."""
        if self._rotate_s is None or not self._is_due(self._rotate_s):
            return
        self._tried_at = self._wall_s()
        try:
            await self.rotate()
        except EdgeError as error:  # what it means for the device, its next call finds out
            _log.warning("the device token was not replaced: %s", error)

    def _is_due(self, after_s: float) -> bool:
        """Boards without a battery clock may wake in 1970: then nothing is due yet."""
        now, since = self._wall_s(), self._folder.token_since()
        waits = self._tried_at is not None and 0 <= now - self._tried_at < TRY_AGAIN_S
        return not waits and (since is None or now - since >= after_s)

    def _enrol(self, examples: int) -> Enrol:
        if self._token is None:
            raise Misuse("this device is not enrolled yet: pass the operator's join token")
        facts = Facts(
            name=self._name[:200],
            platform=platform.platform()[:200],
            sdk=_release(),
            examples=examples,
        )
        try:
            return Enrol(join_token=self._token, attempt=self._folder.attempt(), facts=facts)
        except ValidationError:
            raise Misuse("the join token is not of the form the operator gives out") from None


def _release() -> str:
    try:
        return version("edge-sdk")
    except PackageNotFoundError:  # copied into an app without its metadata
        return ""
