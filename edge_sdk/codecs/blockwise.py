"""Bits where the energy is: the default codec, unbiased, at any rate from 0.01 to 8 bits.

Real updates are uneven: a tenth of the coordinates may hold nearly all the energy. A rotation over
the whole vector would spread that energy and lose the advantage, so blocks of 64, 256 or 4096
coordinates are rotated each by itself, and bits go to blocks by their energy (`waterfill`): strong
blocks in fine steps, weak blocks only sometimes and then scaled up (`blocklevels`). Which block
size suits is decided for every update from its predicted error.

The estimate is unbiased over seeds, also of what arrives when chunks are lost: block b is dealt to
chunk b mod C, each chunk is decoded alone, and the coordinates of a lost chunk are not covered.

The size is tuned on a pilot: a part of the update coded with other random numbers, so that what is
then really drawn cannot influence the step. Tuning on the drawn size itself would bias the result.
Payload: FORMAT.md, section B.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.blockcoding import Turn, quantize_blocks, rebuild_blocks
from edge_sdk.codecs.blocklevels import draw_levels
from edge_sdk.codecs.blockpayload import (
    Head,
    expected_bits,
    groups,
    read_groups,
    read_levels,
    write_groups,
    write_levels,
)
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.intake import (
    MAX_CHUNKS,
    MAX_MAGNITUDE,
    require_order,
    require_place,
    require_vector,
)
from edge_sdk.codecs.ladder import BLOCK_SIZES, Levels, Reals
from edge_sdk.codecs.stated import error_code, error_of
from edge_sdk.codecs.symbols import write_coefficients
from edge_sdk.codecs.waterfill import (
    Plan,
    best_plan,
    block_bits,
    block_energies,
    level_bits,
    plan_for,
    spread_of,
    spreads_of,
)
from edge_sdk.errors import Corrupt, Misuse, TooLarge
from edge_sdk.values import Coordinates, Piece, Place, Vector

WIRE_ID = 32

LEAST_RATE, MOST_RATE = 0.01, 8.0

_USUAL_SPAN = 1 << 20
"""Coordinates of a chunk, unless its head is too dear for them."""
_SLAB = 1 << 16
"""Coordinates worked on at once: the temporaries stay in the processor's cache."""
_PILOT_BITS = 1 << 16
"""A pilot is as many chunks as have so many bits, at least one."""
_PRIOR_BITS = 1 << 10
"""The pilot is judged as if so many further bits had come out as predicted."""
_CHUNK_BYTES = 8
"""What a payload costs besides levels and coefficients."""
_LEAST_BYTES = 4
_TRIES = 3
"""How often the number of chunks is raised because a pilot's chunk was too large."""
_SMALL_BITS = 1 << 15
"""Of smaller updates a pilot codes more: what groups cost once each matters more to them."""
_TWICE_BITS = 1 << 17
"""Smaller updates may take a second pilot, as random levels change their size more."""
_NEARLY_ONE = 3
"""Levels so far apart still make a group that the pilot need not code."""
_CLOSE = 0.02
"""A pilot within this share of its forecast needs no second one."""
CODING = 0
"""Purpose of the update's own random numbers; those of the pilots are 1 and 2."""


@dataclasses.dataclass(frozen=True, slots=True)
class Forecast:
    """What a codec expects to make of a vector."""

    error: float
    """Expected squared error as a share of the vector's squared norm; 0 for a zero vector."""
    wire_bytes: float
    """Expected size of all frames, headers included."""


@dataclasses.dataclass(frozen=True, slots=True)
class Blockwise:
    """Unbiased at any rate; see the module's text."""

    rate: float
    """Wire bits per coordinate, frame headers included, 0.01 to 8."""

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise Misuse(f"blockwise takes rates of {LEAST_RATE} to {MOST_RATE}, not {self.rate}")

    @property
    def spec(self) -> str:
        """The codec's name and rate."""
        return f"blockwise:rate={self.rate:.12g}"

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
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        energies = block_energies(vector)
        budget = Budget(self.rate * len(vector) / 8, chunk_bytes)
        sizes: tuple[int, ...] = BLOCK_SIZES
        while sizes:
            draft = budget.draft(vector, energies, sizes, seed)
            payloads = draft.payloads(chunk_bytes)
            if payloads:
                return payloads
            sizes = sizes[: sizes.index(draft.plan.block)]
        raise Misuse(f"a block does not fit into {chunk_bytes} bytes")

    def forecast(self, vector: Vector, *, chunk_bytes: int) -> Forecast:
        """What `encode` is expected to make of `vector`, at a small part of its cost."""
        require_vector(vector, limit=MAX_MAGNITUDE)
        energies = block_energies(vector)
        budget = Budget(self.rate * len(vector) / 8, chunk_bytes)
        count = budget.chunks(len(vector))
        plan = best_plan(spreads_of(energies), budget.bits(count))
        return Forecast(
            error=share_lost(plan, energies[BLOCK_SIZES[-1]]),
            wire_bytes=plan.bits / 8 + count * (FRAME_HEADER_BYTES + _CHUNK_BYTES),
        )

    def stated_error(self, payload: bytes) -> float:
        """See `stated.StatesError`."""
        return error_of(Head.read(BitReader(payload)).error_code)

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; the coordinates are those of every C-th block."""
        require_place(place)
        reader = BitReader(payload)
        head = Head.read(reader)
        where = coordinates_of(place, head.block)
        blocks = -(-where.size // head.block)
        if blocks * head.block > MAX_SPAN:
            raise TooLarge(f"chunk of {blocks * head.block} coordinates, limit {MAX_SPAN}")
        values = read_blocks(reader, head, blocks, place)
        reader.end()
        return Piece(where=where, values=values[: where.size])


def read_blocks(reader: BitReader, head: Head, blocks: int, place: Place) -> Vector:
    """Levels and coefficients of `blocks` blocks, as values with padding.

    Raises:
        Malformed: the bits end early or break the format.
    """
    levels = read_levels(reader, blocks, head.lowest)
    order = sent_order(levels)
    coefficients = read_groups(reader, levels[order], head.block)
    turn = Turn.of(head.block, seed=place.seed, index=place.index)
    values = np.zeros(blocks * head.block, np.float32)
    rows = values.reshape(blocks, head.block)
    each = max(_SLAB // head.block, 1)
    for first in range(0, len(order), each):
        members = order[first : first + each]
        part = coefficients[first * head.block : (first + len(members)) * head.block]
        rows[members] = rebuild_blocks(part, levels[members], head.step, turn, first=first)
    return values


def coordinates_of(place: Place, block: int) -> Coordinates:
    """Where a chunk's blocks lie: every `place.count`-th from `place.index` on.

    Raises:
        Corrupt: the chunk has no block.
    """
    blocks = -(-place.dimension // block)
    if place.index >= blocks:
        raise Corrupt(f"chunk {place.index} of a vector of {blocks} blocks")
    own = len(range(place.index, blocks, place.count))
    last = place.index + (own - 1) * place.count
    size = (own - 1) * block + min(block, place.dimension - last * block)
    return Coordinates(place.index * block, block, place.count * block, size)


def sent_order(levels: Levels) -> NDArray[np.int64]:
    """Numbers of the sent blocks, ascending by level, then by number."""
    order = np.argsort(levels, kind="stable")
    return order[np.searchsorted(levels[order], 1) :]


@dataclasses.dataclass(frozen=True, slots=True)
class Budget:
    """What one update may take."""

    wire_bytes: float
    """All frames, headers included."""
    chunk_bytes: int

    def chunks(self, dimension: int) -> int:
        """Chunks that leave room for uneven sizes and stand for no more than needed.

        What a chunk stands for is memory at both ends. So chunks are as short as their heads let
        them be without taking more than half a percent, and at most half of `MAX_SPAN`.
        """
        by_size = int(1.1 * self.wire_bytes / (self.chunk_bytes + FRAME_HEADER_BYTES)) + 1
        by_size = min(by_size, -(-dimension // BLOCK_SIZES[0]))
        by_head = int(self.wire_bytes / (200 * (FRAME_HEADER_BYTES + _CHUNK_BYTES)))
        padded = -(-dimension // BLOCK_SIZES[-1]) * BLOCK_SIZES[-1]
        by_span = max(min(by_head, padded // _USUAL_SPAN), -(-2 * padded // MAX_SPAN))
        return max(by_size, by_span)

    def bits(self, count: int) -> float:
        """What is left for levels and coefficients."""
        each = FRAME_HEADER_BYTES + _CHUNK_BYTES
        return 8 * max(self.wire_bytes - count * each, _LEAST_BYTES)

    def draft(
        self, vector: Vector, energies: dict[int, Reals], sizes: tuple[int, ...], seed: int
    ) -> "Draft":
        """The update's best plan, corrected by a pilot and carried out up to the coding."""
        count = self.chunks(len(vector))
        for _ in range(_TRIES):
            bits = self.bits(count)
            plan = best_plan(spreads_of(energies), bits, sizes=sizes)
            sums = energies[plan.block]
            plan, largest = corrected(plan, vector, sums, bits, seed=seed, chunks=count)
            wanted = int(1.04 * count * largest / self.chunk_bytes) + 1
            if wanted <= count:
                break
            count = min(wanted, len(sums))
        code = error_code(share_lost(plan, sums))
        return Draft.of(plan, vector, sums, seed, CODING, chunks=count, error_code=code)


def share_lost(plan: Plan, sums: Reals) -> float:
    """Predicted error over the squared norm, given the energies of blocks; 0 for no energy."""
    energy = sum(sums.tolist())
    return plan.error / energy if energy else 0.0


def corrected(
    plan: Plan, vector: Vector, sums: Reals, bits: float, *, seed: int, chunks: int
) -> tuple[Plan, int]:
    """Try a part of the update with other random numbers, and plan again by what came out.

    Args:
        plan: for this vector and these bits.
        vector: the update.
        sums: energies of the plan's blocks.
        bits: what levels and coefficients may take.
        seed: the update's.
        chunks: that the update will have.

    Returns:
        The plan, and the size of the largest chunk that was tried.
    """
    spread = spread_of(sums / plan.block)
    each = bits / chunks
    tries = min(int(_PILOT_BITS / each) + 1, chunks)
    mixed = 1 if bits < _SMALL_BITS else _NEARLY_ONE
    all_tried, all_expected, largest = 0.0, 0.0, 0.0
    for purpose in (1, 2) if bits < _TWICE_BITS else (1,):
        pilots = (
            Draft.of(plan, vector, sums, seed, purpose, part=slice(index, None, chunks))
            for index in range(tries)
        )
        tried, expected = zip(*(pilot.tried(mixed=mixed) for pilot in pilots), strict=True)
        all_tried += sum(tried)
        all_expected += sum(expected)
        largest = max(largest, *tried)
        ratio = (all_tried + _PRIOR_BITS) / (all_expected + _PRIOR_BITS)
        plan = plan_for(spread, plan.block, plan.lowest, bits / ratio, near=plan.step)
        if abs(ratio - 1) < _CLOSE:
            break
    return plan, int(largest / 8) + 1 + _CHUNK_BYTES


@dataclasses.dataclass(frozen=True, slots=True)
class Draft:
    """An update whose levels are drawn: only the cut into chunks is open."""

    plan: Plan
    head: Head
    vector: Vector
    blocks: NDArray[np.int64]
    """Numbers of the blocks it is about; what follows is in their order."""
    rms: Reals
    levels: Levels
    seed: int
    chunks: int

    @classmethod
    def of(
        cls,
        plan: Plan,
        vector: Vector,
        sums: Reals,
        seed: int,
        purpose: int,
        *,
        chunks: int = 1,
        error_code: int = 0,
        part: slice = slice(None),
    ) -> "Draft":
        """Draw the levels of all blocks or of a part of them."""
        head = Head.near(plan.block, plan.lowest, plan.step_size, error_code=error_code)
        rms = np.sqrt(sums[part] / plan.block)
        key = (purpose, seed & 0xFFFFFFFF, seed >> 32)
        levels = draw_levels(rms / head.step, plan.lowest, key)
        blocks = np.arange(len(sums))[part]
        return cls(plan, head, vector, blocks, rms, levels, seed ^ purpose, chunks)

    def payloads(self, chunk_bytes: int) -> list[bytes]:
        """All chunks, more of them where one would be too large; none if a block is too large."""
        count = min(self.chunks, len(self.levels))
        while count <= min(len(self.levels), MAX_CHUNKS):
            made: list[bytes] = []
            while len(made) < count and (not made or len(made[-1]) <= chunk_bytes):
                made.append(self.payload(len(made), count))
            if len(made[-1]) <= chunk_bytes:
                return made
            if count == len(self.levels):
                break
            count = min(max(count + 1, count * len(made[-1]) // chunk_bytes), len(self.levels))
        return []

    def payload(self, index: int, count: int) -> bytes:
        """Chunk `index` of `count`."""
        writer = BitWriter()
        self.head.write(writer)
        self.write_blocks(writer, slice(index, None, count), index)
        return writer.to_bytes()

    def write_blocks(self, writer: BitWriter, part: slice, index: int) -> None:
        """Levels and coefficients of a part of the blocks, as chunk `index`."""
        levels = self.levels[part]
        write_levels(writer, levels, self.plan.lowest)
        order = sent_order(levels)
        places = np.arange(len(self.levels))[part][order]
        coefficients = self._coefficients(places, index)
        write_groups(writer, coefficients, levels[order], self.plan.block)

    def tried(self, *, mixed: int) -> tuple[float, float]:
        """Bits that it takes as one chunk, and those that its plan expects of the same levels.

        Groups whose levels lie more than `mixed` apart are coded, for the others a model will do.
        """
        writer = BitWriter()
        write_levels(writer, self.levels, self.plan.lowest)
        order = sent_order(self.levels)
        levels, size = self.levels[order], self.plan.block
        each = block_bits(self.rms[order] / self.head.step, levels, size)
        modelled = 0.0
        for first, end in groups(levels, size):
            if int(levels[end - 1]) - int(levels[first]) > mixed:
                write_coefficients(writer, self._coefficients(order[first:end], 0))
            else:
                modelled += expected_bits(float(np.sum(each[first:end])), (end - first) * size)
        return writer.size + modelled, float(np.sum(each)) + level_bits(self.levels)

    def _coefficients(self, places: NDArray[np.int64], index: int) -> NDArray[np.int32]:
        """Coefficients of the blocks at `places` among this draft's, flat."""
        size = self.plan.block
        turn = Turn.of(size, seed=self.seed, index=index)
        coefficients = np.empty(len(places) * size, np.int32)
        each = max(_SLAB // size, 1)
        for first in range(0, len(places), each):
            members = places[first : first + each]
            stop = first + len(members)
            coefficients[first * size : stop * size] = quantize_blocks(
                rows_of(self.vector, self.blocks[members], size),
                self.rms[members],
                self.levels[members],
                self.head.step,
                turn,
                first=first,
            )
        return coefficients


def rows_of(vector: Vector, blocks: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    """A copy of these blocks, one row each; zeros where the last block is a part."""
    whole = len(vector) // size
    rows = np.zeros((len(blocks), size), np.float32)
    inside = blocks < whole
    rows[inside] = vector[: whole * size].reshape(whole, size)[blocks[inside]]
    rows[~inside, : len(vector) - whole * size] = vector[whole * size :]
    return rows
