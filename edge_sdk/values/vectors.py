"""The model as one flat vector, and pieces of it."""

import dataclasses
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
"""One-dimensional float32 array: every trainable parameter of a stage, in layout order."""

Tensors = Mapping[str, NDArray[np.float32]]
"""Float32 arrays by parameter name."""

F = TypeVar("F", bound=np.floating)


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One trainable tensor: its name in the graph and its shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))


@dataclasses.dataclass(frozen=True, slots=True)
class Layout:
    """The order in which a stage's parameters form one flat vector.

    Codecs, wire and server see only the vector; names and shapes live in the plan.
    """

    parameters: tuple[Parameter, ...]

    @property
    def size(self) -> int:
        """Length of the flat vector: the update's dimension."""
        return sum(parameter.size for parameter in self.parameters)

    def flatten(self, tensors: Tensors) -> Vector:
        """Concatenate `tensors` in layout order into a new float32 vector of length `size`."""
        if not self.parameters:
            return np.zeros(0, np.float32)
        flat = [np.asarray(tensors[p.name], np.float32).reshape(-1) for p in self.parameters]
        return np.concatenate(flat)

    def split(self, vector: Vector) -> dict[str, NDArray[np.float32]]:
        """Cut `vector` (length `size`) into named tensors; they are views, not copies."""
        if vector.shape != (self.size,):
            raise ValueError(f"vector of shape {vector.shape}, layout needs ({self.size},)")
        tensors: dict[str, NDArray[np.float32]] = {}
        start = 0
        for parameter in self.parameters:
            tensors[parameter.name] = vector[start : start + parameter.size].reshape(
                parameter.shape
            )
            start += parameter.size
        return tensors


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands in its update: what a decoder knows besides the payload's own bytes."""

    dimension: int
    """Coordinates in the whole vector."""
    index: int
    """This chunk's number, 0 up to `count - 1`."""
    count: int
    """Chunks in the update."""
    seed: int
    """The update's seed, from the frame header; chunk seeds are derived from it and `index`."""


@dataclasses.dataclass(frozen=True, slots=True)
class Coordinates:
    """A regular set of coordinates: runs of `run` neighbours, each run `step` after the last.

    A contiguous span is one run. Chunks that deal blocks round-robin are many. The last run may be
    shorter. Checked when made, so that whoever holds one may index with it.
    """

    first: int
    run: int
    step: int
    size: int

    def __post_init__(self) -> None:
        if self.first < 0 or self.run < 1 or self.step < self.run or self.size < 0:
            raise ValueError(f"not a set of coordinates: {self}")

    @classmethod
    def span(cls, first: int, size: int) -> "Coordinates":
        """The `size` neighbours from `first` on."""
        return cls(first=first, run=max(size, 1), step=max(size, 1), size=size)

    @property
    def end(self) -> int:
        """One past the last coordinate."""
        if self.size == 0:
            return self.first
        full, rest = divmod(self.size, self.run)
        last = full if rest else full - 1
        return self.first + last * self.step + (rest or self.run)

    def add(self, values: NDArray[np.floating], onto: NDArray[np.floating]) -> None:
        """`onto[these] += values`, in place; `values` has length `size`, `onto` at least `end`."""
        runs, tail = self._views(onto)
        runs += values[: runs.size].reshape(runs.shape)
        tail += values[runs.size :]

    def put(self, values: NDArray[np.floating], into: NDArray[np.floating]) -> None:
        """`into[these] = values`, in place; `values` has length `size`, `into` at least `end`."""
        runs, tail = self._views(into)
        runs[...] = values[: runs.size].reshape(runs.shape)
        tail[...] = values[runs.size :]

    def take(self, vector: NDArray[np.float32]) -> Vector:
        """Copy of `vector[these]`, length `size`."""
        runs, tail = self._views(vector)
        return np.concatenate([runs.reshape(-1), tail]).astype(np.float32, copy=False)

    def _views(self, array: NDArray[F]) -> tuple[NDArray[F], NDArray[F]]:
        """Writable views of the full runs, shape (n, run), and of the short last run."""
        if array.ndim != 1 or len(array) < self.end:
            raise ValueError(f"array of shape {array.shape} does not reach coordinate {self.end}")
        full, rest = divmod(self.size, self.run)
        item = array.strides[0]
        runs = np.lib.stride_tricks.as_strided(
            array[self.first :], shape=(full, self.run), strides=(self.step * item, item)
        )
        start = self.first + full * self.step
        return runs, array[start : start + rest]


@dataclasses.dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk decodes to: float32 values at some coordinates of the whole vector."""

    where: Coordinates
    values: Vector
