"""EDEN at any rate from 0.02 to 8: some rotated coordinates have one bit more than the others.

Of every rotated block a share of the coordinates has l + 1 bits and the rest l. Below one bit l is
0: the rest is not sent at all and decodes to zero. Which coordinates these are is drawn from the
seed, the same in all blocks of a size within a chunk, and exactly as many in each, so that a
payload's size is known beforehand. One scale for the whole block makes the estimate right, whatever
was left out (Vargaftik et al., arXiv 2108.08842, section 4; there coordinates are sampled before
the rotation, which spreads the error of uneven vectors far more). Payload: FORMAT.md, section 5.7.
"""

import dataclasses
import struct

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.blocks import Run, Tiling
from edge_sdk.codecs.chunking import share
from edge_sdk.codecs.eden import (
    MAX_SCALE,
    rebuilt,
    rotation_keys,
    row_sums,
    spec_end,
    to_whole_numbers,
    units_per_number,
)
from edge_sdk.codecs.eden_mix import HEAD_BYTES, MOST_LEVEL, WHOLE, Mix, Part, parts_of
from edge_sdk.codecs.eden_scales import Scale, scales_of
from edge_sdk.codecs.fitting import MAX_SPAN
from edge_sdk.codecs.intake import (
    MAX_CHUNKS,
    MAX_MAGNITUDE,
    require_order,
    require_place,
    require_size,
)
from edge_sdk.codecs.normal import UNITS_PER_SIGMA
from edge_sdk.codecs.packing import Codes, pack_flat, unpack_flat
from edge_sdk.codecs.quantize import MAGNITUDES, SIGNED_LEVELS, nearest_level
from edge_sdk.codecs.rotation import BLOCK_SIZES, rotate, rounds_of
from edge_sdk.codecs.signs import Words, random_words, stream_key
from edge_sdk.codecs.stated import error_of_levels
from edge_sdk.errors import Corrupt, Misuse, TooLarge, Truncated
from edge_sdk.values import Piece, Place, Vector

LEAST_RATE, MOST_RATE = 0.02, 8.0

_HEAD = struct.Struct("<BH")
_LEAST_OVERLAP = 0.16
"""Below one bit <y, q> counts as a quarter of what is expected (2 / pi of the two norms) at
least: a block whose few coordinates are all near zero would get an enormous scale."""
_MOST_BEYOND_CODES = 24
"""Bytes of a chunk of one block besides its codes: head, scale, filling."""
_WORTH = 1.01
"""Smaller blocks take more rotation rounds: they must bring more bits than that."""
_LIMIT = MAX_MAGNITUDE / 32
"""A scale may be 2**12 times a block's root mean square: of 4096 coordinates 8 may be sent."""
_SLAB = 1 << 16
_ROUNDING = 0x4C414353
"""`SCAL`: the stream that rounds scales."""


@dataclasses.dataclass(frozen=True, slots=True)
class EdenMixed:
    """EDEN met at a rate: error 1.571 / rate - 1 of the squared norm below one bit."""

    rate: float
    """Wire bits per coordinate, frame headers included, .02 to 8."""
    rounds: int = 2
    """Rotation rounds of a block of 4096, 1 to 3. One is the paper, biased on few values."""
    scale: Scale = Scale.UNBIASED
    """What the scales are chosen for; payloads decode alike."""

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_RATE or not 1 <= self.rounds <= 3:
            limits = f"rates {LEAST_RATE} to {MOST_RATE} and 1 to 3 rounds"
            raise Misuse(f"EDEN has {limits}, not {self.rate}, {self.rounds}")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"eden:rate={self.rate:.12g}{spec_end(self.rounds, self.scale)}"

    @property
    def unbiased(self) -> bool:
        """True from two rounds on with the unbiased scale."""
        return self.rounds > 1 and self.scale is Scale.UNBIASED

    @property
    def parameter(self) -> int:
        """The frame header's parameter field; the bits are in the payload."""
        return self.rounds << 4

    def stated_error(self, payload: bytes) -> float:
        """See `stated.StatesError`: that of normal numbers, which a rotation makes of any."""
        if len(payload) < HEAD_BYTES:
            raise Truncated(f"EDEN payload of {len(payload)} bytes")
        head, finer_share = _HEAD.unpack_from(payload)
        return error_of_levels((head >> 2 & 7) + finer_share / WHOLE)

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**105."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=_LIMIT)
        tiling, mix = self._arranged(len(vector), chunk_bytes)
        count = mix.chunks(tiling, chunk_bytes)
        if count > MAX_CHUNKS:
            raise Misuse(f"{count} chunks, limit {MAX_CHUNKS}: choose larger chunks")
        places = [Place(len(vector), index, count, seed) for index in range(count)]
        return [self._encode_chunk(vector, tiling, mix, place) for place in places]

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; refuses scales that are not numbers, negative or over 2**117."""
        require_place(place)
        if len(payload) < HEAD_BYTES:
            raise Truncated(f"EDEN payload of {len(payload)} bytes")
        head, finer_share = _HEAD.unpack_from(payload)
        if head >> 5:
            raise Corrupt("EDEN head is outside the format")
        tiling = Tiling(place.dimension, BLOCK_SIZES[head & 3])
        mix = Mix((head >> 2) * WHOLE + finer_share)
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        where, width = tiling.widths(first, end)
        if width > MAX_SPAN:
            raise TooLarge(f"chunk of {width} coordinates, limit {MAX_SPAN}")
        runs = list(tiling.runs(first, end, most=_SLAB))
        parts = parts_of(mix, tiling, place)
        counts = [part.count(runs) for part in parts]
        begin = HEAD_BYTES + mix.scale_bytes * (end - first)
        sizes = [part.bits * -(-count // 8) for part, count in zip(parts, counts, strict=True)]
        require_size(payload, begin + sum(sizes))
        scales = _read_scales(payload[HEAD_BYTES:begin], mix)
        codes = [
            unpack_flat(payload[begin:][sum(sizes[:i]) :][: sizes[i]], part.bits, counts[i])
            for i, part in enumerate(parts)
        ]
        keys = rotation_keys(place, self.rounds)
        values = np.empty(where.size, np.float32)
        for run in runs:
            rows = _levels_of(run, parts, codes)
            mine = scales[run.block : run.block + run.blocks]
            start = run.first - where.first
            values[start : start + run.end - run.first] = rebuilt(
                rows, mine, keys[: rounds_of(run.size, self.rounds)], run
            )
        return Piece(where=where, values=values)

    def _arranged(self, dimension: int, chunk_bytes: int) -> tuple[Tiling, Mix]:
        """Blocks and bits: smaller blocks only where they fill the chunks better."""
        best: tuple[Tiling, Mix] | None = None
        for size in BLOCK_SIZES:
            if size * self.rate / 8 + _MOST_BEYOND_CODES > chunk_bytes:
                continue
            tiling = Tiling(dimension, size)
            mix = self._mix(tiling, chunk_bytes)
            if best is None or mix.level > _WORTH * best[1].level:
                best = tiling, mix
        if best is None:
            raise Misuse(f"no EDEN block at rate {self.rate} fits into {chunk_bytes} bytes")
        return best

    def _mix(self, tiling: Tiling, chunk_bytes: int) -> Mix:
        """The most bits whose frames are within the rate."""
        budget = self.rate * tiling.dimension / 8
        low, high = 0, min(int(self.rate * WHOLE), MOST_LEVEL)
        while low < high:
            middle = (low + high + 1) // 2
            if Mix(middle).wire_bytes(tiling, chunk_bytes) <= budget:
                low = middle
            else:
                high = middle - 1
        return Mix(low)

    def _encode_chunk(self, vector: Vector, tiling: Tiling, mix: Mix, place: Place) -> bytes:
        first, end = share(tiling.blocks, index=place.index, count=place.count)
        runs = list(tiling.runs(first, end, most=_SLAB))
        parts = parts_of(mix, tiling, place)
        codes = [np.empty(part.count(runs), np.uint8) for part in parts]
        scales = np.zeros(end - first)
        keys = rotation_keys(place, self.rounds)
        left = codes
        for run in runs:
            part = slice(run.block, run.block + run.blocks)
            scales[part], left = self._encode_run(vector, run, parts, left, keys)
        key = stream_key(_ROUNDING, place.seed & 0xFFFFFFFF, place.seed >> 32)
        words = random_words(key, first=first, count=end - first)
        head = _HEAD.pack(BLOCK_SIZES.index(tiling.largest) | mix.bits << 2, mix.share)
        planes = [pack_flat(mine, part.bits) for mine, part in zip(codes, parts, strict=True)]
        return b"".join((head, _write_scales(scales, mix, words), *planes))

    def _encode_run(
        self,
        vector: Vector,
        run: Run,
        parts: tuple[Part, ...],
        codes: list[Codes],
        keys: tuple[int, ...],
    ) -> tuple[NDArray[np.float64], list[Codes]]:
        """Fill in the codes of one run of blocks; its scales and what of `codes` is left."""
        rows = run.rows_of(vector)
        exponents = to_whole_numbers(rows)
        energy = row_sums(rows, rows)
        turned = rotate(rows, keys[: rounds_of(run.size, self.rounds)], first=run.position)
        units = units_per_number(energy, run.size)
        overlap, squares = np.zeros_like(energy), np.zeros_like(energy)
        left = []
        for part, mine in zip(parts, codes, strict=True):
            some = turned[:, part.columns[run.size]]
            size = np.abs(some)
            index = nearest_level(size * units, part.bits)
            levels = np.take(MAGNITUDES[part.bits], index, mode="clip")
            overlap += row_sums(size, levels)
            squares += row_sums(levels, levels)
            index |= (some < 0).view(np.uint8) << np.uint8(part.bits - 1)
            mine[: index.size] = index.reshape(-1)
            left.append(mine[index.size :])
        if len(parts) == 1 and self.scale is Scale.UNBIASED:
            kept = len(parts[0].columns[run.size])
            least = np.sqrt(energy / run.size) * (_LEAST_OVERLAP * UNITS_PER_SIGMA * kept)
            overlap = np.maximum(overlap, least)
        scales = scales_of(self.scale, energy, overlap, squares) * UNITS_PER_SIGMA
        return np.ldexp(scales, exponents).reshape(-1), left


def _levels_of(run: Run, parts: tuple[Part, ...], codes: list[Codes]) -> NDArray[np.float32]:
    """Rotated blocks in units; `codes` lose what was taken from their front."""
    rows = np.zeros((run.blocks, run.size), np.float32)
    for place, part in enumerate(parts):
        columns = part.columns[run.size]
        count = run.blocks * len(columns)
        levels = np.take(SIGNED_LEVELS[part.bits], codes[place][:count], mode="clip")
        rows[:, columns] = levels.reshape(run.blocks, len(columns))
        codes[place] = codes[place][count:]
    return rows


def _write_scales(scales: NDArray[np.float64], mix: Mix, words: Words) -> bytes:
    """All of float32, or its upper half, rounded at random so that the mean is the scale."""
    single = scales.astype("<f4")
    if mix.scale_bytes == 4:
        return single.tobytes()
    wide = single.view(np.uint32).astype(np.int64) + (words >> np.uint32(16))
    return (wide >> 16).astype("<u2").tobytes()


def _read_scales(content: bytes, mix: Mix) -> NDArray[np.float32]:
    """Scales of all blocks.

    Raises:
        Corrupt: one is negative, over `MAX_SCALE` or not a number.
    """
    if mix.scale_bytes == 4:
        scales = np.frombuffer(content, "<f4").astype(np.float32)
    else:
        scales = (np.frombuffer(content, "<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    if not ((scales >= 0) & (scales <= MAX_SCALE)).all():
        raise Corrupt("an EDEN scale is negative, too large or not a number")
    return scales
