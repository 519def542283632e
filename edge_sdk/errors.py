"""Every exception this package raises on purpose, drawn as one tree.

::

    EdgeError
    ├── Misuse          fix the program: an argument, a setting or an order of calls is wrong
    ├── Unavailable     this machine lacks something; the message says what and how to get it
    ├── Malformed       outside bytes are not what they claim to be; never retry these bytes
    │   ├── Truncated     they end too early
    │   ├── Corrupt       a check sum, digest or rule of the format fails
    │   │   └── NotFinite   the numbers carried are NaN or infinite
    │   ├── Unsupported   well formed, but of a version or kind this release does not know
    │   └── TooLarge      over a stated limit; nothing was allocated for it
    ├── Refused         the peer understood and said no; `reason` is the next step
    └── Unreachable     the peer did not answer; retry later

One class for each thing the caller does next, so callers never match on message text.
"""

from enum import StrEnum


class EdgeError(Exception):
    """Root of the tree; catch it to catch everything this package raises on purpose."""


class Misuse(EdgeError):
    """The calling program is wrong: change the argument, the setting or the order of calls."""


class Unavailable(EdgeError):
    """This machine lacks something; the message says what is missing and how to get it."""


class Malformed(EdgeError):
    """Bytes from outside are not what they claim to be; the same bytes will fail again."""


class Truncated(Malformed):
    """The bytes end before the format says they may."""


class Corrupt(Malformed):
    """A check sum, a digest or a rule of the format does not hold."""


class NotFinite(Corrupt):
    """Well formed but for its numbers: NaN or an infinity where a value belongs."""


class Unsupported(Malformed):
    """Well formed, but of a version, kind or operator that this release does not know."""


class TooLarge(Malformed):
    """Over a stated limit; refused before any memory was allocated for it."""


class Reason(StrEnum):
    """Why the server refused. The values are wire format; each is one next step for a device."""

    MALFORMED = "malformed"
    """The request's bytes break a format; drop them."""
    TOO_LARGE = "too-large"
    """The body is over a limit; drop it."""
    UNAUTHORISED = "unauthorised"
    """No usable token; enrol again with a join token from the operator."""
    REVOKED = "revoked"
    """The operator withdrew this device or token; stop."""
    NOT_FOUND = "not-found"
    """No such path, plan, run or version."""
    METHOD_NOT_ALLOWED = "method-not-allowed"
    """The path exists, the method does not."""
    ROUND_CLOSED = "round-closed"
    """The round is over; keep the work as residual and check in again."""
    NOT_ADMITTED = "not-admitted"
    """This device holds no place in this round; check in first."""
    STALE_MODEL = "stale-model"
    """The update was trained from a version this round does not take; check in again."""
    MISMATCH = "mismatch"
    """The chunk does not fit the task: dimension, stage, codec, seed or chunk count differ."""
    NOT_FINITE = "not-finite"
    """The update holds NaN, an infinity or an absurd norm; drop it."""
    INCOMPLETE = "incomplete"
    """Commit before any chunk arrived; send the chunks first."""
    CONFLICT = "conflict"
    """The same chunk or commit was sent before with other content."""
    BUSY = "busy"
    """The server is stopping or saturated; come back after `retry_after_s`."""
    STORAGE = "storage"
    """The server cannot write (disk full or read-only); come back after `retry_after_s`."""


class Refused(EdgeError):
    """The server understood the request and said no.

    Attributes:
        reason: what it gave as the reason, one of a fixed list that is wire format.
        retry_after_s: seconds to wait before asking again; None where asking again is no use.
    """

    def __init__(
        self, reason: Reason, detail: str = "", *, retry_after_s: float | None = None
    ) -> None:
        super().__init__(f"{reason.value}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s


class Unreachable(EdgeError):
    """The peer did not answer, or the connection broke; nothing says it was refused."""
