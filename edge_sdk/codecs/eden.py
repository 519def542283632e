"""EDEN at a fixed 1 to 8 bits: random rotation, Lloyd-Max levels, one scale per block.

Vargaftik et al., "EDEN: Communication-Efficient and Robust Distributed Mean Estimation for
Federated Learning", arXiv 2108.08842. Different from the paper: blocks of at most 4096 instead of
one padded power of two, two rotation rounds instead of one, and whole-number arithmetic, so that
equal input gives equal bytes and equal bytes give equal values on every CPU. Payload: FORMAT.md,
section 5.
"""

import dataclasses
import struct

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.blocks import SMALLEST, Run, Tiling
from edge_sdk.codecs.chunking import chunks_needed, share
from edge_sdk.codecs.eden_scales import Column, Scale, scales_of
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order, require_place, require_size
from edge_sdk.codecs.normal import UNITS_PER_SIGMA
from edge_sdk.codecs.packing import Planes, pack_planes, unpack_planes
from edge_sdk.codecs.quantize import MAGNITUDES, SIGNED_LEVELS, nearest_level
from edge_sdk.codecs.rotation import BLOCK_SIZES, Rows, rotate, rotate_back, rounds_of
from edge_sdk.codecs.signs import stream_key
from edge_sdk.codecs.stated import error_of_levels
from edge_sdk.errors import Corrupt, Misuse, Truncated
from edge_sdk.values import Piece, Place, Vector

WIRE_ID = 2

MAX_SCALE = 2.0**117
"""Scales above it could make a value that is not a float32."""

_HEAD = struct.Struct("<HH")
_SCALE_BYTES = 4
_SLAB = 1 << 16
"""Coordinates worked on at once: the temporaries stay in the processor's cache."""
_PURPOSE = 0x4E454445
"""`EDEN`: keeps its sign streams apart from other uses of the same seed."""


@dataclasses.dataclass(frozen=True, slots=True)
class Eden:
    """Error about .571, .133, .0358, .0096 … of the squared norm at 1, 2, 3, 4 … bits; unbiased.

    With `Scale.MSE` .363, .117, .0345, .0095 …, but not unbiased.
    """

    bits: int
    """Bits per coordinate, 1 to 8; each block adds 4 bytes, each chunk 4."""
    rounds: int = 2
    """Rotation rounds of a block of 4096, 1 to 3. One is the paper, biased on few values."""
    scale: Scale = Scale.UNBIASED
    """What the scales are chosen for; payloads decode alike."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8 or not 1 <= self.rounds <= 3:
            raise Misuse(f"EDEN has 1 to 8 bits and 1 to 3 rounds, not {self.bits}, {self.rounds}")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"eden:bits={self.bits}{spec_end(self.rounds, self.scale)}"

    @property
    def unbiased(self) -> bool:
        """True from two rounds on with the unbiased scale."""
        return self.rounds > 1 and self.scale is Scale.UNBIASED

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return self.rounds << 4 | self.bits

    def stated_error(self, payload: bytes) -> float:  # noqa: ARG002 - the bits say it
        """See `stated.StatesError`: that of normal numbers, which a rotation makes of any."""
        return error_of_levels(self.bits)

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        tiling = Tiling(len(vector), self._largest_block(chunk_bytes))
        unit = self._block_bytes(tiling.largest)
        blocks = tiling.blocks
        count = chunks_needed(blocks, unit_bytes=unit, room_bytes=chunk_bytes - _HEAD.size)
        return [
            self._encode_chunk(vector, tiling, Place(len(vector), index, count, seed))
            for index in range(count)
        ]

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; refuses scales that are not finite, negative or over `MAX_SCALE`."""
        require_place(place)
        if len(payload) < _HEAD.size:
            raise Truncated(f"EDEN payload of {len(payload)} bytes")
        largest, reserved = _HEAD.unpack_from(payload)
        if largest not in BLOCK_SIZES or reserved:
            raise Corrupt("EDEN head is outside the format")
        tiling = Tiling(place.dimension, largest)
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, width = tiling.widths(first, end)
        blocks = end - first
        require_size(payload, _HEAD.size + blocks * _SCALE_BYTES + width * self.bits // 8)
        scales = np.frombuffer(payload, "<f4", blocks, _HEAD.size).astype(np.float32)
        if not ((scales >= 0) & (scales <= MAX_SCALE)).all():
            raise Corrupt("an EDEN scale is negative, too large or not a number")
        planes = np.frombuffer(payload, np.uint8, offset=_HEAD.size + blocks * _SCALE_BYTES)
        planes = planes.reshape(self.bits, width // 8)
        keys = rotation_keys(place, self.rounds)
        values = np.empty(where.size, np.float32)
        for run in tiling.runs(first, end, most=_SLAB):
            start = run.first - where.first
            values[start : start + run.end - run.first] = self._decode_run(
                run, scales, planes, keys
            )
        return Piece(where=where, values=values)

    def _largest_block(self, chunk_bytes: int) -> int:
        """The largest block that fits into a chunk."""
        for size in BLOCK_SIZES:
            if self._block_bytes(size) + _HEAD.size <= chunk_bytes:
                return size
        raise Misuse(f"no EDEN block of {self.bits} bits fits into {chunk_bytes} bytes")

    def _block_bytes(self, size: int) -> int:
        return _SCALE_BYTES + size * self.bits // 8

    def _encode_chunk(self, vector: Vector, tiling: Tiling, place: Place) -> bytes:
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        _, width = tiling.widths(first, end)
        scales = np.zeros(end - first, "<f4")
        planes = np.zeros((self.bits, width // 8), np.uint8)
        keys = rotation_keys(place, self.rounds)
        for run in tiling.runs(first, end, most=_SLAB):
            self._encode_run(vector, run, scales, planes, keys)
        return b"".join((_HEAD.pack(tiling.largest, 0), scales.tobytes(), planes.tobytes()))

    def _encode_run(
        self,
        vector: Vector,
        run: Run,
        scales: NDArray[np.float32],
        planes: Planes,
        keys: tuple[int, ...],
    ) -> None:
        """Fill in the scales and bits of one run of blocks."""
        rows = run.rows_of(vector)
        exponents = to_whole_numbers(rows)
        energy = row_sums(rows, rows)
        turned = rotate(rows, keys[: rounds_of(run.size, self.rounds)], first=run.position)
        size = np.abs(turned)
        index = nearest_level(size * units_per_number(energy, run.size), self.bits)
        levels = np.take(MAGNITUDES[self.bits], index, mode="clip")
        squares = energy if self.scale is Scale.UNBIASED else row_sums(levels, levels)
        scale = scales_of(self.scale, energy, row_sums(size, levels), squares)
        scales[run.block : run.block + run.blocks] = np.ldexp(
            scale * UNITS_PER_SIGMA, exponents
        ).reshape(-1)
        index |= (turned < 0).view(np.uint8) << np.uint8(self.bits - 1)
        begin = run.position // 8
        pack_planes(index.reshape(-1), planes[:, begin : begin + run.width // 8])

    def _decode_run(
        self, run: Run, scales: NDArray[np.float32], planes: Planes, keys: tuple[int, ...]
    ) -> Vector:
        """The values of one run of blocks, padding cut off."""
        begin = run.position // 8
        codes = unpack_planes(planes[:, begin : begin + run.width // 8])
        rows = np.take(SIGNED_LEVELS[self.bits], codes, mode="clip").reshape(run.blocks, run.size)
        mine = scales[run.block : run.block + run.blocks]
        return rebuilt(rows, mine, keys[: rounds_of(run.size, self.rounds)], run)


def spec_end(rounds: int, scale: Scale) -> str:
    """How a spec goes on after the rate; nothing where both are the usual ones."""
    words = f",rounds={rounds}" if rounds != 2 else ""
    return words if scale is Scale.UNBIASED else f"{words},scale={scale}"


def rotation_keys(place: Place, rounds: int) -> tuple[int, ...]:
    """Sign stream of every rotation round that some block of one chunk takes."""
    low, high = place.seed & 0xFFFFFFFF, place.seed >> 32
    turns = range(rounds_of(SMALLEST, rounds))
    return tuple(stream_key(_PURPOSE, low, high, place.index, turn) for turn in turns)


def units_per_number(energy: Column, size: int) -> NDArray[np.float32]:
    """What takes a block's whole numbers to units of its root mean square; 0 for zeros."""
    rms = np.sqrt(energy / size)
    units = np.divide(UNITS_PER_SIGMA, rms, out=np.zeros_like(rms), where=rms > 0)
    return units.astype(np.float32)


def rebuilt(rows: Rows, scales: NDArray[np.float32], keys: tuple[int, ...], run: Run) -> Vector:
    """Rotate rows of levels back and multiply each with its scale, padding cut off, flat."""
    rows = rotate_back(rows, keys, first=run.position)
    rows *= np.float32(1 / UNITS_PER_SIGMA)
    rows *= scales[:, np.newaxis]
    rows += np.float32(0)  # -0.0 becomes 0.0: the sign of a zero sum depends on the BLAS
    flat: Vector = rows.reshape(-1)[: run.end - run.first]
    return flat


def to_whole_numbers(rows: Rows) -> NDArray[np.int32]:
    """Make every row whole numbers in place: times a power of two, then rounded.

    The power is chosen so that the row's norm lies between 2**17.5 and 2**20.5, by a look at the
    row in steps of a 64th of its largest magnitude: all sums are exact, so every machine chooses
    alike. Zero rows stay zero.

    Returns:
        Per row, shape (blocks, 1), the exponent e with original = row * 2**e.
    """
    largest = np.max(np.abs(rows), axis=1, keepdims=True)
    lift = 6 - np.frexp(largest)[1]
    half = lift // 2  # 2**lift itself may be beyond float32
    rows *= np.ldexp(np.float32(1), half)
    rows *= np.ldexp(np.float32(1), lift - half)
    coarse = np.rint(rows)  # at most 64
    energy = np.einsum("bn,bn->b", coarse, coarse)[:, np.newaxis]  # at most 4096 * 2**12
    finer = (39 - np.frexp(energy)[1]) // 2
    rows *= np.ldexp(np.float32(1), finer)
    np.rint(rows, out=rows)
    exponents: NDArray[np.int32] = -(lift + finer)
    return exponents


def row_sums(left: NDArray[np.floating], right: NDArray[np.floating]) -> Column:
    """Row sums of the products of whole numbers, exact while below 2**53, shape (blocks, 1)."""
    wide, other = left.astype(np.float64, copy=False), right.astype(np.float64, copy=False)
    sums: Column = np.einsum("bn,bn->b", wide, other)[:, np.newaxis]
    return sums
