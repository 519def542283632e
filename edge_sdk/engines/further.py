"""Inputs of train graphs beside batch, learning rate, weights and state.

See `edge_sdk.plan.conventions`: each is fed where the graph has it.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Batch
from edge_sdk.plan.conventions import (
    APPLY,
    CORRECTION_SUFFIX,
    PROXIMITY,
    SEED,
    SHARE,
    START_SUFFIX,
)
from edge_sdk.values import Layout, Vector

Feeds = Mapping[str, NDArray[np.generic]]


def step_seed(seed: int, run: int) -> int:
    """What a train graph with dropout draws its masks of one run from; below 2**32."""
    return int(np.random.SeedSequence([seed, run, 1]).generate_state(1, np.uint32)[0])


def further_names(parameters: Sequence[str]) -> frozenset[str]:
    """All inputs of this kind that a train graph may have."""
    suffixes = (START_SUFFIX, CORRECTION_SUFFIX)
    beside = {name + suffix for name in parameters for suffix in suffixes}
    return frozenset({SEED, PROXIMITY, SHARE, APPLY, *beside})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of the train graph."""

    batch: Batch
    share: float
    """Of the step's examples."""
    feeds: Feeds


class FurtherInputs:
    """What to feed in one training session.

    Args:
        names: the graph's inputs.
        layout: of `start` and `correction`.
        start: weights of the round.
        seed: of the session.
        proximity: weight of FedProx's term.
        correction: added to every gradient; nothing where None.
        piece_size: most examples in one run; all of a batch where None.
        runs: done before, of training that goes on.

    Raises:
        Misuse: the graph lacks what is asked for, or `correction` has another size.
    """

    def __init__(
        self,
        names: set[str],
        layout: Layout,
        start: Vector,
        *,
        seed: int,
        proximity: float = 0.0,
        correction: Vector | None = None,
        piece_size: int | None = None,
        runs: int = 0,
    ) -> None:
        self._names = names
        self._seed = seed
        self._piece_size = piece_size
        self.done = runs
        """Runs so far."""
        lacks = {
            "proximal term": proximity != 0 and PROXIMITY not in names,
            "correction": correction is not None
            and not any(name.endswith(CORRECTION_SUFFIX) for name in names),
            "way to gather gradients": piece_size is not None and APPLY not in names,
        }
        for what, missing in lacks.items():
            if missing:
                raise Misuse(f"this plan's train graph has no {what}")
        if correction is not None and correction.shape != (layout.size,):
            raise Misuse(f"correction of shape {correction.shape}, weights of ({layout.size},)")
        added = np.zeros(layout.size, np.float32) if correction is None else correction
        held: dict[str, NDArray[np.generic]] = {PROXIMITY: np.array(proximity, np.float32)}
        for vector, suffix in ((start, START_SUFFIX), (added, CORRECTION_SUFFIX)):
            tensors = layout.split(np.array(vector, np.float32, order="C"))
            held |= {name + suffix: tensor for name, tensor in tensors.items()}
        self._held = {name: array for name, array in held.items() if name in names}

    def runs(self, batch: Batch) -> Iterator[Run]:
        """The runs that make one step of a batch."""
        x, y = batch
        size = self._piece_size or max(len(x), 1)
        starts = range(0, max(len(x), 1), size)
        for start in starts:
            piece = (x[start : start + size], y[start : start + size])
            share = len(piece[0]) / max(len(x), 1)
            feeds = dict(self._held)
            if SEED in self._names:
                feeds[SEED] = np.array(step_seed(self._seed, self.done), np.int64)
            if APPLY in self._names:
                feeds[SHARE] = np.array(share, np.float32)
                feeds[APPLY] = np.array(start == starts[-1])
            self.done += 1
            yield Run(batch=piece, share=share, feeds=feeds)
