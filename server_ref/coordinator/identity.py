"""Who is calling: device and operator tokens.

Only SHA-256 hashes are kept: a token has 256 random bits, so no salt or slow hash is needed. A
device's token is looked up by its hash. That takes no constant time, but who times it learns of
hashes at most, from which no token follows. The operator's token, which alone is kept as it is, is
compared in constant time. Tokens are never logged and never part of an error's text.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping

from edge_sdk.errors import Reason, Refused


def new_token() -> str:
    """A fresh token of 43 URL-safe characters, the first of which is no dash.

    A command line would take a word that begins with one for a flag.
    """
    while (token := secrets.token_urlsafe(32)).startswith("-"):
        pass
    return token


def hash_token(token: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def hash_attempt(join_token: str, attempt: str | None) -> str | None:
    """What is stored of one device's attempt to join with a token."""
    return None if attempt is None else hash_token(f"{join_token} {attempt}")


class Registry:
    """Enrolled devices by token hash."""

    def __init__(self, devices: Iterable[tuple[str, str | None, str, bool]]) -> None:
        """Take token hash, hash of the token to come, device and whether it is revoked."""
        self._by_hash: dict[str, str] = {}
        self._hash_of: dict[str, str] = {}
        self._next_of: dict[str, str] = {}
        self._revoked: set[str] = set()
        for token_hash, next_hash, device, revoked in devices:
            self.add(token_hash, device)
            if next_hash is not None:
                self.offer(next_hash, device)
            if revoked:
                self._revoked.add(device)

    def __len__(self) -> int:
        return len(self._hash_of)

    def __contains__(self, device: object) -> bool:
        return device in self._hash_of

    def add(self, token_hash: str, device: str) -> bool:
        """Know a new device, or a known one by a new token only; whether it is new."""
        new = device not in self._hash_of
        self._by_hash.pop(self._hash_of.get(device, ""), None)
        self._by_hash.pop(self._next_of.pop(device, ""), None)
        self._by_hash[token_hash] = device
        self._hash_of[device] = token_hash
        return new

    def offer(self, token_hash: str, device: str) -> None:
        """Know a device by a further token, which takes the place of its own when first used."""
        self._by_hash.pop(self._next_of.get(device, ""), None)
        self._by_hash[token_hash] = device
        self._next_of[device] = token_hash

    def revoke(self, device: str, *, forget: bool = False) -> None:
        """Refuse the device from now on; forgotten, its token is unknown."""
        self._revoked.add(device)
        self._by_hash.pop(self._next_of.pop(device, ""), None)
        if forget:
            self._by_hash.pop(self._hash_of[device], None)

    def check(self, device: str) -> None:
        """Refuse a device that was withdrawn, also since its request began.

        Raises:
            Refused: `revoked`.
        """
        if device in self._revoked:
            raise Refused(Reason.REVOKED, "the operator withdrew this device")

    def device_of(self, token: str) -> tuple[str, str | None]:
        """The device whose token this is; and the token's hash where it is used the first time.

        Raises:
            Refused: `unauthorised` or `revoked`.
        """
        offered = hash_token(token)
        device = self._by_hash.get(offered, "")
        if not device:
            raise Refused(Reason.UNAUTHORISED, "unknown device token")
        self.check(device)
        if self._next_of.get(device) != offered:
            return device, None
        self.add(offered, device)
        return device, offered


def find_device(names: Mapping[str, str], wanted: str) -> str:
    """The one device with this id, or with this name.

    Args:
        names: what devices call themselves, by id.
        wanted: as the operator typed it.

    Raises:
        Refused: `not-found` when none is called so, `conflict` when several are.
    """
    matching = [device for device, name in names.items() if wanted in {device, name}]
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(f"{device} ({name!r})" for device, name in names.items())[:1000] or "none"
    if matching:
        raise Refused(
            Reason.CONFLICT, f"more than one device is called {wanted!r}; devices: {known}"
        )
    raise Refused(Reason.NOT_FOUND, f"no device is called {wanted!r}; devices: {known}")


def same_token(offered: str, expected: str) -> bool:
    """Whether two tokens are equal, in constant time."""
    return hmac.compare_digest(hash_token(offered), hash_token(expected))
