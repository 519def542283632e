"""Median and trimmed mean of each coordinate, over the updates that carry it."""

import numpy as np
from numpy.typing import NDArray

from server_ref.robust.blocks import Rows


def sort_rows(rows: Rows) -> NDArray[np.int64]:
    """Sort each coordinate's values, in place, what is missing last; how many there are."""
    rows.sort(axis=1)
    counts: NDArray[np.int64] = rows.shape[1] - np.isnan(rows).sum(axis=1)
    return counts


def median_of(rows: Rows) -> NDArray[np.float64]:
    """The middle value, or the mean of the two middle ones; 0 where nothing arrived.

    `rows` is sorted in place.
    """
    counts = sort_rows(rows)
    lower = np.maximum(counts - 1, 0) // 2
    upper = counts // 2
    low, high = (
        np.take_along_axis(rows, at[:, None], axis=1)[:, 0].astype(np.float64)
        for at in (lower, upper)
    )
    return np.where(counts > 0, (low + high) / 2, 0.0)


def cut(count: int, beta: float) -> int:
    """Values left out at each end of `count`: `floor(beta count)`."""
    return int(beta * count + 1e-9)


def trimmed_mean_of(rows: Rows, beta: float) -> NDArray[np.float64]:
    """Mean without the `cut` largest and smallest; 0 where nothing arrived.

    `rows` is sorted in place. Values are added one rank after the other: the same sum everywhere.
    """
    counts = sort_rows(rows)
    means = np.zeros(len(rows))
    for count in np.unique(counts[counts > 0]).tolist():
        here = counts == count
        aside = cut(count, beta)
        total = np.zeros(int(here.sum()))
        for rank in range(aside, count - aside):
            total += rows[here, rank]
        means[here] = total / (count - 2 * aside)
    return means
