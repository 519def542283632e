"""One frame: a fixed header that says everything about its chunk, then the codec's payload.

Field names, order, limits and the order of the checks are those of `FORMAT.md`, section 2.
"""

import dataclasses
import re
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum

from edge_sdk.errors import Corrupt, Misuse, TooLarge, Truncated, Unsupported
from edge_sdk.values import Place

MAGIC = 0x46474445
"""`EDGF` in the order the bytes are sent."""

VERSION = 1

HEADER = struct.Struct("<IBBBBHHHBBQIIQQII")
HEADER_BYTES = HEADER.size

MAX_FRAME_BYTES = 1 << 24
"""Largest frame of the format, header included. A receiver may set a lower limit."""

MAX_DIMENSION = 1 << 31
"""Most coordinates in one vector."""

RESERVED_FLAGS = 0x00FF
"""Must be zero; the other flag bits are unused: written as zero and ignored."""

_CRC_AT = HEADER_BYTES - 4
_RUN = re.compile(r"[0-9a-f]{16}")


class Kind(IntEnum):
    """What a frame is a chunk of."""

    UPDATE = 1
    """One device's update of one round."""
    SNAPSHOT = 2
    """A segment of a model version."""
    DELTA = 3
    """What a segment's version adds to the version before."""


SPEED_UNITS = 1 << 16
"""A delta's speed is counted in parts of one: what is decoded is added `examples / SPEED_UNITS`
times."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One chunk with everything needed to decode it alone.

    Raises:
        Misuse: a field is outside the limits of the format.
    """

    kind: Kind
    codec: int
    """Wire id of the codec, 1 to 255."""
    parameter: int
    """The codec's own parameter, 0 to 255."""
    index: int
    """This chunk's number, 0 up to `count - 1`."""
    count: int
    """Chunks in the whole vector, 1 to 65535."""
    stage: int = 0
    """Of an update the plan's stage it belongs to, of a model the segment; 0 to 254."""
    run: str
    """The run, 16 lower-case hex digits."""
    number: int
    """Round of an update (from 1), version of a model (from 0)."""
    examples: int = 0
    """Weight of an update, from 1; 0 in a snapshot; in a delta its speed, 1 to `SPEED_UNITS`."""
    seed: int
    """The vector's seed, below 2**53."""
    dimension: int
    """Coordinates in the whole vector, 1 to `MAX_DIMENSION`."""
    payload: bytes = dataclasses.field(repr=False)
    """What the codec made, at least one byte."""
    raw: bytes = dataclasses.field(default=b"", repr=False, compare=False)
    """The frame exactly as it was received; empty in a frame that was not read from bytes."""

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise Misuse(problem)

    @property
    def place(self) -> Place:
        """What the codec needs besides the payload."""
        return Place(dimension=self.dimension, index=self.index, count=self.count, seed=self.seed)


_RANGES = {
    "codec": (1, 255),
    "parameter": (0, 255),
    "count": (1, 65_535),
    "index": (0, 65_534),
    "stage": (0, 254),
    "number": (0, 2**32 - 1),
    "examples": (0, 2**32 - 1),
    "seed": (0, 2**53 - 1),
    "dimension": (1, MAX_DIMENSION),
}
"""Limits of the integer fields, both ends allowed."""


def _problems(frame: Frame) -> Iterator[str]:
    """What in `frame` is outside the format, worst first."""
    for name, (low, high) in _RANGES.items():
        if not low <= getattr(frame, name) <= high:
            yield f"{name} {getattr(frame, name)} is outside {low} to {high}"
    if frame.index >= frame.count:
        yield f"chunk {frame.index} of {frame.count}"
    if not _RUN.fullmatch(frame.run):
        yield f"run {frame.run!r} is not 16 hex digits"
    yield from _problems_of_kind(frame)
    if not 1 <= len(frame.payload) <= MAX_FRAME_BYTES - HEADER_BYTES:
        yield f"payload of {len(frame.payload)} bytes"


def _problems_of_kind(frame: Frame) -> Iterator[str]:
    if frame.kind is Kind.UPDATE and (frame.number == 0 or frame.examples == 0):
        yield "an update needs a round and examples of at least 1"
    if frame.kind is Kind.SNAPSHOT and frame.examples != 0:
        yield "a snapshot carries no examples"
    if frame.kind is Kind.DELTA and not (frame.number and 1 <= frame.examples <= SPEED_UNITS):
        yield f"a delta needs a version of at least 1 and a speed of 1 to {SPEED_UNITS}"


def pack(frame: Frame) -> bytes:
    """The bytes of `frame`: header, then payload."""
    fields = (
        MAGIC,
        VERSION,
        frame.kind,
        frame.codec,
        frame.parameter,
        0,
        frame.index,
        frame.count,
        frame.stage,
        0,
        int(frame.run, 16),
        frame.number,
        frame.examples,
        frame.seed,
        frame.dimension,
        len(frame.payload),
    )
    unsealed = HEADER.pack(*fields, 0)
    crc = zlib.crc32(frame.payload, zlib.crc32(unsealed))
    return b"".join((unsealed[:_CRC_AT], crc.to_bytes(4, "little"), frame.payload))


def unpack(data: bytes, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> Frame:
    """Read exactly one frame.

    Raises:
        Malformed: `Truncated` when bytes are missing, `TooLarge` over `max_frame_bytes`,
            `Unsupported` for another version or kind, `Corrupt` for anything else.
    """
    size = frame_bytes(data, max_frame_bytes=max_frame_bytes)
    if len(data) < size:
        raise Truncated(f"frame of {size} bytes ends after {len(data)}")
    if len(data) > size:
        raise Corrupt(f"{len(data) - size} bytes after the frame")
    fields = HEADER.unpack_from(data)
    unsealed = data[:_CRC_AT] + bytes(4)
    payload = data[HEADER_BYTES:]
    if zlib.crc32(payload, zlib.crc32(unsealed)) != fields[-1]:
        raise Corrupt("check sum does not match")
    return _frame(fields, payload, data)


def frame_bytes(header: bytes, *, max_frame_bytes: int) -> int:
    """Size of the frame that begins with `header`, judged before any payload is stored.

    Raises:
        Malformed: the header is too short, or breaks a rule that can be told from it alone.
    """
    if len(header) < HEADER_BYTES:
        raise Truncated(f"header of {HEADER_BYTES} bytes ends after {len(header)}")
    fields = HEADER.unpack_from(header)
    if fields[0] != MAGIC:
        raise Corrupt("not a frame: wrong magic")
    if fields[1] != VERSION:
        raise Unsupported(f"frame version {fields[1]}, known is {VERSION}")
    if fields[2] not in tuple(Kind):
        raise Unsupported(f"frame kind {fields[2]}")
    size = HEADER_BYTES + int(fields[-2])
    if size > min(max_frame_bytes, MAX_FRAME_BYTES):
        raise TooLarge(f"frame of {size} bytes, limit {min(max_frame_bytes, MAX_FRAME_BYTES)}")
    if fields[5] & RESERVED_FLAGS or fields[9]:
        raise Corrupt("a reserved bit is set")
    _frame(fields, b"\0" * min(fields[-2], 1))
    return size


def _frame(fields: tuple[int, ...], payload: bytes, raw: bytes = b"") -> Frame:
    """The frame with these header fields, or `Corrupt` where one is outside its limits."""
    try:
        return Frame(
            kind=Kind(fields[2]),
            codec=fields[3],
            parameter=fields[4],
            index=fields[6],
            count=fields[7],
            stage=fields[8],
            run=f"{fields[10]:016x}",
            number=fields[11],
            examples=fields[12],
            seed=fields[13],
            dimension=fields[14],
            payload=payload,
            raw=raw,
        )
    except Misuse as error:
        raise Corrupt(str(error)) from None
