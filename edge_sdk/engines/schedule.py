"""Which batches training goes through, in which order."""

from collections.abc import Iterable, Iterator
from typing import TypeGuard

import numpy as np

from edge_sdk.engines.tally import Tally
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Batch, Dataset
from edge_sdk.values import Checkpoint, TrainSettings


def epoch_seed(seed: int, epoch: int) -> int:
    """Seed of the order of the examples in one epoch; below 2**53."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0] >> 11)


def schedule(
    data: Dataset | Iterable[Batch],
    settings: TrainSettings,
    tally: Tally,
    resumed: Checkpoint | None,
) -> Iterator[tuple[int, int, Batch]]:
    """Every batch still to be trained on, with its epoch and its place in it.

    Raises:
        Misuse: the data were used up by the first epoch.
    """
    first, skipped = (0, 0) if resumed is None else (resumed.epoch, resumed.batches)
    for epoch in range(first, settings.epochs):
        tally.begin_epoch()
        batches = batches_of(data, size=settings.batch_size, seed=epoch_seed(settings.seed, epoch))
        for index, batch in enumerate(batches):
            if epoch == first and index < skipped:
                continue
            if settings.most_steps is not None and tally.steps >= settings.most_steps:
                return
            yield epoch, index, batch
        if epoch and tally.found_nothing:
            raise Misuse("the data gave nothing in its second epoch; give a list, not iter()")


def _is_dataset(data: Dataset | Iterable[Batch]) -> TypeGuard[Dataset]:
    return hasattr(data, "batches")


def batches_of(data: Dataset | Iterable[Batch], *, size: int, seed: int | None) -> Iterable[Batch]:
    """One pass over a dataset; other iterables are taken as they are."""
    if _is_dataset(data):
        return data.batches(size=size, seed=seed)
    if isinstance(data, Iterable):
        return data
    raise Misuse(f"{type(data).__name__} is neither a dataset nor an iterable of batches")
