"""One message of split learning: a batch's activations or cotangents at a cut.

Field names, order, limits and the order of the checks are those of `FORMAT.md`, section P.
"""

import dataclasses
import math
import re
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum

from edge_sdk.errors import Corrupt, Misuse, NotFinite, TooLarge, Truncated, Unsupported

BATCH_MAGIC = 0x53474445
"""`EDGS` in the order the bytes are sent."""

BATCH_VERSION = 1

BATCH_HEADER = struct.Struct("<IBBBBBBHQIIIIfIII")
BATCH_HEADER_BYTES = BATCH_HEADER.size

MAX_BATCH_NUMBERS = 1 << 26
"""Most numbers in one batch."""

MAX_BATCH_BYTES = 1 << 28
"""Most payload and target bytes together."""

MAX_EXAMPLES = 65_536

_RESERVED_FLAGS = 0x00FF
_CRC_AT = BATCH_HEADER_BYTES - 4
_RUN = re.compile(r"[0-9a-f]{16}")
_SEED_STEP = 0x9E3779B97F4A7


class BatchKind(IntEnum):
    """What a message holds of its batch."""

    ACTIVATIONS = 1
    COTANGENTS = 2


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class BatchMessage:
    """One batch on its way through a cut.

    Raises:
        Misuse: a field is outside the limits of the format.
    """

    kind: BatchKind
    cut: int
    """Number of the cut, 0 or 1."""
    codec: int
    """Wire id of the payload's codec, 1 to 255."""
    parameter: int
    """The codec's own parameter, 0 to 255."""
    run: str
    """The run, 16 lower-case hex digits."""
    round: int
    """From 1."""
    batch: int
    """Number of the batch in its session, from 0."""
    examples: int
    """In the batch, from 1."""
    numbers: int
    """Of each example, from 1."""
    loss: float = 0.0
    """Mean over the batch, finite; 0 where the sender does not know it."""
    payload: bytes = dataclasses.field(repr=False)
    targets: bytes = dataclasses.field(default=b"", repr=False)

    def __post_init__(self) -> None:
        for problem in _problems(self):
            raise Misuse(problem)


_RANGES = {
    "cut": (0, 1),
    "codec": (1, 255),
    "parameter": (0, 255),
    "round": (1, 2**32 - 1),
    "batch": (0, 2**31 - 1),
    "examples": (1, MAX_EXAMPLES),
    "numbers": (1, MAX_BATCH_NUMBERS),
}
"""Limits of the integer fields, both ends allowed."""


def _problems(message: BatchMessage) -> Iterator[str]:
    for name, (low, high) in _RANGES.items():
        if not low <= getattr(message, name) <= high:
            yield f"{name} {getattr(message, name)} is outside {low} to {high}"
    if message.examples * message.numbers > MAX_BATCH_NUMBERS:
        yield f"{message.examples} x {message.numbers} numbers, limit {MAX_BATCH_NUMBERS}"
    if not message.payload or len(message.payload) + len(message.targets) > MAX_BATCH_BYTES:
        yield f"payload of {len(message.payload)} and targets of {len(message.targets)} bytes"
    if not _RUN.fullmatch(message.run):
        yield f"run {message.run!r} is not 16 hex digits"
    if not math.isfinite(message.loss):
        yield f"loss {message.loss}"


def batch_seed(seed: int, batch: int) -> int:
    """Seed of the payloads of one batch, from that of the device's task; below 2**53."""
    return (seed + _SEED_STEP * (batch + 1)) % 2**53


def pack_batch(message: BatchMessage) -> bytes:
    """The bytes of `message`."""
    fields = (
        BATCH_MAGIC,
        BATCH_VERSION,
        message.kind,
        message.cut,
        0,
        message.codec,
        message.parameter,
        0,
        int(message.run, 16),
        message.round,
        message.batch,
        message.examples,
        message.numbers,
        message.loss,
        len(message.payload),
        len(message.targets),
    )
    try:
        unsealed = BATCH_HEADER.pack(*fields, 0)
    except OverflowError:
        raise Misuse(f"loss {message.loss} is not a float32") from None
    body = message.payload + message.targets
    crc = zlib.crc32(body, zlib.crc32(unsealed))
    return b"".join((unsealed[:_CRC_AT], crc.to_bytes(4, "little"), body))


def unpack_batch(
    data: bytes, *, max_bytes: int = BATCH_HEADER_BYTES + MAX_BATCH_BYTES
) -> BatchMessage:
    """Read exactly one message.

    Raises:
        Malformed: `Truncated` when bytes are missing, `TooLarge` over `max_bytes` or a limit of
            the format, `Unsupported` for another version or kind, `Corrupt` for anything else.
    """
    if len(data) < BATCH_HEADER_BYTES:
        raise Truncated(f"message of {len(data)} bytes")
    fields = BATCH_HEADER.unpack_from(data)
    size = _checked_size(fields, max_bytes)
    if len(data) != size:
        wrong = Truncated if len(data) < size else Corrupt
        raise wrong(f"message of {len(data)} bytes, its header says {size}")
    unsealed = data[:_CRC_AT] + bytes(4)
    if zlib.crc32(data[BATCH_HEADER_BYTES:], zlib.crc32(unsealed)) != fields[-1]:
        raise Corrupt("check sum does not match")
    return _message(fields, data)


def _checked_size(fields: tuple[int, ...], max_bytes: int) -> int:
    """Bytes of the message, judged from its header alone."""
    if fields[0] != BATCH_MAGIC:
        raise Corrupt("not a batch message: wrong magic")
    if fields[1] != BATCH_VERSION or fields[2] not in tuple(BatchKind):
        raise Unsupported(f"batch message of version {fields[1]}, kind {fields[2]}")
    examples, numbers, payload, targets = fields[11], fields[12], fields[14], fields[15]
    size = BATCH_HEADER_BYTES + payload + targets
    if payload + targets > MAX_BATCH_BYTES or size > max_bytes:
        raise TooLarge(f"message of {size} bytes, limit {max_bytes}")
    if examples > MAX_EXAMPLES or examples * numbers > MAX_BATCH_NUMBERS:
        raise TooLarge(f"batch of {examples} x {numbers} numbers")
    if fields[4] or fields[7] & _RESERVED_FLAGS:
        raise Corrupt("a reserved bit is set")
    return size


def _message(fields: tuple[int, ...], data: bytes) -> BatchMessage:
    middle = BATCH_HEADER_BYTES + fields[14]
    if not math.isfinite(fields[13]):
        raise NotFinite(f"loss {fields[13]}")
    try:
        return BatchMessage(
            kind=BatchKind(fields[2]),
            cut=fields[3],
            codec=fields[5],
            parameter=fields[6],
            run=f"{fields[8]:016x}",
            round=fields[9],
            batch=fields[10],
            examples=fields[11],
            numbers=fields[12],
            loss=float(fields[13]),
            payload=data[BATCH_HEADER_BYTES:middle],
            targets=data[middle:],
        )
    except Misuse as error:
        raise Corrupt(str(error)) from None
