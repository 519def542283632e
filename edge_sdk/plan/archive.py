"""Named members <-> one ZIP file of a single canonical form.

Every entry is stored (never compressed), in the given order, with one fixed timestamp and no extra
fields, so equal members give equal bytes and any ZIP tool can open the result. Reading accepts
this form only: each header is rebuilt from the few fields that may vary and compared, hence no
byte of the file can differ from the canonical form unnoticed, and nothing is ever decompressed.

Layout (PKWARE APPNOTE 6.3): local header and data of each member, then the central directory,
then the end record.
"""

import re
import struct
import zlib
from collections.abc import Mapping

from edge_sdk.errors import Corrupt, Misuse, TooLarge, Truncated, Unsupported

MAX_MEMBERS = 1024
"""Most members in one archive."""

MAX_BYTES = 1 << 30
"""Largest archive."""

_NAME = re.compile(rb"[a-z0-9][a-z0-9.-]{0,63}")
"""A member name: no folder, no upper case, nothing a file system could read another way."""

_MEMBER = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20
_STORED = 0
_MIDNIGHT, _FIRST_DAY = 0, 0x21  # 1980-01-01 00:00, the earliest a ZIP file can say


def pack(members: Mapping[str, bytes]) -> bytes:
    """The archive of `members`, in their order.

    Raises:
        Misuse: a name is not allowed, or a limit is exceeded.
    """
    wrong = [name for name in members if not _NAME.fullmatch(name.encode())]
    if wrong or len(members) > MAX_MEMBERS:
        raise Misuse(f"cannot pack {len(members)} members, bad names {wrong[:3]}")
    parts: list[bytes] = []
    for name, body in members.items():
        parts += [_local_header(name.encode(), zlib.crc32(body), len(body)), body]
    size = sum(map(len, parts)) + sum(_CENTRAL.size + len(n) for n in members) + _END.size
    if size > MAX_BYTES:
        raise Misuse(f"archive of {size} bytes, limit {MAX_BYTES}")
    return b"".join([*parts, _directory(members)])


def unpack(data: bytes, *, limit: int = MAX_BYTES) -> dict[str, memoryview]:
    """The members of `data`, in order, as views of it.

    Raises:
        Malformed: `data` is anything but what `pack` writes; no other exception, ever.
    """
    if len(data) > limit:
        raise TooLarge(f"archive of {len(data)} bytes, limit {limit}")
    members: dict[str, memoryview] = {}
    start = 0
    while data[start : start + 4] == _MEMBER:
        name, body, start = _read_member(data, start)
        if name in members:
            raise Corrupt(f"member {name} stands twice")
        if len(members) == MAX_MEMBERS:
            raise TooLarge(f"more than {MAX_MEMBERS} members")
        members[name] = body
    _check_rest(data[start:], members)
    return members


def _check_rest(rest: bytes, members: Mapping[str, bytes | memoryview]) -> None:
    expected = _directory(members)
    if rest == expected:
        return
    if expected.startswith(rest) or _MEMBER.startswith(rest):
        raise Truncated("archive ends before its end record")
    raise Corrupt("not an archive, or its directory disagrees with its members")


def _read_member(data: bytes, start: int) -> tuple[str, memoryview, int]:
    """Name and content of the member whose header is at `start`, and where the next one is."""
    header = data[start : start + _LOCAL.size]
    if len(header) < _LOCAL.size:
        raise Truncated("archive ends inside a member's header")
    _, _, flags, method, _, _, crc, _, size, name_size, _ = _LOCAL.unpack(header)
    if flags or method != _STORED:
        raise Unsupported("archive has a compressed, encrypted or streamed member")
    name = data[start + _LOCAL.size : start + _LOCAL.size + name_size]
    if len(name) == name_size and not _NAME.fullmatch(name):
        raise Corrupt("archive has a member whose name is not allowed")
    body_at = start + _LOCAL.size + name_size
    if body_at + size > len(data):
        raise Truncated("archive ends inside a member")
    if data[start:body_at] != _local_header(name, crc, size):
        raise Corrupt("member header is not in canonical form")
    body = memoryview(data)[body_at : body_at + size]
    if zlib.crc32(body) != crc:
        raise Corrupt(f"member {name.decode()} fails its check sum")
    return name.decode(), body, body_at + size


def _local_header(name: bytes, crc: int, size: int) -> bytes:
    fixed = (_MEMBER, _VERSION, 0, _STORED, _MIDNIGHT, _FIRST_DAY)
    return _LOCAL.pack(*fixed, crc, size, size, len(name), 0) + name


def _directory(members: Mapping[str, bytes | memoryview]) -> bytes:
    """Central directory and end record."""
    parts: list[bytes] = []
    start = 0
    for text, body in members.items():
        name, size = text.encode(), len(body)
        fixed = (b"PK\x01\x02", _VERSION, _VERSION, 0, _STORED, _MIDNIGHT, _FIRST_DAY)
        crc = zlib.crc32(body)
        parts += [_CENTRAL.pack(*fixed, crc, size, size, len(name), 0, 0, 0, 0, 0, start), name]
        start += _LOCAL.size + len(name) + size
    size = sum(map(len, parts))
    end = _END.pack(b"PK\x05\x06", 0, 0, len(members), len(members), size, start, 0)
    return b"".join([*parts, end])
