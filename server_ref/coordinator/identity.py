"""Who is calling: device and operator tokens.

Only SHA-256 hashes are kept: a token has 256 random bits, so no salt or slow hash is needed. A
device's token is looked up by its hash. That takes no constant time, but who times it learns of
hashes at most, from which no token follows. The operator's token, which alone is kept as it is, is
compared in constant time. Tokens are never logged and never part of an error's text.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable

from edge_sdk.errors import Reason, Refused


def new_token() -> str:
    """A fresh token of 43 URL-safe characters."""
    return secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_attempt(join_token: str, attempt: str | None) -> str | None:
    """What is stored of one device's attempt to join with a token."""
    return None if attempt is None else hash_token(f"{join_token} {attempt}")


class Registry:
    """Enrolled devices by token hash."""

    def __init__(self, devices: Iterable[tuple[str, str, bool]]) -> None:
        """Take token hash, device and whether it is revoked."""
        self._by_hash = {token_hash: (device, revoked) for token_hash, device, revoked in devices}
        self._hash_of = {device: token_hash for token_hash, (device, _) in self._by_hash.items()}

    def __len__(self) -> int:
        return len(self._by_hash)

    def add(self, token_hash: str, device: str) -> bool:
        """Know a new device, or a known one by a new token only; whether it is new."""
        new = device not in self._hash_of
        self._by_hash.pop(self._hash_of.get(device, ""), None)
        self._by_hash[token_hash] = (device, False)
        self._hash_of[device] = token_hash
        return new

    def device_of(self, token: str) -> str:
        """The device whose token this is.

        Raises:
            Refused: `unauthorised` or `revoked`.
        """
        offered = hash_token(token)
        device, revoked = self._by_hash.get(offered, ("", False))
        if not device:
            raise Refused(Reason.UNAUTHORISED, "unknown device token")
        if revoked:
            raise Refused(Reason.REVOKED, "the operator withdrew this device")
        return device


def same_token(offered: str, expected: str) -> bool:
    """Whether two tokens are equal, in constant time."""
    return hmac.compare_digest(hash_token(offered), hash_token(expected))
