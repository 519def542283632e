"""Grouped product quantizer: activations of a batch as indices into small codebooks.

FedLite (arXiv:2201.11865), section 3: each example's activation of d numbers is cut into q
subvectors, the subvectors of a batch into R groups, and the vectors of each group are replaced by
the nearest of L centroids found by k-means. R = 1 with large q is the paper's choice: one codebook
serves all subvectors. FORMAT.md, section P.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.cursor import Cursor, pack_varint
from edge_sdk.codecs.intake import MAX_MAGNITUDE
from edge_sdk.codecs.product_clusters import MOST_CENTROIDS, Clusters, cluster
from edge_sdk.codecs.product_indices import planes_bytes, read_indices, write_indices
from edge_sdk.codecs.reals import read_reals, reals_bytes, require_width, write_reals
from edge_sdk.errors import Corrupt, Misuse, TooLarge

WIRE_ID = 64
"""The frame header's codec field."""

MAX_NUMBERS = 1 << 26
"""Most numbers in one batch of activations."""

Rows = NDArray[np.float32]
"""Shape (examples, numbers of one example's activation)."""

_WIDE = 1 << 4
"""Bit of the first byte: codebooks are float32, not float16."""
_WAY = 0x0F


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ProductQuantizer:
    """A value; equal arguments give equal bytes on every machine.

    The clustering is exact arithmetic on whole numbers (`product_clusters`), so the bytes depend
    on the activations and the seed alone, not on processor, threads or BLAS.

    Raises:
        Misuse: a number is outside its range, or `groups` does not divide `subvectors`.
    """

    subvectors: int
    """q: pieces of one activation; the last ones are filled up with zeros where q does not divide
    its length."""
    centroids: int
    """L: entries of a codebook at most, 1 to 256; fewer where fewer subvectors differ."""
    groups: int = 1
    """R: codebooks. Subvector j of each example belongs to group floor(j R / q)."""
    real_bits: int = 16
    """phi: bits of a number in a codebook, 16 or 32."""

    def __post_init__(self) -> None:
        require_width(self.real_bits)
        if not 1 <= self.centroids <= MOST_CENTROIDS:
            raise Misuse(f"{self.centroids} centroids; 1 to {MOST_CENTROIDS} are possible")
        if not 1 <= self.groups <= self.subvectors or self.subvectors % self.groups:
            raise Misuse(f"{self.groups} groups of {self.subvectors} subvectors")

    @property
    def spec(self) -> str:
        """The text that names the quantizer, e.g. `product:q=288,l=8`."""
        words = [f"q={self.subvectors}", f"l={self.centroids}"]
        words += [f"r={self.groups}"] if self.groups > 1 else []
        words += [f"bits={self.real_bits}"] if self.real_bits != 16 else []
        return f"product:{','.join(words)}"

    def encode(self, rows: Rows, *, seed: int) -> bytes:
        """The payload of a batch of activations.

        Args:
            rows: shape (examples, numbers), both at least 1.
            seed: of the first guess at the clusters, below 2**53.

        Raises:
            Misuse: another shape or dtype, more than `MAX_NUMBERS`, more subvectors than numbers,
                NaN, an infinity or a magnitude over 2**110.
        """
        _require_rows(rows)
        if self.subvectors > rows.shape[1]:
            raise Misuse(f"{self.subvectors} subvectors of {rows.shape[1]} numbers")
        found = [
            cluster(points, self.centroids, seed=(seed << 16) + group)
            for group, points in enumerate(_cut(rows, self.subvectors, self.groups))
        ]
        return _payload(found, self)

    def plain_bytes(self, examples: int, numbers: int) -> int:
        """Size of a payload when no codebook is short and indices are not entropy coded.

        That is 1 + |q| + |R| + R |L| bytes of head, where |n| is the size of n in sevens of bits,
        phi w L R / 8 of codebooks with w = ceil(d / q), 2 more of 16 bit ones for their exponent,
        and ceil(log2 L) ceil(B q / 8) of indices. `encode` gives at most this.
        """
        width = -(-numbers // self.subvectors)
        head = [self.subvectors, self.groups, *[self.centroids] * self.groups]
        return (
            1
            + sum(len(pack_varint(number)) for number in head)
            + reals_bytes(width * self.centroids * self.groups, self.real_bits)
            + planes_bytes(examples * self.subvectors, self.centroids)
        )

    def paper_bits(self, examples: int, numbers: int) -> float:
        """The paper's count: phi (d / q) L R + B q log2 L, of activations alone."""
        codebooks = self.real_bits * (numbers / self.subvectors) * self.centroids * self.groups
        return codebooks + examples * self.subvectors * float(np.log2(self.centroids))


def product_from_words(words: dict[str, str]) -> ProductQuantizer:
    """The quantizer of a spec's words `q`, `l`, `r`, `bits`.

    Raises:
        Misuse: a word is unknown, missing or outside its range.
        ValueError: not a whole number.
    """
    names = {"q": "subvectors", "l": "centroids", "r": "groups", "bits": "real_bits"}
    unknown = sorted(words.keys() - names.keys())
    if unknown or not {"q", "l"} <= words.keys():
        raise Misuse(f"a product quantizer takes q, l, r and bits, q and l always; {unknown}")
    return ProductQuantizer(**{names[word]: int(text) for word, text in words.items()})


def decode_product(payload: bytes, *, examples: int, numbers: int) -> Rows:
    """The activations that a payload stands for, shape (examples, numbers), finite.

    Raises:
        Malformed: the payload breaks the format or does not fit this shape; nothing else, ever.
    """
    if examples < 1 or numbers < 1 or examples * numbers > MAX_NUMBERS:
        raise TooLarge(f"activations of {examples} x {numbers}, limit {MAX_NUMBERS} in all")
    cursor = Cursor(payload)
    mode = cursor.unsigned(1)
    if mode & ~(_WAY | _WIDE):
        raise Corrupt("a reserved bit is set")
    subvectors, groups = cursor.varint(), cursor.varint()
    if not 1 <= subvectors <= numbers or groups < 1 or subvectors % groups:
        raise Corrupt(f"{groups} groups of {subvectors} subvectors of {numbers} numbers")
    if groups > cursor.left:
        raise TooLarge(f"{groups} codebooks in {cursor.left} bytes")
    in_group = examples * (subvectors // groups)
    sizes = [cursor.varint() for _ in range(groups)]
    for size in sizes:
        if not 1 <= size <= min(MOST_CENTROIDS, in_group):
            raise TooLarge(f"codebook of {size} centroids for {in_group} subvectors")
    width = -(-numbers // subvectors)
    books = read_reals(cursor, width * sum(sizes), 32 if mode & _WIDE else 16)
    labels = read_indices(cursor, mode & _WAY, examples * subvectors, max(sizes))
    cursor.end()
    return _rows(books.reshape(-1, width), sizes, labels, examples)[:, :numbers]


def _require_rows(rows: Rows) -> None:
    if not isinstance(rows, np.ndarray) or rows.dtype != np.float32 or rows.ndim != 2:
        raise Misuse("a product quantizer takes a float32 array of two axes")
    if not 1 <= rows.size <= MAX_NUMBERS:
        raise Misuse(f"a product quantizer takes 1 to {MAX_NUMBERS} numbers, not {rows.size}")
    largest = max(-float(np.min(rows)), float(np.max(rows)))
    if not largest <= MAX_MAGNITUDE:  # NaN compares false
        raise Misuse(f"activations hold a magnitude of {largest:g}, limit {MAX_MAGNITUDE:g}")


def _cut(rows: Rows, subvectors: int, groups: int) -> list[Rows]:
    """Subvectors of each group, shape (vectors, width): example after example."""
    examples, numbers = rows.shape
    width = -(-numbers // subvectors)
    if width * subvectors > numbers:
        rows = np.pad(rows, ((0, 0), (0, width * subvectors - numbers)))
    parts = rows.reshape(examples, groups, subvectors // groups, width)
    return [np.ascontiguousarray(parts[:, group]).reshape(-1, width) for group in range(groups)]


def _payload(found: Sequence[Clusters], quantizer: ProductQuantizer) -> bytes:
    sizes = [len(clusters.centroids) for clusters in found]
    labels = np.concatenate([clusters.labels for clusters in found])
    way, indices = write_indices(labels, max(sizes))
    wide = _WIDE if quantizer.real_bits == 32 else 0
    books = np.concatenate([clusters.centroids.reshape(-1) for clusters in found])
    return b"".join(
        [
            bytes([way | wide]),
            *(pack_varint(n) for n in (quantizer.subvectors, quantizer.groups, *sizes)),
            write_reals(books, quantizer.real_bits),
            indices,
        ]
    )


def _rows(books: Rows, sizes: Sequence[int], labels: NDArray[np.uint8], examples: int) -> Rows:
    """Centroids in place of indices.

    Raises:
        Corrupt: an index is beyond its group's codebook.
    """
    by_group = labels.reshape(len(sizes), -1)
    limits = np.array(sizes)[:, np.newaxis]
    if (by_group >= limits).any():
        raise Corrupt("an index is beyond its codebook")
    first = np.cumsum([0, *sizes[:-1]])[:, np.newaxis]
    values = books[by_group + first]
    groups, count, width = values.shape
    rows = values.reshape(groups, examples, count // examples, width).transpose(1, 0, 2, 3)
    return np.ascontiguousarray(rows.reshape(examples, -1))
