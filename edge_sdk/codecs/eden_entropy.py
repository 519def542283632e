"""EDEN with entropy coding: random rotation, uniform quantizer, any rate from 0.05 to 8 bits.

The paper's section 4.3 (Vargaftik et al., arXiv 2108.08842) with a coder that really writes bytes.
A uniform grid whose cells are coded in as many bits as they are likely loses less than the best
fixed-length levels at every rate, and at low rates much less than one bit for some coordinates.

Each block of up to 4096 has a scale: its root mean square times the factor that makes the estimate
unbiased over the random rotation (`uniform_table`), rounded at random to 8 significant bits. The
grid's step follows from the rate by the table, never from the size that came out, which would bias
the estimate; two neighbouring steps are mixed over the blocks to meet the rate. Vectors that the
table foretells less well (short ones, and those with blocks of zeros, whose coefficients cost
little) are coded with other random numbers first, and the step is corrected by the size of that
pilot. Payload: FORMAT.md, section B.7.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.blockcoding import quantize_rows, rebuild_rows
from edge_sdk.codecs.blockpayload import fold, unfold
from edge_sdk.codecs.blocks import SMALLEST, Tiling
from edge_sdk.codecs.chunking import share
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.intake import MAX_CHUNKS, MAX_MAGNITUDE, require_place, require_vector
from edge_sdk.codecs.ladder import Reals, power_of_two
from edge_sdk.codecs.rice import read_flags, read_rice, write_flags, write_rice
from edge_sdk.codecs.rotation import BLOCK_SIZES, rounds_of
from edge_sdk.codecs.signs import random_words, stream_key
from edge_sdk.codecs.symbols import read_coefficients, write_coefficients
from edge_sdk.codecs.uniform_table import STEPS
from edge_sdk.codecs.waterfill import sum_groups
from edge_sdk.errors import Corrupt, Misuse, TooLarge
from edge_sdk.values import Piece, Place, Vector

WIRE_ID = 34

LEAST_RATE, MOST_RATE = 0.05, 8.0

_ROUNDS = 2
_PURPOSE, _ROUNDING = 0x59505254, 0x444E4F52
_SLAB = 1 << 16
_MOST_SCALE = 0x7B00
"""Scales of 2**119 and more are not taken: sums of them might not be float32."""
_OVERHEAD = 1.01
_WELL_FORETOLD = 1 << 17
"""Coordinates from which on the table alone meets the rate, if no block is zero."""
_WORTH_A_PILOT = 512
"""Bytes below which what a pilot corrects is a few bytes."""
_MOST_PILOTS = 4
_NEAR = 0.01
"""A pilot within this share of the size needs no further one."""
_PILOT = 0x50494C4F54
"""Changes a seed to that of the pilot; below 2**53."""
_CHUNK_BYTES = 5
_SCALE_BITS = 7
"""What a scale takes, roughly: neighbours' differences are small."""
_FINEST = 16 * 8
"""Steps down to 2**-16 of a root mean square."""

Codes = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class EdenEntropy:
    """Unbiased; error .534, .098, .023, .0056 of the squared norm at 1, 2, 3, 4 bits."""

    rate: float
    """Wire bits per coordinate, frame headers included, 0.05 to 8."""

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise Misuse(f"rates are {LEAST_RATE} to {MOST_RATE}, not {self.rate}")

    @property
    def spec(self) -> str:
        """The codec's name and rate."""
        return f"eden-entropy:rate={self.rate:.12g}"

    @property
    def unbiased(self) -> bool:
        """Always."""
        return True

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return 0

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_vector(vector, limit=MAX_MAGNITUDE)
        wire_bytes = self.rate * len(vector) / 8
        sizes = [n for n in BLOCK_SIZES if 4 * n <= chunk_bytes] or [SMALLEST]
        tiling = Tiling(len(vector), sizes[0])
        by_size = int(1.05 * wire_bytes / (chunk_bytes + FRAME_HEADER_BYTES)) + 1
        count = min(max(by_size, -(-2 * len(vector) // MAX_SPAN)), tiling.blocks)
        rms, live = _root_mean_squares(vector, tiling)
        head_bytes = count * (FRAME_HEADER_BYTES + _CHUNK_BYTES)
        scale_bits = _SCALE_BITS * int(np.count_nonzero(rms))
        bits = max(8 * (wire_bytes - head_bytes) - scale_bits, 0.0) / max(live, 1)
        if 0 < live < max(_WELL_FORETOLD, len(vector)) and wire_bytes >= _WORTH_A_PILOT:
            wanted = max(wire_bytes - count * FRAME_HEADER_BYTES, 1.0)
            bits = _corrected(
                vector, tiling, rms, bits, wanted=wanted, count=count, seed=seed ^ _PILOT
            )
        grid = _Grid.of(rms, tiling, bits, seed)
        while count <= min(tiling.blocks, MAX_CHUNKS):
            payloads = grid.payloads(vector, count, seed)
            largest = max(map(len, payloads))
            if largest <= chunk_bytes:
                return payloads
            if count == tiling.blocks:
                break
            count = min(max(count + 1, count * largest // chunk_bytes), tiling.blocks)
        raise Misuse(f"a block does not fit into {chunk_bytes} bytes")

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        require_place(place)
        reader = BitReader(payload)
        tiling = Tiling(place.dimension, BLOCK_SIZES[reader.number(2)])
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, width = tiling.widths(first, end)
        if width > MAX_SPAN:
            raise TooLarge(f"chunk of {width} coordinates, limit {MAX_SPAN}")
        codes = _read_scales(reader, end - first)
        coefficients = read_coefficients(reader, width) if codes.any() else np.zeros(width, int)
        reader.end()
        scales = _as_reals(codes)
        keys = _keys(place)
        values = np.empty(where.size, np.float32)
        for run in tiling.runs(first, end, most=_SLAB):
            part = coefficients[run.position : run.position + run.width]
            rows = rebuild_rows(
                part.reshape(run.blocks, run.size),
                scales[run.block : run.block + run.blocks],
                keys[: rounds_of(run.size, _ROUNDS)],
                first=run.position,
            )
            start = run.first - where.first
            length = run.end - run.first
            values[start : start + length] = rows.reshape(-1)[:length]
        return Piece(where=where, values=values)


@dataclasses.dataclass(frozen=True, slots=True)
class _Grid:
    """The quantizer of every block of one update."""

    tiling: Tiling
    units: Reals
    """By block: width of a cell; 1 for blocks of zeros."""
    codes: Codes
    """By block: the scale as it is sent."""

    @classmethod
    def of(cls, rms: Reals, tiling: Tiling, bits: float, seed: int) -> "_Grid":
        """Grid for `bits` per coordinate of blocks with these root mean squares."""
        steps, entropies, scales = _steps()
        place, finer = _mix(entropies, bits)
        number = np.arange(tiling.blocks)
        places = place - (np.floor((number + 1) * finer) > np.floor(number * finer))
        factors = np.empty(tiling.blocks)
        for run in tiling.runs(0, tiling.blocks, most=_SLAB):
            part = slice(run.block, run.block + run.blocks)
            factors[part] = scales[run.size][places[part]]
        low, high = seed & 0xFFFFFFFF, seed >> 32
        words = random_words(stream_key(_ROUNDING, low, high), first=0, count=tiling.blocks)
        codes = _to_codes(rms * factors, words)
        units = np.where(rms > 0, rms * steps[places], 1.0)
        return cls(tiling, units, codes)

    def payloads(self, vector: Vector, count: int, seed: int) -> list[bytes]:
        """All chunks."""
        places = (Place(len(vector), index, count, seed) for index in range(count))
        return [self.payload(vector, place) for place in places]

    def payload(self, vector: Vector, place: Place) -> bytes:
        """One chunk."""
        first, end = share(self.tiling.blocks, index=place.index, count=place.count)
        _, width = self.tiling.widths(first, end)
        codes = self.codes[first:end]
        writer = BitWriter()
        writer.number(BLOCK_SIZES.index(self.tiling.largest), 2)
        _write_scales(writer, codes)
        if not codes.any():
            return writer.to_bytes()
        keys = _keys(place)
        coefficients = np.empty(width, np.int32)
        for run in self.tiling.runs(first, end, most=_SLAB):
            begin = first + run.block
            coefficients[run.position : run.position + run.width] = quantize_rows(
                run.rows_of(vector),
                self.units[begin : begin + run.blocks],
                np.full(run.blocks, 0.5),
                keys[: rounds_of(run.size, _ROUNDS)],
                first=run.position,
            )
        write_coefficients(writer, coefficients)
        return writer.to_bytes()


def _corrected(
    vector: Vector, tiling: Tiling, rms: Reals, bits: float, *, wanted: float, count: int, seed: int
) -> float:
    """Bits per coordinate with which the payloads take about `wanted` bytes."""
    for _ in range(_MOST_PILOTS):
        pilot = _Grid.of(rms, tiling, bits, seed)
        ratio = wanted / sum(map(len, pilot.payloads(vector, count, seed)))
        bits = min(bits * ratio, MOST_RATE + 2)
        if abs(ratio - 1) < _NEAR:
            break
    return bits


def _root_mean_squares(vector: Vector, tiling: Tiling) -> tuple[Reals, int]:
    """Of every block; and how many coordinates are in blocks that are not zero, without padding."""
    rms = np.empty(tiling.blocks)
    live = 0
    for run in tiling.runs(0, tiling.blocks, most=_SLAB):
        squares = np.square(run.rows_of(vector).astype(np.float64)).reshape(-1)
        part = slice(run.block, run.block + run.blocks)
        rms[part] = np.sqrt(sum_groups(squares, run.size) / run.size)
        zeros = int(np.count_nonzero(rms[part] == 0)) * run.size
        live += max(run.end - run.first - zeros, 0)
    return rms, live


def _keys(place: Place) -> tuple[int, ...]:
    """Sign stream of every rotation round that some block of one chunk takes."""
    low, high = place.seed & 0xFFFFFFFF, place.seed >> 32
    turns = range(rounds_of(SMALLEST, _ROUNDS))
    return tuple(stream_key(_PURPOSE, low, high, place.index, turn) for turn in turns)


def _steps() -> tuple[Reals, Reals, dict[int, Reals]]:
    """Steps in root mean squares, entropies in bits and scales by block size, from fine to coarse.

    Finer than the table, scale and step are the same and an octave is one bit.
    """
    fine = range(STEPS[0][0] - _FINEST, STEPS[0][0])
    exponents = [*fine, *(row[0] for row in STEPS)]
    steps = np.array([power_of_two(exponent, 8) for exponent in exponents])
    entropies = [STEPS[0][5] / 4096 + (STEPS[0][0] - exponent) / 8 for exponent in fine]
    entropies += [row[5] / 4096 for row in STEPS]
    scales = {
        size: steps * ([1.0] * len(fine) + [row[1 + column] * 2.0**-20 for row in STEPS])
        for column, size in enumerate(reversed(BLOCK_SIZES))
    }
    return steps, np.array(entropies) * _OVERHEAD, scales


def _mix(entropies: Reals, bits: float) -> tuple[int, float]:
    """Number of the coarser of two neighbouring steps, and the share of blocks for the finer."""
    place = int(np.searchsorted(-entropies, -bits))  # entropies fall
    place = min(max(place, 1), len(entropies) - 1)
    share_of_finer = (bits - entropies[place]) / (entropies[place - 1] - entropies[place])
    return place, float(min(max(share_of_finer, 0.0), 1.0))


def _to_codes(scales: Reals, words: NDArray[np.uint32]) -> Codes:
    """Upper halves of float32, rounded up or down at random so that the mean is the scale."""
    bits = scales.astype(np.float32).view(np.uint32).astype(np.int64)
    return (bits + (words >> np.uint32(16)).astype(np.int64)) >> 16


def _as_reals(codes: Codes) -> Reals:
    """Scales of codes."""
    return (codes << 16).astype(np.uint32).view(np.float32).astype(np.float64)


def _write_scales(writer: BitWriter, codes: Codes) -> None:
    """Which blocks are not zero, the first one's code, then differences."""
    write_flags(writer, codes > 0)
    some = codes[codes > 0]
    if len(some):
        writer.number(int(some[0]), 15)
    if len(some) > 1:
        write_rice(writer, fold(np.diff(some)))


def _read_scales(reader: BitReader, count: int) -> Codes:
    """Codes of `count` blocks.

    Raises:
        Malformed: the bits end early, or a scale is outside the format.
    """
    members = np.flatnonzero(read_flags(reader, count))
    codes = np.zeros(count, np.int64)
    if not len(members):
        return codes
    some = np.zeros(len(members), np.int64)
    some[0] = reader.number(15)
    if len(members) > 1:
        some[1:] = unfold(read_rice(reader, len(members) - 1, most_sum=len(members) << 16))
    codes[members] = np.cumsum(some)
    if not ((codes[members] > 0) & (codes[members] <= _MOST_SCALE)).all():
        raise Corrupt("a scale is outside the format")
    return codes
