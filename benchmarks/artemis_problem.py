"""The convex problem of `artemis`: logistic regression over devices that see different data.

    F(w) = mean over devices i of F_i(w),  F_i(w) = mean log(1 + exp(-y x.w)) + (mu / 2) |w|^2

in float64. Examples are scaled to a mean squared length of 1 and get a constant column. Each device
holds one class only, and within the class a slice along its main direction, all slices equally
long: the gradients of the devices at the optimum are far from zero, which is what `memory` is for.
The pull mu is `1/condition` of the smoothness of the rest, so that the optimum is near and found by
Newton steps to the last digit.
"""

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

DIGITS = Path(__file__).parents[1] / "rpi_demo" / "digits.npz"
SETS = ("libsvm_phishing", "libsvm_a9a", "libsvm_w8a", "digits")


@dataclasses.dataclass(frozen=True, slots=True)
class Problem:
    """Devices' examples, already signed: row `y x`."""

    name: str
    devices: tuple[Matrix, ...]
    """Per device: rows `y x`, shape (examples, dimension)."""
    pull: float
    """mu: coefficient of the squared norm."""
    smoothness: float
    """L of F, pull included."""

    @property
    def dimension(self) -> int:
        """Coordinates of the model."""
        return int(self.devices[0].shape[1])

    def value(self, weights: Matrix) -> float:
        """F at `weights`."""
        losses = [np.logaddexp(0.0, -(rows @ weights)).mean() for rows in self.devices]
        return float(np.mean(losses)) + self.pull / 2 * float(weights @ weights)

    def gradient(
        self, device: int, weights: Matrix, *, chosen: NDArray[np.int64] | None = None
    ) -> Matrix:
        """Of F_i, over all its examples or over those `chosen`."""
        rows = self.devices[device] if chosen is None else self.devices[device][chosen]
        gradient: Matrix = rows.T @ -_sigmoid(-(rows @ weights)) / len(rows)
        return gradient + self.pull * weights

    def optimum(self) -> Matrix:
        """Where F is least: Newton's method, whole steps from zero (F is well conditioned)."""
        weights = np.zeros(self.dimension)
        for _ in range(50):
            gradient = np.mean([self.gradient(i, weights) for i in range(len(self.devices))], 0)
            if np.abs(gradient).max() < 1e-15:
                break
            step = np.linalg.solve(self._hessian(weights), gradient)
            now = self.value(weights)
            while self.value(weights - step) > now + 1e-12:
                step = step / 2
            weights = weights - step
        return weights

    def _hessian(self, weights: Matrix) -> Matrix:
        total = self.pull * np.eye(self.dimension)
        for rows in self.devices:
            odds = _sigmoid(rows @ weights)
            total += (rows.T * (odds * (1 - odds))) @ rows / (len(rows) * len(self.devices))
        return total

    def heterogeneity(self) -> float:
        """Mean over devices of the squared norm of their gradients at the optimum: B squared."""
        best = self.optimum()
        return float(
            np.mean([np.square(self.gradient(i, best)).sum() for i in range(len(self.devices))])
        )


def load_problem(
    name: str, data_dir: Path | None, *, devices: int = 20, condition: float = 100.0
) -> Problem:
    """The training examples of a data set (digits: above 4 or not), split by class and direction.

    Raises:
        FileNotFoundError: the set is not in `data_dir`.
    """
    path = DIGITS if name == "digits" else (data_dir or Path()) / f"{name}.npz"
    with np.load(path, allow_pickle=False) as archive:
        x = archive["x_train"].reshape(len(archive["x_train"]), -1).astype(np.float64)
        y = archive["y_train"]
    return make_problem(name, x, y > (4 if name == "digits" else 0), devices, condition)


def make_problem(
    name: str, x: Matrix, positive: NDArray[np.bool_], devices: int, condition: float
) -> Problem:
    """Scale, add the constant column, split, and measure the smoothness."""
    x = np.hstack([x / np.sqrt(np.square(x).sum(1).mean()), np.ones((len(x), 1))])
    parts: list[Matrix] = []
    for sign, rows, count in (
        (1.0, x[positive], devices // 2),
        (-1.0, x[~positive], devices - devices // 2),
    ):
        centred = rows - rows.mean(0)
        along = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1]
        parts += [sign * part for part in np.array_split(rows[np.argsort(along)], count)]
    curvature = sum(rows.T @ rows / (4 * len(rows) * devices) for rows in parts)
    largest = float(np.linalg.eigvalsh(np.asarray(curvature))[-1])
    pull = largest / condition
    return Problem(name, tuple(parts), pull, largest + pull)


def _sigmoid(margins: Matrix) -> Matrix:
    positive: Matrix = 1 / (1 + np.exp(-np.abs(margins)))
    return np.where(margins >= 0, positive, 1 - positive)
