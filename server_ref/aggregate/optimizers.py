"""What a round's mean does to the model. Pure; equal arguments give equal bits on one machine.

The mean of a round is the direction in which its devices moved: minus a gradient. FedAvg adds it
(McMahan et al., arXiv 1602.05629; with a rate as in Reddi et al.), momentum adds a running sum
(Hsu et al., arXiv 1909.06335), FedAdam scales each coordinate by its history (Reddi et al.,
arXiv 2003.00295, algorithm 2: no bias correction, the second moment begins at `epsilon` squared).

Coordinates that nobody trained in a round (a stage not reached, a chunk that got lost) keep weight
and history. History is rounded to float32 each time, because that is what a restart finds.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_sdk.values import Vector

Name = Literal["fedavg", "momentum", "fedadam"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptimizer:
    """Which one, and its numbers."""

    name: Name = "fedavg"
    learning_rate: float = 1.0
    momentum: float = 0.9
    """Of momentum; of FedAdam the first moment's."""
    second: float = 0.99
    """FedAdam's decay of the second moment."""
    epsilon: float = 1e-3
    """FedAdam's degree of adaptivity."""


Moments = Mapping[str, Vector]
"""History by name; empty at the start."""

OPTIMIZERS: Mapping[Name, tuple[str, ...]] = MappingProxyType(
    {"fedavg": (), "momentum": ("momentum",), "fedadam": ("momentum", "second")}
)
"""Names of the history that each keeps."""


def optimize(
    optimizer: ServerOptimizer,
    weights: Vector,
    mean: NDArray[np.float64],
    covered: NDArray[np.bool_],
    moments: Moments,
) -> tuple[Vector, dict[str, Vector]]:
    """New weights and history.

    Args:
        optimizer: what to do.
        weights: of the model, float32.
        mean: of the round, float64, same length.
        covered: where the round has a mean; elsewhere nothing changes.
        moments: the history so far; missing ones begin afresh.
    """
    kept = {
        name: _history(moments.get(name), name, optimizer, len(weights)).astype(np.float64)
        for name in OPTIMIZERS[optimizer.name]
    }
    if optimizer.name == "fedavg":
        step = mean
    elif optimizer.name == "momentum":
        step = kept["momentum"] = optimizer.momentum * kept["momentum"] + mean
    else:
        beta, decay = optimizer.momentum, optimizer.second
        kept["momentum"] = beta * kept["momentum"] + (1 - beta) * mean
        kept["second"] = decay * kept["second"] + (1 - decay) * mean * mean
        step = kept["momentum"] / (np.sqrt(kept["second"]) + optimizer.epsilon)
    moved = (weights.astype(np.float64) + optimizer.learning_rate * step).astype(np.float32)
    history = {
        name: np.where(
            covered,
            values.astype(np.float32),
            _history(moments.get(name), name, optimizer, len(weights)),
        )
        for name, values in kept.items()
    }
    return np.where(covered, moved, weights), history


def _history(kept: Vector | None, name: str, optimizer: ServerOptimizer, size: int) -> Vector:
    if kept is not None and kept.shape == (size,):
        return kept
    return np.full(size, optimizer.epsilon**2 if name == "second" else 0.0, np.float32)


def averaged(average: Vector, weights: Vector, count: int) -> Vector:
    """Polyak and Ruppert's mean of models once `weights` is the `count`-th (from 1) of them."""
    if count == 1:
        return weights.copy()
    before = average.astype(np.float64)
    mean: Vector = (before + (weights.astype(np.float64) - before) / count).astype(np.float32)
    return mean
