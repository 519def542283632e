"""The state folder: who this device is, and the plans it has fetched.

======================= =========================================================================
`identity.json`         server, device id and device token; readable by this user only
`attempt.json`          server and the secret of an enrolment under way; gone when it is done
`update.spool`          the trained update under way, see `spool`
`model.replica`         the version of the model held, see `replica`
`plans/<digest>.plan`   plan bundles by SHA-256, the latest only
`learned.json`, …       what is written down besides, see `books`
`lock`                  held while a client runs, so that two never share an identity
======================= =========================================================================

A file that cannot be read is set aside as `<name>.bad` and said so in the log; the device then
goes on as if it had never been there.
"""

import hashlib
import logging
import os
import re
import secrets
import sys
from pathlib import Path

from pydantic.dataclasses import dataclass

from edge_sdk.errors import Malformed, Misuse
from edge_sdk.plan import Plan, load_plan
from edge_sdk.protocol import dump_json, load_json
from edge_sdk.runtime.books import Books
from edge_sdk.runtime.records import remove_durably, set_aside, write_atomically
from edge_sdk.runtime.replica import Replica
from edge_sdk.runtime.spool import Spool
from edge_sdk.values import STRICT, Enrolled, Token

if sys.platform != "win32":
    import fcntl

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Identity:
    url: str
    """The server that gave it; the token is shown to no other."""
    enrolled: Enrolled
    since: float | None = None
    """When its token came, in seconds since 1970 by this machine's clock."""


@dataclass(frozen=True, slots=True, kw_only=True, config=STRICT)
class _Attempt:
    url: str
    attempt: Token


def default_folder(url: str, name: str) -> Path:
    """Where a device called `name` keeps its state for the server at `url` (XDG base folders)."""
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home and Path(home).is_absolute() else Path.home() / ".local" / "state"
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{url.partition('://')[2]} {name}").strip("-")[:60]
    mark = hashlib.sha256(f"{url}\0{name}".encode()).hexdigest()[:8]
    return base / "edge-sdk" / f"{words}-{mark}"


class StateFolder:
    """Everything a device keeps between starts. Made on first use.

    Args:
        path: the folder.
        url: the server this state belongs to.
    """

    def __init__(self, path: Path, url: str) -> None:
        self._path = path
        self._url = url
        self._lock: int | None = None
        self.spool = Spool(path / "update.spool")
        self.replica = Replica(path / "model.replica")
        self.books = Books(path)

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def acquire(self) -> None:
        """Make the folder and hold it for this client alone.

        Raises:
            Misuse: another client holds it, or it cannot be written.
        """
        if self._lock is not None:
            return
        try:
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise Misuse(f"cannot keep state in {self._path}: {error.strerror}") from error
        try:
            if sys.platform != "win32":
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise Misuse(f"another client uses the state folder {self._path}") from None
        self._lock = descriptor

    def release(self) -> None:
        """Let another client have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------------ identity

    def load_identity(self) -> Enrolled | None:
        """Who this device is to its server; None before enrolment."""
        identity = self._load_identity()
        return None if identity is None else identity.enrolled

    def token_since(self) -> float | None:
        """When the device's token came, in seconds since 1970; None where that is not known."""
        identity = self._load_identity()
        return None if identity is None else identity.since

    def _load_identity(self) -> _Identity | None:
        path = self._path / "identity.json"
        try:
            identity = load_json(_Identity, path.read_bytes())
        except FileNotFoundError:
            return None
        except Malformed as error:
            aside = set_aside(path)
            _log.warning("identity unreadable (%s); set aside as %s", error, aside.name)
            return None
        if identity.url != self._url:
            aside = set_aside(path)
            _log.warning("identity is for another server; set aside as %s", aside.name)
            return None
        return identity

    def save_identity(self, enrolled: Enrolled, *, at: float | None = None) -> None:
        """Remember who this device is, since `at`; the attempt to enrol is then over.

        Raises:
            Unavailable: the disk is full or read-only; the identity is what it was.
        """
        identity = _Identity(url=self._url, enrolled=enrolled, since=at)
        write_atomically(self._path / "identity.json", (dump_json(identity),))
        remove_durably(self._path / "attempt.json")

    def forget_identity(self) -> None:
        """The server no longer knows this identity."""
        # A power cut may have left the attempt that led to it; it must not be made again.
        remove_durably(self._path / "attempt.json")
        remove_durably(self._path / "identity.json")

    def attempt(self) -> str:
        """The secret of the enrolment under way; drawn, and on disk, before it is first given.

        Raises:
            Unavailable: the disk is full or read-only.
        """
        path = self._path / "attempt.json"
        try:
            kept = load_json(_Attempt, path.read_bytes())
        except FileNotFoundError:
            kept = None
        except Malformed as error:
            _log.warning("secret of an enrolment unreadable (%s); enrolling afresh", error)
            kept = None
        if kept is None or kept.url != self._url:
            kept = _Attempt(url=self._url, attempt=secrets.token_urlsafe(32))
            write_atomically(path, (dump_json(kept),))
        return kept.attempt

    # ------------------------------------------------------------------ plans

    def load_plan(self, digest: str) -> Plan | None:
        """The kept plan with this digest, verified again; None when it is not kept."""
        path = self._plan_path(digest)
        try:
            plan = load_plan(path.read_bytes())
        except FileNotFoundError:
            return None
        except Malformed as error:
            aside = set_aside(path)
            _log.warning("kept plan unreadable (%s); set aside as %s", error, aside.name)
            return None
        return plan if plan.digest == digest else None

    def save_plan(self, plan: Plan) -> None:
        """Keep `plan`, and no other: a device works on one at a time and its disk is small."""
        path = self._plan_path(plan.digest)
        write_atomically(path, (plan.data,))
        for other in path.parent.iterdir():
            if other != path:
                other.unlink(missing_ok=True)

    def _plan_path(self, digest: str) -> Path:
        return self._path / "plans" / f"{digest}.plan"


def state_of(url: str, name: str, given: StateFolder | Path | str | None) -> StateFolder:
    """What a client that was given this keeps its state in."""
    if isinstance(given, StateFolder):
        return given
    return StateFolder(default_folder(url, name) if given is None else Path(given), url)
