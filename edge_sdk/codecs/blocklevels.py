"""Which level every block gets: rounded at random so that its expected size is its own.

Sampling weak blocks is the same step: level 0 is "not sent", and a block half the size of the first
level is sent every other time, at that level.
"""

import numpy as np

from edge_sdk.codecs.ladder import Levels, Reals, neighbours
from edge_sdk.codecs.signs import random_words, stream_key

_ORDER, _START = 0x4F524452, 0x53544152
"""Purposes of the two streams of random numbers."""


def draw_levels(sizes: Reals, lowest: int, seed: tuple[int, ...]) -> Levels:
    """Level of every block.

    Systematic sampling: the probabilities of being raised are laid end to end, blocks of one level
    together and in random order among them, and a block is raised where its stretch holds a point
    of a grid of spacing 1 with a random start. Each block is raised with its probability, and how
    many are raised at each level is off the expectation by less than two.

    Args:
        sizes: root mean squares in steps.
        lowest: the first level that is sent.
        seed: numbers below 2**32; the same seed draws the same levels.
    """
    lower, upper, share = neighbours(sizes, lowest)
    stretch = np.floor(share * 2.0**32).astype(np.uint64)
    del share  # memory here grows with the number of blocks of the whole update
    shuffle = random_words(stream_key(_ORDER, *seed), first=0, count=len(sizes))
    order = np.lexsort((shuffle, lower))
    start = random_words(stream_key(_START, *seed), first=0, count=1)[0]
    stretch = stretch[order]
    ends = np.cumsum(stretch)
    ends += np.uint64(start)
    stretch = ends - stretch
    ends >>= np.uint64(32)
    stretch >>= np.uint64(32)
    raised = order[ends > stretch]
    lower[raised] = upper[raised]
    return lower
