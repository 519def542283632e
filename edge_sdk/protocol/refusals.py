"""Refusals: reason, HTTP status and the exception each side works with."""

from edge_sdk.errors import Corrupt, Malformed, NotFinite, Reason, Refused, TooLarge
from edge_sdk.values import Refusal

HTTP_STATUS: dict[Reason, int] = {
    Reason.MALFORMED: 400,
    Reason.UNAUTHORISED: 401,
    Reason.REVOKED: 403,
    Reason.NOT_ADMITTED: 403,
    Reason.NOT_FOUND: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.CONFLICT: 409,
    Reason.INCOMPLETE: 409,
    Reason.STALE_MODEL: 409,
    Reason.ROUND_CLOSED: 410,
    Reason.TOO_LARGE: 413,
    Reason.MISMATCH: 422,
    Reason.NOT_FINITE: 422,
    Reason.BUSY: 503,
    Reason.STORAGE: 507,
}
"""Status sent with each reason. Clients decide by the reason alone."""


def refused_from(refusal: Refusal) -> Refused:
    """The exception a device raises for a refusal it was sent.

    Raises:
        Corrupt: the reason is not in this release's list.
    """
    try:
        reason = Reason(refusal.reason)
    except ValueError:
        raise Corrupt(f"refusal with unknown reason {refusal.reason!r}") from None
    return Refused(reason, refusal.detail, retry_after_s=refusal.retry_after_s)


def refusal_from(error: Refused | Malformed) -> Refusal:
    """The body a server sends for what went wrong."""
    if isinstance(error, Refused):
        return Refusal(
            reason=error.reason.value, detail=error.detail, retry_after_s=error.retry_after_s
        )
    return Refusal(reason=_reason(error).value, detail=str(error)[:2000])


def _reason(error: Malformed) -> Reason:
    if isinstance(error, TooLarge):
        return Reason.TOO_LARGE
    return Reason.NOT_FINITE if isinstance(error, NotFinite) else Reason.MALFORMED
