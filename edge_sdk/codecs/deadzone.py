"""Dead-zone sparse coder: one step for the whole vector, small values become zero.

Direct, without rotation: real updates hold most of their energy in few coordinates, and this spends
bits only there. Biased, so it is meant for devices that come back and keep the rest as error
feedback (`memory`). The rate counts every byte on the wire, frame headers included, and is met by
trying steps. Payload: FORMAT.md, section S.10.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, fit_chunks, span_of
from edge_sdk.codecs.gaps import Whole
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order
from edge_sdk.codecs.levels import read_levels, write_levels
from edge_sdk.codecs.reals import write_reals
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Coordinates, Piece, Place, Vector

WIRE_ID = 20

MAX_RATE = 16.0

DEAD_ZONE = 0.65
"""Half width of the zero bin in steps. Plain rounding has .5; more spends less on small values."""

OFFSET_UNITS = 256
"""A level's offset is written in steps / 256."""

_FINEST = 2.0**-19
"""Smallest step relative to the largest magnitude."""
_LEAST_STEP = 2.0**-149
_GRACE_BYTES = 64
"""What vectors may go over whose budget is hardly more than a frame header."""
_LEAST_BYTES = FRAME_HEADER_BYTES + 16
"""Room for one coordinate, whatever the budget."""
_TRIES = 16
_PATIENCE = 8
_NEAR, _NEAR_ENOUGH = 0.006, 0.02
"""The search ends within the first share of the wanted size; after so many tries, since sizes jump
here and there, within the second."""
_SLAB = 1 << 18


@dataclasses.dataclass(frozen=True, slots=True)
class DeadZone:
    """Biased; the fewer bits, the more of the vector's small values are zero."""

    rate: float
    """Bits on the wire per coordinate, frame headers included, above 0 up to 16. Not exceeded but
    by vectors so small that their budget is less than about two frame headers; not reached where
    the vector needs less."""

    unbiased: ClassVar[bool] = False
    parameter: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate <= MAX_RATE:
            raise Misuse(f"a dead-zone rate is above 0 and at most {MAX_RATE}, not {self.rate}")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"deadzone:rate={self.rate!r}"

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        budget = int(self.rate * len(vector) / 8)
        budget = max(budget, _LEAST_BYTES, min(budget, FRAME_HEADER_BYTES) + _GRACE_BYTES)
        sizes = _Sizes.of(vector)
        candidates = _candidates(vector, sizes, self.rate)
        least = -(-budget // (chunk_bytes + FRAME_HEADER_BYTES))

        def encode_with(step: np.float32) -> list[bytes]:
            return fit_chunks(
                lambda place: _encode_chunk(candidates, step, place),
                dimension=len(vector),
                seed=seed,
                chunk_bytes=chunk_bytes,
                least=least,
            )

        largest = max(-float(np.min(vector)), float(np.max(vector)))
        if largest == 0:
            return encode_with(np.float32(0))
        finest = max(largest * _FINEST, candidates.least / DEAD_ZONE, _LEAST_STEP)
        search = _Search(encode_with, budget, finest, 2 * largest, gain=max(self.rate, 0.5))
        return search.run(_first_guess(sizes, len(vector), self.rate))

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        step = np.float64(cursor.real())
        offsets = np.frombuffer(cursor.take(2), np.int8).astype(np.float64) / OFFSET_UNITS
        if step < 0 or step > 2 * MAX_MAGNITUDE:
            raise Corrupt(f"step {step}")
        positions, levels = read_levels(cursor, span=end - first)
        cursor.end()
        sizes = np.abs(levels).astype(np.float64)
        sizes += np.where(sizes == 1, offsets[0], offsets[1])
        sizes *= step
        if len(sizes) and sizes.max() > 2.0**127:
            raise Corrupt("a value is not a float32")
        values = np.zeros(end - first, np.float32)
        values[positions] = np.where(levels < 0, -sizes, sizes)
        return Piece(where=Coordinates.span(first, end - first), values=values)


@dataclasses.dataclass(frozen=True, slots=True)
class _Sizes:
    """How many magnitudes there are of each size, sizes told apart to 8 bits."""

    counts: Whole

    @classmethod
    def of(cls, vector: Vector) -> "_Sizes":
        """Count all magnitudes: their float32 are ordered like their bits."""
        counts = np.zeros(1 << 16, np.int64)
        for start in range(0, len(vector), _SLAB):
            bits = vector[start : start + _SLAB].view(np.uint32) << np.uint32(1)
            counts += np.bincount(bits >> np.uint32(16), minlength=len(counts))
        return cls(counts)

    def at_rank(self, rank: int) -> float:
        """Largest magnitude known to have at least `rank` + 1 not below it."""
        from_above = np.cumsum(self.counts[::-1])
        place = len(self.counts) - 1 - int(np.searchsorted(from_above, rank + 1))
        return float(np.uint32(place << 15).view(np.float32))


@dataclasses.dataclass(frozen=True, slots=True)
class _Candidates:
    """The only coordinates that can be other than zero within the budget."""

    positions: Whole | None
    """Ascending; None for all coordinates."""
    values: Vector
    least: float
    """Magnitudes below are not among them."""

    def within(self, first: int, end: int) -> tuple[Whole | None, Vector]:
        """Positions and values of those from coordinate `first` up to `end`."""
        if self.positions is None:
            return None, self.values[first:end]
        low, high = np.searchsorted(self.positions, (first, end))
        return self.positions[low:high] - first, self.values[low:high]


def _candidates(vector: Vector, sizes: _Sizes, rate: float) -> _Candidates:
    """The largest magnitudes, as many as could be sent at all, unless it is many.

    A coordinate that is not zero costs its sign and at least about half a bit for its position.
    """
    wanted = int(len(vector) * rate / 1.5) + 1
    if 3 * wanted > len(vector):
        return _Candidates(None, vector, 0.0)
    least = sizes.at_rank(wanted - 1)
    found: list[Whole] = []
    for start in range(0, len(vector), _SLAB):
        part = np.abs(vector[start : start + _SLAB])
        found.append(np.flatnonzero(part >= least if least else part) + start)
    positions = np.concatenate(found)
    return _Candidates(positions, vector[positions], least)


def _encode_chunk(candidates: _Candidates, step: np.float32, place: Place) -> bytes:
    first, end = span_of(place)
    positions, values = candidates.within(first, end)
    sizes = np.abs(values)
    some = np.flatnonzero(sizes >= np.float32(DEAD_ZONE) * step)
    if not step:
        some = some[:0]
    steps = np.divide(sizes[some], step, dtype=np.float64)
    levels = np.maximum(np.floor(steps + (1 - DEAD_ZONE)).astype(np.int64), 1)
    offsets = bytes(_mean_offset(steps, levels, ones) for ones in (True, False))
    head = write_reals(np.array([step], np.float32), 32) + offsets
    np.negative(levels, where=values[some] < 0, out=levels)
    where = some if positions is None else positions[some]
    return head + write_levels(where, levels, span=end - first)


def _mean_offset(steps: NDArray[np.float64], levels: Whole, ones: bool) -> int:
    """Mean of steps - level over the ones or all others, as a byte: an exact sum of integers."""
    chosen = (levels == 1) == ones
    count = int(np.count_nonzero(chosen))
    if not count:
        return 0
    units = np.rint((steps[chosen] - levels[chosen]) * OFFSET_UNITS).astype(np.int64)
    mean = math.floor((2 * int(units.sum()) + count) / (2 * count))
    return min(max(mean, -128), 127) & 0xFF


def _first_guess(sizes: _Sizes, dimension: int, rate: float) -> float:
    """A step near the one looked for. It only saves tries.

    A value that is not zero costs some 4 bits at one bit per coordinate and almost one more for
    every halving of the rate; beyond one bit every further bit halves the step.
    """
    low_rate = min(rate, 1.0)
    cost = 3.5 + 0.8 * int(1 / low_rate).bit_length()
    threshold = sizes.at_rank(min(int(low_rate * dimension / cost), dimension - 1))
    doublings = max(rate - 1.0, 0.0)
    whole = int(doublings)
    return math.ldexp(threshold / DEAD_ZONE / (1 + doublings - whole), -whole)


class _Search:
    """The finest step whose payloads stay within a budget, found in few tries.

    Steps are compared as the bit patterns of their float32: whole numbers in the same order, and a
    rough logarithm as well, so that straight lines between patterns of steps and patterns of sizes
    aim well. All decisions are plain IEEE arithmetic: every machine takes the same way.
    """

    def __init__(
        self,
        encode: Callable[[np.float32], list[bytes]],
        budget: int,
        finest: float,
        most: float,
        *,
        gain: float,
    ) -> None:
        self._encode = encode
        self._budget = budget
        self._aim = _pattern(budget * (1 - _NEAR / 2))
        self._low, self._high = _pattern(finest) - 1, _pattern(most)
        self._low_size: int | None = None
        self._best = encode(_real(self._high))
        self._high_size: int | None = None
        self._gain = gain
        """Octaves of the step for one octave of the size, until both ends are known."""

    def run(self, guess: float) -> list[bytes]:
        """The payloads of the best step, `guess` tried first."""
        middle = _pattern(guess)
        for turn in range(_TRIES):
            near = _NEAR if turn < _PATIENCE else _NEAR_ENOUGH
            made = wire_bytes(self._best)
            if made >= self._budget * (1 - near) or self._high - self._low <= 1:
                break
            middle = min(max(middle, self._low + 1), self._high - 1)
            size = self._try(middle)
            middle = self._next(middle, size, turn)
        return self._best

    def _try(self, middle: int) -> int:
        """Encode with a step and move one end of the bracket there; the size's pattern."""
        payloads = self._encode(_real(middle))
        size = _pattern(wire_bytes(payloads))
        if wire_bytes(payloads) <= self._budget:
            self._best, self._high, self._high_size = payloads, middle, size
        else:
            self._low, self._low_size = middle, size
        return size

    def _next(self, middle: int, size: int, turn: int) -> int:
        """Where to look next: on the line between both ends, or outwards while one is unknown."""
        if self._low_size is None or self._high_size is None:
            self._gain *= 1.5  # rather over the aim than short of it once more
            return middle + int((size - self._aim) * self._gain)
        if turn % 4 == 3:
            return (self._low + self._high) // 2
        rise = self._low_size - self._high_size
        return self._low + (self._high - self._low) * (self._low_size - self._aim) // max(rise, 1)


def wire_bytes(payloads: list[bytes]) -> int:
    """Bytes of the payloads and of a frame header for each."""
    return sum(map(len, payloads)) + FRAME_HEADER_BYTES * len(payloads)


def _pattern(number: float) -> int:
    """The bits of a positive number as float32: ordered like the numbers."""
    return int(np.float32(number).view(np.uint32))


def _real(pattern: int) -> np.float32:
    return np.uint32(pattern).view(np.float32)
