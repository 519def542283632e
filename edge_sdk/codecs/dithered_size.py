"""How many bits `dithered` will take: what its encoder finds a step from.

Nothing a decoder does depends on it.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.blocks import Tiling
from edge_sdk.codecs.eden import to_whole_numbers
from edge_sdk.codecs.rotation import Rows
from edge_sdk.values import Vector

Doubles = NDArray[np.float64]

_SLAB = 1 << 16
_BITS = (
    *(0.074, 0.095, 0.121, 0.150, 0.192, 0.251, 0.343, 0.482, 0.677, 0.936, 1.280, 1.677),
    *(2.157, 2.621, 3.124, 3.604, 4.114, 4.599, 5.111, 5.598, 6.110, 6.598, 7.109, 7.598),
)
"""Measured bits for each normal value whose variance is 2**-12, 2**-11, … squares of a step."""
_FIRST_OCTAVE = -12


@dataclasses.dataclass(frozen=True, slots=True)
class Blocks:
    """What the step is found from."""

    dimension: int
    sizes: Doubles
    """Coordinates of every block."""
    energies: Doubles
    """Squared norm of every block."""

    @classmethod
    def of(cls, vector: Vector, tiling: Tiling) -> "Blocks":
        """The blocks of a vector."""
        sizes, energies = [], []
        for run in tiling.runs(0, tiling.blocks, most=_SLAB):
            rows = run.rows_of(vector)
            exponents = to_whole_numbers(rows)
            energies.append(whole_energies(rows, exponents))
            sizes.append(np.full(run.blocks, float(run.size)))
        return cls(len(vector), np.concatenate(sizes), np.concatenate(energies))

    def error(self, step: float) -> float:
        """Expected error over the squared norm; blocks of zeros have none."""
        lost = float(np.cumsum(np.where(self.energies > 0, self.sizes, 0))[-1]) * step * step / 12
        return lost / float(np.cumsum(self.energies)[-1]) if lost else 0.0

    @property
    def even(self) -> bool:
        """Whether the blocks are about equally strong."""
        variances = self.energies / self.sizes
        return float(variances.max()) <= 2 * float(np.median(variances))


def whole_energies(rows: Rows, exponents: NDArray[np.int32]) -> Doubles:
    """Squared norm of each row of whole numbers times 2**exponent, exact."""
    wide = rows.astype(np.float64)
    energies: Doubles = np.ldexp(np.einsum("bn,bn->b", wide, wide), 2 * exponents[:, 0])
    return energies


def predicted_bits(ratios: Doubles, sizes: Doubles) -> Doubles:
    """Bits of each block, whose variances are `ratios` squares of a step."""
    fractions, octaves = np.frexp(ratios)
    above = 2 * fractions - 1
    logarithms = octaves - 1 + above * (1.344 - 0.344 * above)
    places = np.clip(logarithms - _FIRST_OCTAVE, 0, len(_BITS) - 2)
    table = np.array(_BITS)
    whole = places.astype(np.int64)
    bits = table[whole] + (places - whole) * (table[whole + 1] - table[whole])
    bits += np.maximum(logarithms - _FIRST_OCTAVE - (len(_BITS) - 2), 0) / 2
    return np.where(ratios > 0, bits, 0) * sizes
