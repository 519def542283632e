"""k-means over short vectors whose outcome is the same on every machine.

The vectors are rounded to whole numbers so small that every product, and every sum of them in
whatever order, is a whole number that the float type in use holds exactly. So a matrix product by
any BLAS, with or without fused multiply-add, gives the same distances, and with them the same
clusters. Only IEEE arithmetic and the raw stream of PCG64 are relied on.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 8
"""Lloyd's iterations at most; they end early when nothing moves."""

MOST_CENTROIDS = 256

_SAMPLE = 4096
"""So many vectors, or `_SAMPLE_EACH` for each centroid where that is more, settle the clusters."""
_SAMPLE_EACH = 64

_FINE_BITS = 24
"""Means are taken of values rounded to so many bits of the largest."""

Grid = NDArray[np.floating]
"""Shape (width, vectors) or (centroids, width); whole numbers in a float type."""

Labels = NDArray[np.uint8]
"""Number of the centroid of every vector."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clusters:
    """Vectors replaced by centroids."""

    centroids: NDArray[np.float32]
    """Shape (k, width); each is the mean of at least one vector."""
    labels: Labels


def cluster(points: NDArray[np.float32], most: int, *, seed: int) -> Clusters:
    """At most `most` clusters of `points`, shape (n, width), finite, n at least 1.

    Seeds are drawn as in k-means++ (Arthur and Vassilvitskii 2007); clusters settle on a random
    sample of the vectors, then every vector goes to its nearest centroid and each centroid to the
    mean of its vectors. Where fewer vectors differ, there are fewer clusters.
    """
    grid = _whole(points)
    random = np.random.PCG64(seed)
    size = max(_SAMPLE, _SAMPLE_EACH * most)
    sample = grid
    if grid.shape[1] > size:
        chosen = (random.random_raw(size) % np.uint64(grid.shape[1])).astype(np.intp)
        sample = np.ascontiguousarray(grid[:, chosen])
    centroids = _settle(sample, _seeds(sample, most, random))
    labels, _ = _nearest(grid, centroids)
    return _means(points, labels, len(centroids))


def _whole(points: NDArray[np.float32]) -> Grid:
    """`points` on a grid of whole numbers, transposed.

    With magnitudes up to M = 2**k, a score 2 x c - c c is at most 3 w M**2, a distance 4 w M**2.
    """
    width = points.shape[1]
    room = max(0, math.ceil(math.log2(width))) + 2
    bits = (24 - room) // 2
    wide = bits < 8
    bits = 16 if wide else bits
    scaled = np.ldexp(points.T, bits - _exponent(points))
    return np.ascontiguousarray(np.rint(scaled), np.float64 if wide else np.float32)


def _exponent(points: NDArray[np.float32]) -> int:
    """The e for which all magnitudes are below 2**e."""
    largest = max(float(points.max()), -float(points.min()))
    return math.frexp(largest)[1]


def _seeds(grid: Grid, most: int, random: np.random.PCG64) -> Grid:
    """Up to `most` different vectors, each drawn in proportion to its squared distance so far."""
    count = grid.shape[1]
    norms = np.square(grid).sum(axis=0)
    first = int(random.random_raw()) % count
    chosen = [first]
    distances = _distances(grid, norms, first)
    while len(chosen) < most:
        sums = np.cumsum(distances, dtype=np.float64)
        total = int(sums[-1])
        if total == 0:
            break
        target = (int(random.random_raw()) * total) >> 64
        chosen.append(int(np.searchsorted(sums, target, side="right")))
        distances = np.minimum(distances, _distances(grid, norms, chosen[-1]))
    return np.ascontiguousarray(grid[:, chosen].T)


def _distances(grid: Grid, norms: Grid, to: int) -> Grid:
    distances: Grid = norms - 2 * (grid[:, to] @ grid) + norms[to]
    return distances


def _settle(grid: Grid, centroids: Grid) -> Grid:
    """Lloyd's iterations; a cluster without vectors begins anew at the worst placed vector."""
    for _ in range(ITERATIONS):
        labels, scores = _nearest(grid, centroids)
        counts, sums = _sums(grid, labels, len(centroids))
        moved = np.rint(sums / np.maximum(counts, 1)[:, np.newaxis]).astype(grid.dtype)
        empty = np.flatnonzero(counts == 0)
        if len(empty):
            distances = np.square(grid).sum(axis=0) - scores
            worst = np.argsort(-distances, kind="stable")[: len(empty)]
            moved[empty] = grid[:, worst].T
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _nearest(grid: Grid, centroids: Grid) -> tuple[Labels, Grid]:
    """Nearest centroid of every vector, the first of equally near ones, and its score.

    The score is the vector's squared length minus its squared distance.
    """
    scores = (2 * centroids) @ grid
    scores -= np.square(centroids).sum(axis=1)[:, np.newaxis]
    best = scores[0]
    labels = np.zeros(grid.shape[1], np.uint8)
    for number in range(1, len(centroids)):
        labels[scores[number] > best] = number
        np.maximum(best, scores[number], out=best)
    return labels, best


def _sums(
    grid: NDArray[np.floating], labels: Labels, clusters: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Vectors in each cluster, and their sum, shape (clusters, width); whole numbers stay exact."""
    counts = np.bincount(labels, minlength=clusters)
    sums = [np.bincount(labels, weights=row, minlength=clusters) for row in grid]
    return counts, np.stack(sums, axis=1)


def _means(points: NDArray[np.float32], labels: Labels, clusters: int) -> Clusters:
    """The mean of each cluster's vectors; clusters without vectors go."""
    shift = _FINE_BITS - _exponent(points)
    fine = np.rint(np.ldexp(points.T.astype(np.float64), shift))
    counts, sums = _sums(fine, labels, clusters)
    used = np.flatnonzero(counts)
    renumber = np.zeros(clusters, np.uint8)
    renumber[used] = np.arange(len(used))
    means = np.ldexp(sums[used] / counts[used, np.newaxis], -shift)
    return Clusters(means.astype(np.float32), renumber[labels])
