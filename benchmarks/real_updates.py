"""Updates as real training makes them: float32 federated averaging, kept at a few rounds.

    python -m benchmarks.real_updates [--data-dir DIR]

prints how uneven they are. Each update is one device's, after its local epochs, at an early, a
middle and a late round.
"""

import argparse
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np

from benchmarks.fleet import FLEETS, Fleet
from edge_sdk.values import Layout, Vector
from server_ref.aggregate import move

ROUNDS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "digits-mlp": (1, 5, 30),
        "digits-cnn": (1, 5, 30),
        "writers-mlp": (1, 5, 20),
        "writers-cnn": (1, 5, 20),
        "sensors-cnn": (1, 5, 20),
        "shakespeare-lstm": (1, 4, 12),
    }
)
"""Early, middle and late, counted from 1."""

PER_ROUND = 5
"""Devices that take part in a round, the same for all fleets."""


@dataclasses.dataclass(frozen=True, slots=True)
class RealUpdate:
    """One device's update."""

    name: str
    """Fleet and round, e.g. `digits-cnn-r5`."""
    vector: Vector
    layout: Layout


def real_updates(fleet: Fleet, rounds: Sequence[int], *, seed: int = 0) -> Iterator[RealUpdate]:
    """The first participant's update of each of `rounds`, which rise, counted from 1."""
    rng = np.random.default_rng(seed)
    engine = fleet.engine()
    weights = fleet.plan.initial_weights()
    for number in range(1, max(rounds) + 1):
        chosen = rng.choice(len(fleet.devices), PER_ROUND, replace=False)
        total, count = np.zeros(len(weights)), 0
        for device in chosen.tolist():
            update = fleet.update(engine, weights, device, seed=1000 * number + device)
            if number in rounds and device == chosen[0]:
                yield RealUpdate(f"{fleet.name}-r{number}", update, fleet.layout)
            examples = len(fleet.devices[device])
            total += update.astype(np.float64) * examples
            count += examples
        weights = move(weights, total / count)


def held_by_top(vector: Vector, share: float) -> float:
    """Share of the energy in the largest `share` of the coordinates."""
    energies = np.sort(np.square(vector.astype(np.float64)))[::-1]
    return float(energies[: max(int(share * len(energies)), 1)].sum() / energies.sum())


def kurtosis(vector: Vector) -> float:
    """Fourth moment over the squared second; 3 for normal values."""
    squares = np.square(vector.astype(np.float64))
    return float(np.mean(squares**2) / np.mean(squares) ** 2)


def main() -> None:
    """Print what the updates look like."""
    parser = argparse.ArgumentParser(description="How uneven real updates are.")
    parser.add_argument("--data-dir", type=Path, help="folder with the .npz files; else digits")
    options = parser.parse_args()
    print(f"{'update':22} {'size':>8} {'kurtosis':>9} {'top 1%':>7} {'top 10%':>7}")
    for name, make in FLEETS.items():
        if options.data_dir is None and not name.startswith("digits"):
            continue
        for update in real_updates(make(options.data_dir or Path()), ROUNDS[name]):
            vector = update.vector
            print(
                f"{update.name:22} {len(vector):8} {kurtosis(vector):9.1f} "
                f"{held_by_top(vector, 0.01):7.3f} {held_by_top(vector, 0.1):7.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
