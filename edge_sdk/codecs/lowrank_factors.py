"""Matrices as a few outer products: what is sent of them, and how they are found.

A component is scale * u v^T with small whole numbers u and v. Components are found one after
another by power iteration on what the earlier ones left. All sums are of whole numbers that float64
holds exactly, so every machine finds the same components. They need not be good: what they miss is
coded as the residual.
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.bitstream import BitReader, BitWriter
from edge_sdk.codecs.ladder import Reals
from edge_sdk.codecs.symbols import read_coefficients, write_coefficients
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Vector

MOST_FACTOR = 2047
"""Largest magnitude of an element of u or v: products are exact in float32."""
MOST_RANK = 63
_SIZE_BITS = 23
_MOST_SCALE = 0x7000
"""Upper half of 2**97: products and sums of components stay float32."""

_LEAST_ENTRY = 2.0**-60
_ENTRY_BITS, _VECTOR_BITS = 11, 15
"""Sizes of entries and of vectors in the power iteration: their products sum up below 2**53."""
_ROUNDS = 3
_LEAST_LEVELS, _MOST_LEVELS = 1.5, 200.0
_BALANCE = 11.0
"""See `_levels`."""

Matrix32 = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class Matrix:
    """Where a matrix lies in the flat vector, row after row."""

    first: int
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.first < 0 or self.rows < 1 or self.columns < 1:
            raise Misuse(f"not a matrix: {self}")

    @property
    def end(self) -> int:
        """One past its last coordinate."""
        return self.first + self.rows * self.columns

    def of(self, vector: Vector) -> Matrix32:
        """A view of `vector`, shape (rows, columns)."""
        return vector[self.first : self.end].reshape(self.rows, self.columns)

    def within(self, first: int, end: int) -> "Matrix | None":
        """The whole rows that lie between two coordinates, placed from `first`; None for none."""
        top = max(0, -(-(first - self.first) // self.columns))
        bottom = min(self.rows, (end - self.first) // self.columns)
        if bottom <= top:
            return None
        return Matrix(self.first + top * self.columns - first, bottom - top, self.columns)


@dataclasses.dataclass(frozen=True, slots=True)
class Component:
    """One outer product."""

    u: NDArray[np.int32]
    v: NDArray[np.int32]
    code: int
    """Upper half of the scale's float32."""

    @property
    def scale(self) -> np.float32:
        """What one unit of a product stands for."""
        return _scale_of(self.code)

    def product(self) -> Matrix32:
        """The matrix scale * u v^T, each entry rounded once."""
        product = np.multiply.outer(self.u.astype(np.float32), self.v.astype(np.float32))
        product *= self.scale
        return product


Parts = list[tuple[Matrix, list[Component]]]
"""Matrices with at least one component each, ascending, apart from each other."""


def find_component(rest: Matrix32) -> Component | None:
    """The strongest component of a matrix, roughly; None if there is none to speak of."""
    largest = float(np.max(np.abs(rest)))
    if largest < _LEAST_ENTRY:
        return None
    exponent = int(np.frexp(largest)[1]) - _ENTRY_BITS
    whole = np.rint(np.ldexp(rest.astype(np.float64), -exponent))
    by_row = np.einsum("ij,ij->i", whole, whole)
    v, _ = _fit(whole[int(np.argmax(by_row))])
    for _ in range(_ROUNDS):
        u, _ = _fit(whole @ v)
        v, _ = _fit(whole.T @ u)
    levels = _levels(_energy(whole.T @ u) / _energy(u), float(by_row.sum()), rest.shape)
    u = np.clip(np.rint(u / (np.sqrt(_energy(u) / len(u)) / levels)), -MOST_FACTOR, MOST_FACTOR)
    v = whole.T @ u / _energy(u)
    code = int(np.float32(np.sqrt(_energy(v) / len(v)) / levels).view(np.uint32)) >> 16
    v = np.clip(np.rint(v / _scale_of(code)), -MOST_FACTOR, MOST_FACTOR)
    code += exponent << 7
    if not 0 < code <= _MOST_SCALE:
        return None
    return Component(u.astype(np.int32), v.astype(np.int32), code)


def _fit(vector: Reals) -> tuple[Reals, int]:
    """Whole numbers w below 2**`_VECTOR_BITS` and e with w * 2**e about `vector`."""
    exponent = int(np.frexp(float(np.max(np.abs(vector))))[1]) - _VECTOR_BITS
    return np.rint(np.ldexp(vector, -exponent)), exponent


def _energy(vector: Reals) -> float:
    """Sum of squares, after rounding to `_VECTOR_BITS` so that every order of summing agrees."""
    whole, exponent = _fit(vector)
    return float(np.ldexp(np.square(whole).sum(), 2 * exponent))


def _scale_of(code: int) -> np.float32:
    """A float32 by its upper half."""
    return np.uint32(code << 16).view(np.float32)


def _levels(captured: float, energy: float, shape: tuple[int, ...]) -> float:
    """Levels per root mean square of u and v.

    Rounding u and v loses captured / (6 levels**2), which the residual then has to carry; half a
    step costs one bit for each of rows + columns numbers. The two balance about where
    levels**2 = captured / (11 (rows + columns) s), s being what is left per coordinate.
    """
    rows, columns = shape
    left = max((energy - captured) / (rows * columns), energy * 2.0**-24, 1e-300)
    wanted = float(np.sqrt(captured / (_BALANCE * (rows + columns) * left)))
    return min(max(wanted, _LEAST_LEVELS), _MOST_LEVELS)


def write_parts(writer: BitWriter, parts: Parts) -> None:
    """Shapes and scales, then all u and v as one list of coefficients."""
    writer.number(len(parts), 12)
    for matrix, components in parts:
        for number in (matrix.first, matrix.rows, matrix.columns):
            writer.number(number, _SIZE_BITS)
        writer.number(len(components), 6)
        for component in components:
            writer.number(component.code, 15)
    vectors = [x for _, components in parts for c in components for x in (c.u, c.v)]
    if vectors:
        write_coefficients(writer, np.concatenate(vectors))


def read_parts(reader: BitReader, span: int) -> Parts:
    """What `write_parts` wrote, for a chunk of `span` coordinates.

    Raises:
        Malformed: the bits end early or break the format.
    """
    heads: list[tuple[Matrix, list[int]]] = []
    end, elements = 0, 0
    for _ in range(reader.number(12)):
        matrix, codes = _read_head(reader)
        elements += (matrix.rows + matrix.columns) * len(codes)
        if matrix.first < end or matrix.end > span or elements > span:
            raise Corrupt("matrices overlap or reach beyond the chunk, or have too many factors")
        end = matrix.end
        heads.append((matrix, codes))
    factors = read_coefficients(reader, elements)
    if elements and int(np.max(np.abs(factors))) > MOST_FACTOR:
        raise Corrupt(f"a factor is over {MOST_FACTOR}")
    parts: Parts = []
    at = 0
    for matrix, codes in heads:
        components: list[Component] = []
        for code in codes:
            middle, stop = at + matrix.rows, at + matrix.rows + matrix.columns
            components.append(Component(factors[at:middle], factors[middle:stop], code))
            at = stop
        parts.append((matrix, components))
    return parts


def _read_head(reader: BitReader) -> tuple[Matrix, list[int]]:
    """One matrix and the codes of its components' scales."""
    first, rows, columns = (reader.number(_SIZE_BITS) for _ in range(3))
    codes = [reader.number(15) for _ in range(reader.number(6))]
    if not rows or not columns or not codes or not 0 < min(codes) <= max(codes) <= _MOST_SCALE:
        raise Corrupt("head of a matrix is outside the format")
    return Matrix(first, rows, columns), codes


def add_parts(parts: Parts, onto: Vector) -> None:
    """Add every component, in order, to the coordinates of its matrix, in place."""
    for matrix, components in parts:
        target = matrix.of(onto)
        for component in components:
            target += component.product()
