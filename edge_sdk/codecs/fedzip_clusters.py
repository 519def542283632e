"""FedZip's lossy half: keep the largest values of a tensor, then replace all by k centroids.

Malekijoo et al., "FedZip: A Compression Framework for Communication-Efficient Federated Learning",
arXiv 2102.01593, in the form of its code: k-means runs over all entries, pruned zeros included,
from centroids spread evenly between the least and the greatest value, for four iterations.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.values import Vector

ITERATIONS = 4

_SLAB = 1 << 16

Labels = NDArray[np.uint8]
"""Number of the centroid of every entry."""


@dataclasses.dataclass(frozen=True, slots=True)
class Clusters:
    """A tensor after clustering."""

    centroids: Vector
    """Ascending, no two alike, each used by at least one entry."""
    labels: Labels


def prune(tensor: Vector, share: float) -> Vector:
    """A copy of `tensor` with all but the largest `share` of it set to zero; ties are all kept."""
    kept = max(1, int(share * len(tensor)))
    sizes = np.abs(tensor)
    threshold = np.partition(sizes, len(tensor) - kept)[len(tensor) - kept]
    return np.where(sizes >= threshold, tensor, np.float32(0))


def cluster(tensor: Vector, k: int) -> Clusters:
    """One-dimensional k-means with at most `k` centroids; fewer where values or clusters are few.

    Lloyd's iterations need only counts and sums between the midpoints of neighbouring centroids,
    so the values are sorted once. A cluster that loses all its entries keeps its centroid for the
    iterations and is dropped at the end. Sums are taken one by one from zero outwards: the same on
    every machine, and large values do not swallow small ones.
    """
    values = np.sort(tensor[tensor != 0])
    sums = _sums_from_zero(values)
    zeros = len(tensor) - len(values)
    least = min(values[0], 0) if zeros and len(values) else float(np.min(tensor))
    most = max(values[-1], 0) if zeros and len(values) else float(np.max(tensor))
    centroids = least + (most - np.float64(least)) * np.arange(k) / max(k - 1, 1)
    for _ in range(ITERATIONS):
        bounds = _midpoints(centroids)
        below = np.searchsorted(values, bounds, side="right")
        totals = np.diff(sums[np.concatenate([[0], below, [len(values)]])])
        counts = np.diff(np.concatenate([[0], below + (bounds >= 0) * zeros, [len(tensor)]]))
        centroids = np.divide(totals, counts, out=centroids, where=counts > 0)
    return _labelled(tensor, centroids)


def label_counts(labels: Labels, alphabet: int) -> NDArray[np.int64]:
    """How often each label below `alphabet` occurs; by slabs, since bincount widens its input."""
    counts = np.zeros(alphabet, np.int64)
    for start in range(0, len(labels), _SLAB):
        counts += np.bincount(labels[start : start + _SLAB], minlength=alphabet)
    return counts


def _sums_from_zero(values: Vector) -> NDArray[np.float64]:
    """S of length n + 1, so that S[j] - S[i] is the sum of values i up to j, which ascend."""
    zero = int(np.searchsorted(values, 0))
    sums = np.zeros(len(values) + 1)
    np.cumsum(values[zero:], out=sums[zero + 1 :])
    np.cumsum(values[:zero][::-1], out=sums[:zero][::-1])
    np.negative(sums[:zero], out=sums[:zero])
    return sums


def _midpoints(centroids: NDArray[np.float64]) -> Vector:
    """For each two neighbours the greatest float32 that belongs to the lower one: ties go down."""
    middles = (centroids[:-1] + centroids[1:]) / 2
    bounds = middles.astype(np.float32)
    too_great = bounds.astype(np.float64) > middles
    lower: Vector = np.nextafter(bounds, np.float32(-np.inf))
    return np.where(too_great, lower, bounds)


def _labelled(tensor: Vector, centroids: NDArray[np.float64]) -> Clusters:
    """Every entry at its nearest centroid; unused centroids dropped, equal ones merged."""
    labels = np.zeros(len(tensor), np.uint8)
    for bound in _midpoints(centroids):
        labels += tensor > bound
    used = np.flatnonzero(label_counts(labels, len(centroids)))
    distinct, merged = np.unique(centroids[used].astype(np.float32), return_inverse=True)
    renumber = np.zeros(len(centroids), np.uint8)
    renumber[used] = merged
    return Clusters(centroids=distinct, labels=renumber[labels])
