"""Subtractive dither under a rotation that all devices share: one inverse for a whole cohort.

Every device adds random numbers of its own to the rotated vector before it rounds, and the decoder
subtracts the same numbers. The error is then independent of the vector and of all other devices,
whatever they hold: exactly unbiased, and the errors of similar devices do not add up, as they would
with a shared rotation and plain rounding. So the server may sum in the rotated domain
(`decode_rotated`) and turn the sum back once (`turn_back`), instead of once for each device.

Made for large cohorts at 1.5 bits and more; below about one bit the dither's own noise dominates
and other codecs are far better. Source of the quantizer: Ziv 1985,
Zamir and Feder 1992; in federated learning UVeQFed (arXiv 2006.03262). Payload: FORMAT.md, S.12.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.blocks import Run, Tiling
from edge_sdk.codecs.chunking import share
from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.dithered_size import Blocks, Doubles, predicted_bits, whole_energies
from edge_sdk.codecs.eden import to_whole_numbers
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.gaps import Whole
from edge_sdk.codecs.intake import MAX_CHUNKS, MAX_MAGNITUDE, require_order, require_place
from edge_sdk.codecs.levels import read_small, write_small
from edge_sdk.codecs.reals import write_reals
from edge_sdk.codecs.rotation import BLOCK_SIZES, rotate, rotate_back
from edge_sdk.codecs.signs import random_words, stream_key
from edge_sdk.codecs.stated import error_code, error_of
from edge_sdk.errors import Corrupt, Misuse, TooLarge
from edge_sdk.values import Piece, Place, Vector

WIRE_ID = 22

LEAST_RATE, MOST_RATE = 0.75, 8.0

PHASES = 4
"""Classes of coordinates by how far their dither is from zero; each is coded by itself."""

GROUPS = 15
"""Blocks of like energy are coded together; a chunk has at most so many kinds."""

_HEAD_BYTES = 12
_STREAM_BYTES = 8
"""About what each stream of levels costs beyond its levels."""
_WORTH_GROUPING = 1 << 14
"""Coordinates below which more than one group costs more than it saves."""
_WORTH_FINE_GROUPS = 1 << 17
"""From here on a group spans half an octave of rms, below a whole one."""
_MIXTURE = 1.015
"""What coding unlike blocks together costs."""
_WELL_FORETOLD = 1 << 17
"""Coordinates from which on even blocks foretell the size."""
_WORTH_A_PILOT = 512
"""Bytes below which what a pilot corrects is a few bytes."""
_PILOT = 0x50494C4F54
"""Changes a seed to that of the pilot; below 2**53."""
_MOST_CORRECTION = 1.1
"""By how much a pilot moves the rate at most: of tiny vectors headers are the larger part."""
_FILL = 0.9
"""Share of a chunk that the strongest block may be predicted to take."""
_MOST = 2.0**118
"""Largest rotated value: what it turns back to stays a float32."""
_SLAB = 1 << 16
_ROUNDS = 2
_PHASE_OF_EIGHTH = np.array([3, 3, 2, 1, 0, 1, 2, 3], np.uint8)
"""min(3, floor(|word - 2**31| / 2**29)) by the word in 2**29."""
_TURNING = 0x54495244
"""`DRIT`: the stream of the shared rotation, by the rotation's number alone."""
_DITHER = 0x48545244
"""`DRTH`: the stream of one device's dither."""

_GROUP_ZERO = 4
"""Group of blocks whose rms is about one step."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rotated:
    """What a chunk decodes to before the rotation is undone."""

    first: int
    """Number of the first value in the rotated vector; `rotated_size` is that vector's length."""
    values: Vector
    largest: int
    """Largest block of the rotation."""
    rotation: int
    """Number of the rotation; only vectors of the same rotation and largest block may be added."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    """The first bytes of every payload of one update."""

    largest: int
    error_code: int
    """The stated error."""
    rotation: int
    step: np.float32

    @classmethod
    def read(cls, cursor: Cursor) -> "_Head":
        """Raises `Malformed` if it is outside the format."""
        largest, code, reserved = cursor.unsigned(2), cursor.unsigned(1), cursor.unsigned(1)
        rotation, step = cursor.unsigned(4), np.float32(cursor.real())
        if largest not in BLOCK_SIZES or reserved or not 0 <= step <= MAX_MAGNITUDE:
            raise Corrupt(f"dithered head: block {largest}, {reserved}, step {step}")
        return cls(largest, code, rotation, step)

    def to_bytes(self) -> bytes:
        """The same as bytes."""
        numbers = ((self.largest, 2), (self.error_code, 1), (0, 1), (self.rotation, 4))
        content = b"".join(number.to_bytes(size, "little") for number, size in numbers)
        return content + write_reals(self.step.reshape(1), 32)


@dataclasses.dataclass(frozen=True, slots=True)
class Dithered:
    """Unbiased whatever the vector and whatever others send."""

    rate: float
    """Bits on the wire per coordinate, frame headers included, .75 to 8. The step follows from the
    blocks' energies and, where these foretell the size less well, from that of a pilot with dither
    of its own; a step chosen by the size that came out would bias the result."""
    rotation: int = 0
    """Number of the rotation, below 2**32; the same for all devices of a round, new each round."""

    unbiased: ClassVar[bool] = True
    parameter: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_RATE or not 0 <= self.rotation < 1 << 32:
            raise Misuse(f"not a dithered codec: rate {self.rate}, rotation {self.rotation}")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"dithered:rate={self.rate!r},rotation={self.rotation}"

    def stated_error(self, payload: bytes) -> float:
        """See `stated.StatesError`: a twelfth of a squared step for each coordinate."""
        return error_of(_Head.read(Cursor(payload)).error_code)

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**100."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE / 1024)
        tiling = Tiling(len(vector), self._largest_block(chunk_bytes))
        blocks = Blocks.of(vector, tiling)
        step = self._step(blocks, self.rate, chunk_bytes)
        foretold = blocks.even and len(vector) >= _WELL_FORETOLD
        if step and not foretold and self.rate * len(vector) / 8 >= _WORTH_A_PILOT:
            head = self._head(tiling, blocks, step)
            pilot = self._encode_all(vector, tiling, head, seed ^ _PILOT, chunk_bytes)
            made = sum(map(len, pilot)) + FRAME_HEADER_BYTES * len(pilot)
            ratio = self.rate * len(vector) / (8 * made)
            ratio = min(max(ratio, 1 / _MOST_CORRECTION), _MOST_CORRECTION)
            step = self._step(blocks, self.rate * ratio, chunk_bytes)
        head = self._head(tiling, blocks, step)
        return self._encode_all(vector, tiling, head, seed, chunk_bytes)

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        rotated = self.decode_rotated(payload, place)
        tiling = Tiling(place.dimension, rotated.largest)
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, _ = tiling.widths(first, end)
        runs = tiling.runs(first, end, most=_SLAB)
        values = np.empty(where.size, np.float32)
        _turn_back(rotated.values, values, runs, first=where.first, rotation=rotated.rotation)
        return Piece(where=where, values=values)

    def decode_rotated(self, payload: bytes, place: Place) -> Rotated:
        """The values of one chunk in the rotated domain, dither removed, to be summed there.

        Raises:
            Malformed: as `decode`.
        """
        require_place(place)
        cursor = Cursor(payload)
        head = _Head.read(cursor)
        step = float(head.step)
        tiling = Tiling(place.dimension, head.largest)
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, width = tiling.widths(first, end)
        if width > MAX_SPAN:
            raise TooLarge(f"chunk of {width} coordinates, limit {MAX_SPAN}")
        values = np.zeros(width, np.float32)
        if step:
            groups = read_small(cursor, end - first)
            if groups.max() > GROUPS:
                raise Corrupt(f"group {groups.max()}")
            words = _dither_words(place, where.first, width)
            for mine in _streams(_per_coordinate(groups, tiling, first, end), words):
                levels = _unfolded(read_small(cursor, len(mine)), words[mine])
                exact = (levels - (words[mine] * 2.0**-32 - 0.5)) * step
                if np.abs(exact).max() > _MOST:
                    raise Corrupt("a rotated value is too large")
                values[mine] = exact
        cursor.end()
        return Rotated(where.first, values, head.largest, head.rotation)

    def _head(self, tiling: Tiling, blocks: Blocks, step: np.float32) -> "_Head":
        return _Head(tiling.largest, error_code(blocks.error(float(step))), self.rotation, step)

    def _largest_block(self, chunk_bytes: int) -> int:
        """The largest block that surely fits into a chunk."""
        for size in BLOCK_SIZES:
            if size * (self.rate + 1) / 8 + 64 <= chunk_bytes:
                return size
        raise Misuse(f"no block of rate {self.rate} fits into {chunk_bytes} bytes")

    def _step(self, blocks: Blocks, rate: float, chunk_bytes: int) -> np.float32:
        """The step whose predicted size is the rate's; 0 for a vector of zeros."""
        sizes, energies = blocks.sizes, blocks.energies
        if not energies.any():
            return np.float32(0)
        budget = rate * blocks.dimension
        chunks = budget // (8 * chunk_bytes) + 1
        chunk_cost = FRAME_HEADER_BYTES + _HEAD_BYTES + 2 * _STREAM_BYTES * PHASES
        least = rate * float(sizes.sum()) / 2
        budget = max(budget - 8 * chunks * chunk_cost - len(sizes), least)
        most = 8 * _FILL * (chunk_bytes - _HEAD_BYTES - 2 * _STREAM_BYTES * PHASES)
        variances = energies / sizes
        if not blocks.even:
            budget /= _MIXTURE
        norm = math.sqrt(float(energies.max()))
        low, high = _pattern(max(norm * 2.0**-17, 2.0**-149)), _pattern(norm * 64)
        while high - low > 256:
            middle = (low + high) // 2
            step = float(np.uint32(middle).view(np.float32))
            bits = predicted_bits(variances / step / step, sizes)
            if float(np.cumsum(bits)[-1]) > budget or float(bits.max()) > most:
                low = middle
            else:
                high = middle
        return np.uint32(high).view(np.float32)

    def _encode_all(
        self, vector: Vector, tiling: Tiling, head: "_Head", seed: int, chunk_bytes: int
    ) -> list[bytes]:
        """Payloads in as few chunks as are found to hold them."""
        by_size = int(1.05 * self.rate * len(vector) / 8 / (chunk_bytes + FRAME_HEADER_BYTES)) + 1
        count = min(max(by_size, -(-len(vector) // MAX_SPAN)), tiling.blocks)
        most = min(tiling.blocks, MAX_CHUNKS)
        while True:
            payloads: list[bytes] = []
            for index in range(count):
                place = Place(len(vector), index, count, seed)
                payloads.append(_encode_chunk(vector, tiling, head, place))
                if len(payloads[-1]) > chunk_bytes:
                    break
            else:
                return payloads
            if count == most:
                raise Misuse(f"a block needs more than {chunk_bytes} bytes")
            count = min(max(count + 1, -(-count * len(payloads[-1]) // chunk_bytes)), most)


def _encode_chunk(vector: Vector, tiling: Tiling, head: _Head, place: Place) -> bytes:
    """The payload of one chunk."""
    first, end = share(tiling.blocks, index=place.index, count=place.count)
    step = head.step
    if not step:
        return head.to_bytes()
    where, width = tiling.widths(first, end)
    units = np.empty(width)
    groups = np.zeros(end - first, np.int64)
    width_of_group = 1 if width >= _WORTH_FINE_GROUPS else 2
    for run in tiling.runs(first, end, most=_SLAB):
        rows = run.rows_of(vector)
        exponents = to_whole_numbers(rows)
        norms = whole_energies(rows, exponents) / run.size / np.float64(step) ** 2
        nearest = np.clip(_GROUP_ZERO + np.frexp(norms)[1] // width_of_group, 1, GROUPS)
        groups[run.block : run.block + run.blocks] = np.where(norms > 0, nearest, 0)
        turned = rotate(rows, _turning_keys(head.rotation), first=run.first)
        wide = np.ldexp(turned.astype(np.float64), exponents) / np.float64(step)
        units[run.position : run.position + run.width] = wide.reshape(-1)
    if width < _WORTH_GROUPING:
        groups = np.minimum(groups, 1)
    words = _dither_words(place, where.first, width)
    levels = np.rint(units + (words * 2.0**-32 - 0.5)).astype(np.int64)
    streams = _streams(_per_coordinate(groups, tiling, first, end), words)
    parts = [write_small(_folded(levels[mine], words[mine])) for mine in streams]
    return b"".join([head.to_bytes(), write_small(groups), *parts])


def rotated_size(dimension: int, largest: int) -> int:
    """Length of the rotated form of a vector: the padding of its last block is part of it."""
    tiling = Tiling(dimension, largest)
    return tiling.widths(0, tiling.blocks)[1]


def turn_back(rotated: Doubles, *, dimension: int, largest: int, rotation: int) -> Vector:
    """Undo the shared rotation of a sum.

    Args:
        rotated: float64 of length `rotated_size`, magnitudes below 2**118.
        dimension: coordinates of the vector.
        largest: largest block of the rotation.
        rotation: its number.

    Raises:
        Misuse: another length.
    """
    if len(rotated) != rotated_size(dimension, largest):
        raise Misuse(f"{len(rotated)} rotated values for a vector of {dimension}")
    tiling = Tiling(dimension, largest)
    runs = tiling.runs(0, tiling.blocks, most=_SLAB)
    values = np.empty(dimension, np.float32)
    _turn_back(rotated, values, runs, first=0, rotation=rotation)
    return values


def _turn_back(
    rotated: NDArray[np.floating], values: Vector, runs: Iterator[Run], *, first: int, rotation: int
) -> None:
    """Fill `values` run by run; both arrays begin at place `first` of the whole vector."""
    for run in runs:
        start = run.first - first
        rows = rotated[start : start + run.width].astype(np.float32).reshape(-1, run.size)
        exponents = to_whole_numbers(rows)
        rows = rotate_back(rows, _turning_keys(rotation), first=run.first)
        flat = np.ldexp(rows.astype(np.float64), exponents).reshape(-1)
        flat += 0.0  # -0.0 becomes 0.0: the sign of a zero sum depends on the BLAS
        values[run.first - first : run.end - first] = flat[: run.end - run.first]


def _turning_keys(rotation: int) -> tuple[int, ...]:
    return tuple(stream_key(_TURNING, rotation, turn) for turn in range(_ROUNDS))


def _dither_words(place: Place, first: int, count: int) -> NDArray[np.uint32]:
    key = stream_key(_DITHER, place.seed & 0xFFFFFFFF, place.seed >> 32)
    return random_words(key, first=first, count=count)


def _per_coordinate(groups: Whole, tiling: Tiling, first: int, end: int) -> NDArray[np.uint8]:
    """The group of every coordinate's block."""
    runs = tiling.runs(first, end, most=MAX_SPAN)
    small = groups.astype(np.uint8)
    return np.concatenate([np.repeat(small[r.block : r.block + r.blocks], r.size) for r in runs])


def _streams(groups: NDArray[np.uint8], words: NDArray[np.uint32]) -> Iterator[NDArray[np.int64]]:
    """Coordinates that are coded together: group by group, and in each by the dither's phase."""
    below = words < 1 << 31
    eighths = (words + below * np.uint32((1 << 29) - 1)) >> np.uint32(29)  # rounded up below 2**31
    phases = np.take(_PHASE_OF_EIGHTH, eighths)
    for group in range(1, GROUPS + 1):
        members = np.flatnonzero(groups == group)
        mine = phases[members]
        for phase in range(PHASES if len(members) else 0):
            some = members[mine == phase]
            if len(some):
                yield some


def _folded(levels: Whole, words: NDArray[np.uint32]) -> Whole:
    """Levels counted outwards from zero, first to the side that the dither makes more likely."""
    towards = np.where(words < 1 << 31, -levels, levels)
    folded = np.abs(towards)
    folded += folded
    folded -= towards > 0
    return folded


def _unfolded(numbers: Whole, words: NDArray[np.uint32]) -> Whole:
    """Undo `_folded`."""
    levels = (numbers + 1) >> 1
    odd = (numbers & 1).astype(np.bool_)
    np.negative(levels, out=levels, where=odd != (words >= 1 << 31))
    return levels


def _pattern(number: float) -> int:
    """The bits of a positive number as float32: ordered like the numbers."""
    return int(np.float32(number).view(np.uint32))
