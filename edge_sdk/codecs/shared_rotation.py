"""One rotation for all updates of a round: sum first, turn back once.

A server states one `rotation_seed` in the tasks of a round; every device encodes with
`with_shared_rotation(codec, rotation_seed)`. The server hands what each chunk decodes to before
turning back (`Dithered.decode_rotated`) to a `RotatedSum` and turns the sum back at the round's
end: one inverse rotation instead of one for each device. Dither makes it exactly unbiased and the
errors of devices independent, however alike their updates are (`dithered`).
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.dithered import Dithered, Rotated, rotated_size, turn_back
from edge_sdk.codecs.signs import stream_key
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.values import Vector

Doubles = NDArray[np.float64]


def rotation_of(rotation_seed: int) -> int:
    """The number of the rotation that a seed below 2**53 names."""
    return stream_key(rotation_seed & 0xFFFFFFFF, rotation_seed >> 32)


def with_shared_rotation(codec: Codec, rotation_seed: int | None) -> Codec:
    """`codec` under the rotation of a round; unchanged if it shares none or no seed is stated."""
    if not isinstance(codec, Dithered) or rotation_seed is None:
        return codec
    return dataclasses.replace(codec, rotation=rotation_of(rotation_seed))


class RotatedSum:
    """Weighted sum of the updates of one round before the rotation is undone.

    Holds 16 bytes per coordinate for each size of largest block that devices chose: one, unless
    they cut their updates into chunks of very different sizes.
    """

    def __init__(self, dimension: int, *, rotation_seed: int) -> None:
        self._dimension = dimension
        self._rotation = rotation_of(rotation_seed)
        self._sums: dict[int, Doubles] = {}
        self._weights: dict[int, Doubles] = {}

    def add(self, rotated: Rotated, weight: float) -> None:
        """Take one chunk in. Chunks that do not come are simply never added.

        Raises:
            Corrupt: another rotation, or more coordinates than the vector has; nothing was added.
            Misuse: the weight is not positive.
        """
        if not weight > 0:
            raise Misuse(f"weight {weight}")
        if rotated.rotation != self._rotation:
            raise Corrupt(f"rotation {rotated.rotation}, this round has {self._rotation}")
        size = rotated_size(self._dimension, rotated.largest)
        part = slice(rotated.first, rotated.first + len(rotated.values))
        if part.stop > size:
            raise Corrupt(f"coordinates up to {part.stop} of a vector of {size}")
        for arrays in (self._sums, self._weights):
            if rotated.largest not in arrays:
                arrays[rotated.largest] = np.zeros(size)
        self._sums[rotated.largest][part] += np.multiply(rotated.values, weight, dtype=np.float64)
        self._weights[rotated.largest][part] += weight

    def means(self) -> Iterator[tuple[Vector, Doubles]]:
        """For every largest block: the weighted mean, turned back, and each coordinate's weight.

        A chunk holds whole blocks, so weights are equal within a block and the mean of the rotated
        is the rotated mean. Both are zero where nothing came.
        """
        for largest, sums in sorted(self._sums.items()):
            weights = self._weights[largest]
            mean = np.zeros_like(sums)
            np.divide(sums, weights, out=mean, where=weights > 0)
            turned = turn_back(
                mean, dimension=self._dimension, largest=largest, rotation=self._rotation
            )
            yield turned, weights[: self._dimension]

    def add_onto(self, onto: Doubles, covered: Doubles) -> None:
        """Add the weighted sum to `onto` and the weights to `covered`, as `decode_onto` does."""
        for mean, weights in self.means():
            onto += mean * weights
            covered += weights
