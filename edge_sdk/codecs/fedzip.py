"""FedZip: prune each tensor, cluster what is left to few values, and code which value is where.

Malekijoo et al., arXiv 2102.01593. Biased; with error feedback (`memory`) the loss comes back
later. Different from the paper's code: the streams can be decoded, any number of clusters, tensors
with few distinct values work. Payload: FORMAT.md, section S.8.
"""

import dataclasses
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from edge_sdk.codecs.cursor import Cursor, pack_varint
from edge_sdk.codecs.fedzip_clusters import Clusters, cluster, label_counts, prune
from edge_sdk.codecs.fedzip_streams import Encoding, paper_bits, read_labels, write_labels
from edge_sdk.codecs.fitting import fit_chunks, span_of
from edge_sdk.codecs.huffman import MAX_SYMBOLS
from edge_sdk.codecs.intake import MAX_MAGNITUDE, require_order, require_vector
from edge_sdk.codecs.topk import require_share
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Coordinates, Layout, Piece, Place, Vector

WIRE_ID = 19

PAPER_CENTROID_BITS = 32

MAX_TENSORS = 1 << 16
"""Most tensors of a layout, and most segments of a chunk."""


@dataclasses.dataclass(frozen=True, slots=True)
class FedZip:
    """Top-z and k-means per tensor, then one of three encodings."""

    keep: float = 0.2
    """Share of each weight tensor that is not pruned (z); tensors of one axis, the biases, are not
    pruned at all, as in the paper's code."""
    k: int = 3
    """Clusters per tensor, 1 to 16; the one of the pruned zeros counts."""
    encoding: Encoding = Encoding.DIFFERENCES
    layout: Layout | None = None
    """Where the tensors lie in the vector; None takes the vector as one tensor. Only the encoder
    needs it: a payload says itself where its tensors end."""

    unbiased: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require_share(self.keep)
        if not 1 <= self.k <= MAX_SYMBOLS:
            raise Misuse(f"FedZip has 1 to {MAX_SYMBOLS} clusters, not {self.k}")
        if self.layout is not None and len(self.layout.parameters) > MAX_TENSORS:
            raise Misuse(f"FedZip takes at most {MAX_TENSORS} tensors")

    @property
    def spec(self) -> str:
        """The codec's name and parameters."""
        return f"fedzip:keep={self.keep!r},k={self.k},encoding={self.encoding.name.lower()}"

    @property
    def parameter(self) -> int:
        """The frame header's parameter field."""
        return int(self.encoding)

    def encode(self, vector: Vector, *, seed: int, chunk_bytes: int) -> list[bytes]:
        """See `Codec.encode`; also refuses magnitudes over 2**110.

        Raises:
            Misuse: also where `layout` is of another size.
        """
        require_order(vector, seed=seed, chunk_bytes=chunk_bytes)
        tensors = list(self._clustered(vector))

        def encode_chunk(place: Place) -> bytes:
            first, end = span_of(place)
            parts = [bytes([self.encoding])]
            start = 0
            for tensor in tensors:
                low, high = max(first - start, 0), min(end - start, len(tensor.labels))
                if low < high:
                    parts.append(_write_segment(_part(tensor, low, high), self.encoding))
                start += len(tensor.labels)
            return b"".join(parts)

        return fit_chunks(encode_chunk, dimension=len(vector), seed=seed, chunk_bytes=chunk_bytes)

    def decode(self, payload: bytes, place: Place) -> Piece:
        """See `Codec.decode`."""
        first, end = span_of(place)
        cursor = Cursor(payload)
        if cursor.unsigned(1) != self.encoding:
            raise Corrupt("the payload has another encoding than the header says")
        values = np.empty(end - first, np.float32)
        at, segments = 0, 0
        while at < len(values):
            segments += 1
            if segments > MAX_TENSORS:
                raise Corrupt(f"over {MAX_TENSORS} segments")
            segment = _read_segment(cursor, len(values) - at, self.encoding)
            values[at : at + len(segment)] = segment
            at += len(segment)
        cursor.end()
        return Piece(where=Coordinates.span(first, end - first), values=values)

    def paper_bits(self, vector: Vector) -> int:
        """Size of the update as the paper's code counts it, which cannot be decoded; see there."""
        return sum(
            PAPER_CENTROID_BITS * len(tensor.centroids)
            + paper_bits(tensor.labels, len(tensor.centroids), self.encoding)
            for tensor in self._clustered(vector)
        )

    def _clustered(self, vector: Vector) -> Iterator[Clusters]:
        """Every tensor of `vector`, pruned and clustered."""
        require_vector(vector, limit=MAX_MAGNITUDE)
        if self.layout is None:
            yield cluster(prune(vector, self.keep), self.k)
            return
        if self.layout.size != len(vector):
            raise Misuse(f"layout of {self.layout.size} for a vector of {len(vector)}")
        start = 0
        for parameter in self.layout.parameters:
            tensor = vector[start : start + parameter.size]
            start += parameter.size
            if parameter.size:
                kept = prune(tensor, self.keep) if len(parameter.shape) > 1 else tensor
                yield cluster(kept, self.k)


def _part(tensor: Clusters, low: int, high: int) -> Clusters:
    """Entries `low` up to `high`, with the centroids that they use."""
    labels = tensor.labels[low:high]
    used = np.flatnonzero(label_counts(labels, len(tensor.centroids)))
    renumber = np.zeros(len(tensor.centroids), np.uint8)
    renumber[used] = np.arange(len(used))
    return Clusters(centroids=tensor.centroids[used], labels=renumber[labels])


def _write_segment(part: Clusters, encoding: Encoding) -> bytes:
    """Length, centroids, and the labels unless there is but one centroid."""
    alphabet = len(part.centroids)
    head = pack_varint(len(part.labels)) + bytes([alphabet])
    centroids = part.centroids.astype("<f4").tobytes()
    labels = write_labels(part.labels, alphabet, encoding) if alphabet > 1 else b""
    return head + centroids + labels


def _read_segment(cursor: Cursor, most: int, encoding: Encoding) -> Vector:
    """The values of one segment of at most `most` entries."""
    count = cursor.varint()
    alphabet = cursor.unsigned(1)
    if not 1 <= count <= most or not 1 <= alphabet <= min(MAX_SYMBOLS, count):
        raise Corrupt(f"segment of {count} entries and {alphabet} centroids, {most} are left")
    centroids = cursor.reals(alphabet)
    if alphabet == 1:
        return np.full(count, centroids[0], np.float32)
    return centroids[read_labels(cursor, count, alphabet, encoding)]
