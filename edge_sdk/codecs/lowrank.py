"""Low-rank parts of matrices, and `blockwise` for the rest: unbiased whatever the parts are.

A few local steps on little data move a weight matrix by little more than a few outer products.
Those are sent as they are, in 4 to 8 bits a number, and what they miss is coded by `blockwise`,
which is unbiased; so is then the sum. A component is taken only if it lowers predicted error and
size together, so an update without structure has none and costs two bytes more than `blockwise`.

A chunk stands for neighbouring coordinates, unlike in `blockwise`, and has its own components of
the rows it holds: it is decoded alone. Related: PowerSGD (Vogels et al., arXiv 1905.13727), which
sends factors only and keeps the rest at the device. Payload: FORMAT.md, section B.8.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.blockpayload import Head
from edge_sdk.codecs.blockwise import (
    CODING,
    LEAST_RATE,
    MOST_RATE,
    Budget,
    Draft,
    Forecast,
    corrected,
    read_blocks,
    share_lost,
)
from edge_sdk.codecs.chunking import share
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.intake import (
    MAX_CHUNKS,
    MAX_MAGNITUDE,
    require_order,
    require_place,
    require_vector,
)
from edge_sdk.codecs.ladder import BLOCK_SIZES
from edge_sdk.codecs.lowrank_factors import (
    MOST_RANK,
    Component,
    Matrix,
    Parts,
    add_parts,
    find_component,
    read_parts,
    write_parts,
)
from edge_sdk.codecs.stated import error_code, error_of
from edge_sdk.codecs.waterfill import (
    EXCHANGE,
    Plan,
    best_plan,
    block_energies,
    entropy_bits,
    half_log2,
    price,
    spreads_of,
    sum_groups,
)
from edge_sdk.errors import Misuse, TooLarge
from edge_sdk.values import Coordinates, Layout, Piece, Place, Vector

WIRE_ID = 33

_ROUNDS = 4
"""How often the step is planned anew and further components are looked for."""
_LEAST_SIDE = 4
_LEAST_ENTRIES = 512
_CHUNK_BYTES = 10
_GAIN = 0.99
"""Error below this share of that without components makes them worth their time."""
_HEAD_BITS = 2 * 23 + 23 + 6
_SCALE_BITS = 15.0
_TWO_PI_E = 17.0795
_TABLE_BITS = 3
"""What each kind of number adds to a table."""


def matrices_of(layout: Layout) -> tuple[Matrix, ...]:
    """Every parameter of two or more axes as a matrix: the first axis by all the others."""
    matrices: list[Matrix] = []
    first = 0
    for parameter in layout.parameters:
        if len(parameter.shape) > 1 and parameter.size:
            rows = parameter.shape[0]
            matrices.append(Matrix(first, rows, parameter.size // rows))
        first += parameter.size
    return tuple(matrices)


@dataclasses.dataclass(frozen=True, slots=True)
class LowRank:
    """Unbiased at any rate; see the module's text."""

    rate: float
    """Wire bits per coordinate, frame headers included, 0.01 to 8."""
    matrices: tuple[Matrix, ...] = ()
    """Where the vector's matrices lie, ascending; the decoder does not need them."""

    def __post_init__(self) -> None:
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise Misuse(f"lowrank takes rates of {LEAST_RATE} to {MOST_RATE}, not {self.rate}")
        for matrix, after in zip(self.matrices, self.matrices[1:], strict=False):
            if after.first < matrix.end:
                raise Misuse(f"{after} overlaps {matrix}")

    @property
    def spec(self) -> str:
        """The codec's name and rate."""
        return f"lowrank:rate={self.rate:.12g}"

    @property
    def unbiased(self) -> bool:
        """Always."""
        return True

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return 0

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110 and vectors without the matrices.

        The predicted error decides how many components each matrix gets.
        """
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes)
        self._require(vector)
        count = Budget(self.rate * len(vector) / 8, chunk_bytes).chunks(len(vector))
        sizes: tuple[int, ...] = BLOCK_SIZES
        while sizes:
            search = self._search(vector, count, chunk_bytes, sizes)
            payloads = search.payloads(seed)
            over = max(map(len, payloads)) / chunk_bytes
            if over <= 1:
                return payloads
            most = min(-(-len(vector) // search.plan.block), MAX_CHUNKS)
            if count < most:
                count = min(max(count + 1, int(count * over)), most)
            else:
                sizes = sizes[: sizes.index(search.plan.block)]
        raise Misuse(f"a block does not fit into {chunk_bytes} bytes")

    def forecast(self, vector: Vector, *, chunk_bytes: int) -> Forecast:
        """What `encode` is expected to make of `vector`; costs about as much as encoding."""
        self._require(vector)
        count = Budget(self.rate * len(vector) / 8, chunk_bytes).chunks(len(vector))
        search = self._search(vector, count, chunk_bytes, BLOCK_SIZES)
        bits = search.plan.bits + search.part_bits()
        return Forecast(
            error=share_lost(search.plan, search.energies),
            wire_bytes=bits / 8 + search.count * (FRAME_HEADER_BYTES + _CHUNK_BYTES),
        )

    def stated_error(self, payload: bytes) -> float:
        """See `stated.StatesError`."""
        return error_of(Head.read(BitReader(payload)).error_code)

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`; the coordinates are neighbours."""
        require_place(place)
        reader = BitReader(payload)
        head = Head.read(reader)
        first, end = _span(place.dimension, place.index, place.count, head.block)
        if end - first > MAX_SPAN:
            raise TooLarge(f"chunk of {end - first} coordinates, limit {MAX_SPAN}")
        parts = read_parts(reader, end - first)
        blocks = -(-(end - first) // head.block)
        values = read_blocks(reader, head, blocks, place)[: end - first]
        reader.end()
        add_parts(parts, values)
        return Piece(where=Coordinates.span(first, end - first), values=values)

    def _require(self, vector: Vector) -> None:
        require_vector(vector, limit=MAX_MAGNITUDE)
        if self.matrices and self.matrices[-1].end > len(vector):
            raise Misuse(f"{self.matrices[-1]} in a vector of {len(vector)} coordinates")

    def _search(
        self, vector: Vector, count: int, chunk_bytes: int, sizes: tuple[int, ...]
    ) -> "_Search":
        """Components and plan for at most `count` chunks.

        Chunks are cut between blocks: where there are several, the size of blocks is chosen first.
        """
        bits = Budget(self.rate * len(vector) / 8, chunk_bytes).bits(count)
        if count > 1:
            spreads = spreads_of(block_energies(vector))
            sizes = (best_plan(spreads, bits, sizes=sizes).block,)
            count = min(count, -(-len(vector) // sizes[0]))
        search = _Search(vector, bits, sizes, count, list(self._cut(len(vector), count, sizes[0])))
        search.run()
        return search

    def _cut(self, dimension: int, count: int, block: int) -> Iterator[tuple[int, Matrix]]:
        """First coordinate of a chunk, and place within it of every matrix worth a look."""
        for index in range(count if self.matrices else 0):
            first, end = _span(dimension, index, count, block)
            for matrix in self.matrices:
                part = matrix.within(first, end)
                if part and _is_worth_a_look(part):
                    yield first, part


def _is_worth_a_look(matrix: Matrix) -> bool:
    small = min(matrix.rows, matrix.columns) < _LEAST_SIDE
    return not small and matrix.rows * matrix.columns >= _LEAST_ENTRIES


def _span(dimension: int, index: int, count: int, block: int) -> tuple[int, int]:
    """First coordinate of a chunk and one past its last.

    Raises:
        Corrupt: more chunks than blocks.
    """
    first, end = share(-(-dimension // block), index=index, count=count)
    return first * block, min(end * block, dimension)


class _Search:
    """Components taken one after another while each lowers error and size together."""

    def __init__(
        self,
        vector: Vector,
        bits: float,
        sizes: tuple[int, ...],
        count: int,
        places: list[tuple[int, Matrix]],
    ) -> None:
        self._vector = vector
        self._bits = bits
        self._sizes = sizes
        self.count = count
        self._places = places
        self._found: list[list[Component]] = [[] for _ in places]
        self._rest = vector.copy() if places else vector
        self.energies = block_energies(vector)[BLOCK_SIZES[-1]]
        """Of the vector's largest blocks."""
        self.plan = self._plan()

    def run(self) -> None:
        """Look for components; without enough gain there are none."""
        without = self.plan.error
        for _ in range(_ROUNDS):
            grown = [self._grow(number) for number in range(len(self._places))]
            if not any(grown):
                break
            self.plan = self._plan()
        if self.plan.error > _GAIN * without:
            self._found = [[] for _ in self._places]
            self._rest = self._vector
            self.plan = self._plan()

    def part_bits(self) -> int:
        """Size of all components."""
        sizes = 0
        for index in range(self.count):
            writer = BitWriter()
            write_parts(writer, self._parts(self._span(index)[0]))
            sizes += writer.size
        return sizes

    def payloads(self, seed: int) -> list[bytes]:
        """All chunks."""
        bits = max(self._bits - self.part_bits(), 8.0)
        sums = block_energies(self._rest)[self.plan.block]
        plan, _ = corrected(self.plan, self._rest, sums, bits, seed=seed, chunks=self.count)
        code = error_code(share_lost(plan, self.energies))
        draft = Draft.of(plan, self._rest, sums, seed, CODING, error_code=code)
        made: list[bytes] = []
        for index in range(self.count):
            writer = BitWriter()
            first, end = self._span(index)
            draft.head.write(writer)
            write_parts(writer, self._parts(first))
            draft.write_blocks(writer, slice(first // plan.block, -(-end // plan.block)), index)
            made.append(writer.to_bytes())
        return made

    def _plan(self) -> Plan:
        bits = max(self._bits - self.part_bits(), 8.0)
        return best_plan(spreads_of(block_energies(self._rest)), bits, sizes=self._sizes)

    def _span(self, index: int) -> tuple[int, int]:
        """Coordinates of a chunk; a single chunk has all, whatever the size of blocks."""
        return _span(len(self._vector), index, self.count, self._sizes[0])

    def _parts(self, first: int) -> Parts:
        """Components of the chunk that begins at `first`."""
        return [
            (place, found)
            for (chunk, place), found in zip(self._places, self._found, strict=True)
            if chunk == first and found
        ]

    def _grow(self, number: int) -> bool:
        """Take components of one matrix while they pay; whether there was one."""
        first, place = self._places[number]
        rest = Matrix(first + place.first, place.rows, place.columns).of(self._rest)
        found = self._found[number]
        before = price(self._energies(rest), self.plan)
        had = len(found)
        while len(found) < min(MOST_RANK, place.rows, place.columns):
            component = find_component(rest)
            if component is None:
                break
            trial = rest - component.product()
            cost = _component_bits(component) + (0 if found else _HEAD_BITS)
            after = price(self._energies(trial), self.plan) + cost * self._bit_price()
            if after >= before:
                break
            before = after - cost * self._bit_price()
            rest[...] = trial
            found.append(component)
        return len(found) > had

    def _energies(self, matrix: NDArray[np.float32]) -> NDArray[np.float64]:
        """Energies of blocks of the plan's size, as if the matrix began with a block."""
        return sum_groups(np.square(matrix.reshape(-1).astype(np.float64)), self.plan.block)

    def _bit_price(self) -> float:
        return EXCHANGE * self.plan.step_size**2


def _component_bits(component: Component) -> float:
    """What one more component adds to a payload, roughly.

    Each side as normal numbers of its size, or by its own histogram and a table of it if less.
    """
    bits = _SCALE_BITS
    for side in (component.u, component.v):
        mean_square = float(np.sum(np.square(side, dtype=np.int64))) / len(side)
        normal = len(side) * half_log2(_TWO_PI_E * (mean_square + 1 / 12))
        bits += min(normal, entropy_bits(side, table=_TABLE_BITS))
    return bits
