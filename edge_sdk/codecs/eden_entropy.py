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
from edge_sdk.codecs.intake import MAX_CHUNKS, MAX_MAGNITUDE, require_order, require_place
from edge_sdk.codecs.ladder import Reals, power_of_two
from edge_sdk.codecs.rice import read_flags, read_rice, write_flags, write_rice
from edge_sdk.codecs.rotation import BLOCK_SIZES, rounds_of
from edge_sdk.codecs.signs import random_words, stream_key
from edge_sdk.codecs.stated import ERROR_BITS, error_code, error_of
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
_LARGE_CHUNK = 1 << 14
"""Bytes of a chunk from which on what the coder costs once in each does not matter."""
_WORTH_A_PILOT = 512
"""Bytes below which what a pilot corrects is a few bytes."""
_MOST_PILOTS = 6
_NEAR = 0.01
"""A pilot within this share of the size needs no further one."""
_PILOT = 0x50494C4F54
"""Changes a seed to that of the pilot; below 2**53."""
_CHUNK_BYTES = 5
_SCALE_BITS = 7
"""What a scale takes, roughly: neighbours' differences are small."""
_FINEST = 16 * 8
"""Steps down to 2**-16 of a root mean square."""
_LIMIT = MAX_MAGNITUDE / 2
"""The coarsest scale is nearly 2**10 times a block's root mean square."""
_SCALES_LOSE = 5.5e-6
"""Error of rounding scales to 8 significant bits at random."""

Codes = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class EdenEntropy:
    """Unbiased; error .552, .101, .024, .0060 of the squared norm at 1, 2, 3, 4 wire bits."""

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

    def stated_error(self, payload: bytes) -> float:
        """See `stated.StatesError`."""
        reader = BitReader(payload)
        reader.number(2)
        return error_of(reader.number(ERROR_BITS))

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**109."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=_LIMIT)
        wire_bytes = self.rate * len(vector) / 8
        sizes = [n for n in BLOCK_SIZES if 4 * n <= chunk_bytes] or [SMALLEST]
        tiling = Tiling(len(vector), sizes[0])
        by_size = int(1.05 * wire_bytes / (chunk_bytes + FRAME_HEADER_BYTES)) + 1
        count = min(max(by_size, -(-2 * len(vector) // MAX_SPAN)), tiling.blocks)
        rms, live = _root_mean_squares(vector, tiling)
        head_bytes = count * (FRAME_HEADER_BYTES + _CHUNK_BYTES)
        scale_bits = _SCALE_BITS * int(np.count_nonzero(rms))
        bits = max(8 * (wire_bytes - head_bytes) - scale_bits, 0.0) / max(live, 1)
        foretold = live >= _WELL_FORETOLD and live == len(vector)
        foretold = foretold and wire_bytes >= _LARGE_CHUNK * count
        if live and not foretold and wire_bytes >= _WORTH_A_PILOT:
            pilots = _Pilots(vector, tiling, rms, seed ^ _PILOT, wire_bytes, chunk_bytes)
            bits, count = pilots.corrected(bits, count)
        grid = _Grid.of(rms, tiling, bits, seed)
        while count <= MAX_CHUNKS:
            payloads = grid.payloads(vector, count, seed)
            more = _more_chunks(payloads, chunk_bytes, most=tiling.blocks)
            if more == count:
                return payloads
            count = more
        raise Misuse(f"{count} chunks, limit {MAX_CHUNKS}: choose larger chunks")

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        require_place(place)
        reader = BitReader(payload)
        tiling = Tiling(place.dimension, BLOCK_SIZES[reader.number(2)])
        reader.number(ERROR_BITS)
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, width = tiling.widths(first, end)
        if width > MAX_SPAN:
            raise TooLarge(f"chunk of {width} coordinates, limit {MAX_SPAN}")
        codes = _read_scales(reader, end - first)
        runs = list(tiling.runs(first, end, most=_SLAB))
        members = [codes[run.block : run.block + run.blocks] > 0 for run in runs]
        widths = [
            int(np.count_nonzero(some)) * run.size for run, some in zip(runs, members, strict=True)
        ]
        coefficients = read_coefficients(reader, sum(widths))
        reader.end()
        parts = np.split(coefficients, np.cumsum(widths)[:-1])
        scales = _as_reals(codes)
        keys = _keys(place)
        values = np.empty(where.size, np.float32)
        for run, some, part in zip(runs, members, parts, strict=True):
            whole = np.zeros((run.blocks, run.size), np.int32)
            whole[some] = part.reshape(-1, run.size)
            rows = rebuild_rows(
                whole,
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
    """By block: the scale as it is sent; 0 for blocks of zeros, of which nothing else is sent."""
    error_code: int
    """The stated error."""

    @classmethod
    def of(cls, rms: Reals, tiling: Tiling, bits: float, seed: int) -> "_Grid":
        """Grid for `bits` per coordinate of blocks with these root mean squares."""
        steps, entropies, scales, errors = _steps()
        place, finer = _mix(entropies, bits)
        number = np.arange(tiling.blocks)
        places = place - (np.floor((number + 1) * finer) > np.floor(number * finer))
        factors, energies = np.empty(tiling.blocks), np.empty(tiling.blocks)
        for run in tiling.runs(0, tiling.blocks, most=_SLAB):
            part = slice(run.block, run.block + run.blocks)
            factors[part] = scales[run.size][places[part]]
            energies[part] = rms[part] ** 2 * run.size
        low, high = seed & 0xFFFFFFFF, seed >> 32
        words = random_words(stream_key(_ROUNDING, low, high), first=0, count=tiling.blocks)
        codes = _to_codes(rms * factors, words)
        units = np.where(rms > 0, rms * steps[places], 1.0)
        energy = sum(energies.tolist())
        lost = sum((energies * errors[places]).tolist()) / energy + _SCALES_LOSE if energy else 0.0
        return cls(tiling, units, codes, error_code(lost))

    def payloads(self, vector: Vector, count: int, seed: int) -> list[bytes]:
        """All chunks."""
        places = (Place(len(vector), index, count, seed) for index in range(count))
        return [self.payload(vector, place) for place in places]

    def payload(self, vector: Vector, place: Place) -> bytes:
        """One chunk."""
        first, end = share(self.tiling.blocks, index=place.index, count=place.count)
        codes = self.codes[first:end]
        writer = BitWriter()
        writer.number(BLOCK_SIZES.index(self.tiling.largest), 2)
        writer.number(self.error_code, ERROR_BITS)
        _write_scales(writer, codes)
        keys = _keys(place)
        coefficients: list[NDArray[np.int32]] = []
        for run in self.tiling.runs(first, end, most=_SLAB):
            begin = first + run.block
            rows = quantize_rows(
                run.rows_of(vector),
                self.units[begin : begin + run.blocks],
                np.full(run.blocks, 0.5),
                keys[: rounds_of(run.size, _ROUNDS)],
                first=run.position,
            ).reshape(run.blocks, run.size)
            some = codes[run.block : run.block + run.blocks] > 0
            coefficients.append(rows[some].reshape(-1))
        write_coefficients(writer, np.concatenate(coefficients))
        return writer.to_bytes()


@dataclasses.dataclass(frozen=True, slots=True)
class _Pilots:
    """The update coded with other random numbers, to see what it takes."""

    vector: Vector
    tiling: Tiling
    rms: Reals
    seed: int
    wire_bytes: float
    chunk_bytes: int

    def corrected(self, bits: float, count: int) -> tuple[float, int]:
        """Bits per coordinate and chunks with which all frames take about the wire bytes.

        The size jumps where the coder changes its mode; what lies within a jump is not reached,
        and the most bits that were found to take less are the answer.
        """
        low, high = 0.0, MOST_RATE + 2
        for _ in range(_MOST_PILOTS):
            grid = _Grid.of(self.rms, self.tiling, bits, self.seed)
            payloads = grid.payloads(self.vector, count, self.seed)
            count = _more_chunks(payloads, self.chunk_bytes, most=self.tiling.blocks)
            wanted = max(self.wire_bytes - count * FRAME_HEADER_BYTES, 1.0)
            ratio = wanted / sum(map(len, payloads))
            low, high = (max(low, bits), high) if ratio > 1 else (low, min(high, bits))
            if abs(ratio - 1) < _NEAR and count == len(payloads):
                return bits, count
            bits *= ratio
            if not low < bits < high:
                bits = (low + high) / 2
        return low or bits, count


def _more_chunks(payloads: list[bytes], chunk_bytes: int, *, most: int) -> int:
    """How many chunks to try next; as many as there are if all are small enough.

    Raises:
        Misuse: one block does not fit.
    """
    count, largest = len(payloads), max(map(len, payloads))
    if largest <= chunk_bytes:
        return count
    if count == most:
        raise Misuse(f"a block does not fit into {chunk_bytes} bytes")
    return min(max(count + 1, count * largest // chunk_bytes), most)


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


def _steps() -> tuple[Reals, Reals, dict[int, Reals], Reals]:
    """Steps in root mean squares, bits, scales by block size, and errors, from fine to coarse.

    Finer than the table, scale and step are the same, an octave is one bit and a quarter the error.
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
    errors = [STEPS[0][6] * power_of_two(exponent - STEPS[0][0], 4) for exponent in fine]
    errors += [row[6] for row in STEPS]
    return steps, np.array(entropies) * _OVERHEAD, scales, np.array(errors) * 2.0**-20


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
