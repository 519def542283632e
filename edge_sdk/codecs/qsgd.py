"""QSGD: every coordinate rounded up or down at random to one of s levels of its bucket's norm.

Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and Encoding", NIPS
2017. Unbiased for every vector; the error is at most min(n/s^2, sqrt(n)/s) for buckets of n.
Different from the paper: levels are entropy coded by significance planes instead of Elias codes.
Payload: FORMAT.md, section S.11.
"""

import dataclasses
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.fitting import fit_chunks, span_of
from edge_sdk.codecs.gaps import Whole
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order
from edge_sdk.codecs.levels import read_levels, write_levels
from edge_sdk.codecs.signs import Words, random_words, stream_key
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Coordinates, Piece, Place, Vector

WIRE_ID = 21

MAX_BUCKET = 1 << 15

_SLAB = 1 << 16
_PURPOSE = 0x44475351
"""`QSGD`: the stream that rounds; the decoder does not need it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Qsgd:
    """Unbiased random rounding; few levels leave most coordinates zero."""

    levels: int = 1
    """Levels above zero (s), 1 to 255."""
    bucket: int = 512
    """Neighbours that share a norm, 1 to 32,768."""

    unbiased: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 255 or not 1 <= self.bucket <= MAX_BUCKET:
            raise Misuse(f"QSGD has 1 to 255 levels and buckets of 1 to {MAX_BUCKET}")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"qsgd:levels={self.levels},bucket={self.bucket}"

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return self.levels

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110."""
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes, limit=MAX_MAGNITUDE)
        return fit_chunks(
            lambda place: self._encode_chunk(vector, place),
            dimension=len(vector),
            seed=seed,
            chunk_bytes=chunk_bytes,
            least=len(vector) // (32 * chunk_bytes),
        )

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        bucket = cursor.unsigned(2)
        if not 1 <= bucket <= MAX_BUCKET:
            raise Corrupt(f"bucket of {bucket}")
        norms = cursor.reals(-(-(end - first) // bucket)).astype(np.float64)
        if (norms < 0).any():
            raise Corrupt("a negative norm")
        positions, levels = read_levels(cursor, span=end - first)
        cursor.end()
        some = norms[positions // bucket] * levels / self.levels
        if not (np.abs(some) <= 2.0**127).all():
            raise Corrupt("a value is not a float32")
        values = np.zeros(end - first, np.float32)
        values[positions] = some
        return Piece(where=Coordinates.span(first, end - first), values=values)

    def _encode_chunk(self, vector: Vector, place: Place) -> bytes:
        first, end = span_of(place)
        key = stream_key(_PURPOSE, place.seed & 0xFFFFFFFF, place.seed >> 32, place.index)
        slab = max(_SLAB // self.bucket, 1) * self.bucket
        norms: list[NDArray[np.float32]] = []
        positions: list[Whole] = []
        levels: list[Whole] = []
        for start in range(first, end, slab):
            values = vector[start : min(start + slab, end)]
            norms.append(bucket_norms(values, self.bucket))
            words = random_words(key, first=start - first, count=len(values))
            rounded = self._rounded(values, norms[-1], words)
            some = np.flatnonzero(rounded)
            positions.append(some + (start - first))
            levels.append(np.where(values[some] < 0, -rounded[some], rounded[some]))
        head = self.bucket.to_bytes(2, "little") + np.concatenate(norms).astype("<f4").tobytes()
        return head + write_levels(
            np.concatenate(positions), np.concatenate(levels), span=end - first
        )

    def _rounded(self, values: Vector, norms: NDArray[np.float32], words: Words) -> Whole:
        """Magnitudes in levels, up where the fraction and the random word make one."""
        wide = np.repeat(norms.astype(np.float64), self.bucket)[: len(values)]
        units = np.divide(np.abs(values), wide, out=np.zeros_like(wide), where=wide > 0)
        levels: Whole = np.floor(units * self.levels + words * 2.0**-32).astype(np.int64)
        return levels


def bucket_norms(values: Vector, bucket: int) -> NDArray[np.float32]:
    """Euclidean norm of each bucket, the last one maybe shorter.

    Squares are added one after another in float64: the same sum on every machine.
    """
    squares = np.zeros((-(-len(values) // bucket), bucket))
    squares.reshape(-1)[: len(values)] = values
    np.square(squares, out=squares)
    np.cumsum(squares, axis=1, out=squares)
    return np.sqrt(squares[:, -1]).astype(np.float32)
