"""Few coordinates of a vector: the largest (top-k, biased) or random ones (random-k, unbiased).

Plain references to measure other codecs by. Payloads: FORMAT.md, sections S.4 and S.5.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.fitting import fit_chunks, span_of
from edge_sdk.codecs.gaps import Whole, read_positions, write_positions
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order
from edge_sdk.codecs.reals import read_reals, reals_bytes, require_width, write_reals
from edge_sdk.codecs.signs import random_words, stream_key
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Coordinates, Piece, Place, Vector

TOPK_WIRE_ID = 16
RANDOMK_WIRE_ID = 17

_COUNT_BYTES = 4
_WHERE = 0x4B444E52
"""`RNDK`: keeps the stream of positions apart from other uses of the same seed."""
_ROUNDING = 0x524B4E52
"""`RNKR`: the stream that rounds random-k's values to float16; the decoder does not need it."""


@dataclasses.dataclass(frozen=True, slots=True)
class TopK:
    """The largest magnitudes, ties to the lower index; all other coordinates are zero.

    Biased: meant to be used with error feedback (`memory`).
    """

    share: float
    """Share of the coordinates that is kept, above 0 up to 1; at least one coordinate."""
    values: int = 16
    """Bits per kept value, 16 or 32."""

    unbiased: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_share(self.share)
        require_width(self.values)

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"topk:share={self.share!r},values={self.values}"

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return self.values

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        kept = largest_positions(vector, max(1, int(self.share * len(vector))))

        def encode_chunk(place: Place) -> bytes:
            first, end = span_of(place)
            low, high = np.searchsorted(kept, (first, end))
            positions = kept[low:high]
            if not len(positions):
                return bytes(_COUNT_BYTES)
            return b"".join(
                (
                    len(positions).to_bytes(_COUNT_BYTES, "little"),
                    write_positions(positions - first),
                    write_reals(vector[positions], self.values),
                )
            )

        return fit_chunks(
            encode_chunk,
            dimension=len(vector),
            seed=seed,
            chunk_bytes=chunk_bytes,
            least=reals_bytes(len(kept), self.values) // chunk_bytes,
        )

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        count = cursor.unsigned(_COUNT_BYTES)
        positions = read_positions(cursor, count, span=end - first)
        kept = read_reals(cursor, count, self.values) if count else np.zeros(0, np.float32)
        cursor.end()
        return _scattered(first, end, positions, kept)


@dataclasses.dataclass(frozen=True, slots=True)
class RandomK:
    """One coordinate of every stratum of neighbours, drawn at random, times the stratum's size.

    The positions follow from the seed and are not sent. Every coordinate of a stratum is equally
    likely, so this is unbiased with the error of drawing at random, 1/share - 1, but needs no sort.
    Values of 16 bits are rounded at random, which keeps the expectation.
    """

    share: float
    """Share of the coordinates that is sent, above 0 up to 1; at least one per chunk."""
    values: int = 16
    """Bits per sent value, 16 or 32."""

    unbiased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_share(self.share)
        require_width(self.values)

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"randomk:share={self.share!r},values={self.values}"

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return self.values

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110, or 2**127 once scaled."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        wanted = max(1, int(self.share * len(vector)))

        def encode_chunk(place: Place) -> bytes:
            first, end = span_of(place)
            count = end * wanted // len(vector) - first * wanted // len(vector)
            count = min(max(count, 1), end - first)
            positions, sizes = _draw(place, end - first, count)
            values = vector[first + positions]
            if not (np.abs(values.astype(np.float64)) * sizes <= 2.0**127).all():
                raise Misuse("a value is too large to be scaled by the size of its stratum")
            words = random_words(_key(_ROUNDING, place), first=0, count=count)
            head = count.to_bytes(_COUNT_BYTES, "little")
            return head + write_reals(values, self.values, words=words)

        return fit_chunks(
            encode_chunk,
            dimension=len(vector),
            seed=seed,
            chunk_bytes=chunk_bytes,
            least=reals_bytes(wanted, self.values) // chunk_bytes,
        )

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        count = cursor.unsigned(_COUNT_BYTES)
        if not 1 <= count <= end - first:
            raise Corrupt(f"{count} values for {end - first} coordinates")
        kept = read_reals(cursor, count, self.values)
        cursor.end()
        positions, sizes = _draw(place, end - first, count)
        scaled = kept.astype(np.float64) * sizes
        if not (np.abs(scaled) <= 2.0**127).all():
            raise Corrupt("a scaled value is not a float32")
        return _scattered(first, end, positions, scaled.astype(np.float32))


def require_share(share: float) -> None:
    """Refuse shares outside (0, 1].

    Raises:
        Misuse: such a share.
    """
    if not 0 < share <= 1:
        raise Misuse(f"a share is above 0 and at most 1, not {share}")


def largest_positions(vector: Vector, count: int) -> Whole:
    """Positions of the `count` largest magnitudes but zeros, ascending; ties to the lower index."""
    sizes = np.abs(vector)
    rank = len(vector) - count
    threshold = np.partition(sizes, rank)[rank]
    if threshold == 0:
        return np.flatnonzero(sizes)
    above = np.flatnonzero(sizes > threshold)
    equal = np.flatnonzero(sizes == threshold)[: count - len(above)]
    return np.sort(np.concatenate([above, equal]))


def _key(purpose: int, place: Place) -> int:
    return stream_key(purpose, place.seed & 0xFFFFFFFF, place.seed >> 32, place.index)


def _draw(place: Place, span: int, count: int) -> tuple[Whole, Whole]:
    """One position in each of `count` strata of `span` coordinates, and the strata's sizes.

    Stratum j is floor(j*span/count) up to floor((j+1)*span/count); a random word w picks the
    member floor(w*size / 2**32).
    """
    bounds = np.arange(count + 1, dtype=np.int64) * span // count
    sizes = np.diff(bounds)
    words = random_words(_key(_WHERE, place), first=0, count=count).astype(np.int64)
    return bounds[:-1] + (words * sizes >> 32), sizes


def _scattered(first: int, end: int, positions: Whole, values: NDArray[np.float32]) -> Piece:
    """A piece that is `values` at `positions` (counted from `first`) and zero elsewhere."""
    dense = np.zeros(end - first, np.float32)
    dense[positions] = values
    return Piece(where=Coordinates.span(first, end - first), values=dense)
