"""Krum: take the updates whose neighbours are nearest.

Blanchard et al. 2017: of n updates, at most f bad, each gets as its score the sum of its n - f - 2
smallest squared distances to others; the lowest scores are taken. Why it holds: a bad update that
is taken scores no more than some honest one, whose score is at most (n - f - 2) D^2; of its own
n - f - 2 neighbours at least n - 2 f - 2 are honest, so one of those lies within
`D sqrt((n - f - 2) / (n - 2 f - 2))`. What is missing of an update counts as zero here.
"""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from server_ref.robust.blocks import Rows

Matrix = NDArray[np.float64]

SLAB_BYTES = 4 << 20
"""What the float64 copy of a part of a block may take."""


def squared_distances(blocks: Iterable[Rows], updates: int) -> Matrix:
    """Between all pairs, shape (updates, updates).

    Products are summed by numpy's own loop, not by BLAS: the same for any number of threads.
    """
    products = np.zeros((updates, updates))
    slab = max(1, SLAB_BYTES // (8 * updates))
    for rows in blocks:
        for start in range(0, len(rows), slab):
            wide = np.nan_to_num(rows[start : start + slab].T.astype(np.float64))
            products += np.einsum("ik,jk->ij", wide, wide, optimize=False)
    lengths = np.diag(products)
    return np.maximum(lengths[:, None] + lengths[None, :] - 2 * products, 0.0)


def krum_scores(distances: Matrix, f: int) -> NDArray[np.float64]:
    """Sum of the `n - f - 2` smallest squared distances of each update to others."""
    n = len(distances)
    others = np.sort(distances + np.diag(np.full(n, np.inf)), axis=1)
    return np.cumsum(others[:, : n - f - 2], axis=1)[:, -1]


def picked(distances: Matrix, *, f: int, pick: int) -> list[int]:
    """The `pick` updates with the lowest scores, in their own order; ties go to the earlier."""
    order = np.argsort(krum_scores(distances, f), kind="stable")
    return sorted(order[:pick].tolist())
