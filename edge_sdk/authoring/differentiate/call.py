"""What a gradient rule sees of one forward node."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NoReturn

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.graph import Node
from edge_sdk.errors import Unsupported


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """A forward node on the way back."""

    builder: Builder
    node: Node
    cotangents: tuple[Value | None, ...]
    """By output; None where nothing downstream depends on it."""
    active: frozenset[str]
    """Values some wanted value feeds into."""

    @property
    def dy(self) -> Value:
        """Cotangent of the first output; a rule for one output needs no other."""
        cotangent = self.cotangents[0]
        if cotangent is None:
            raise self.unsupported("the loss depends on a secondary output")
        return cotangent

    def x(self, index: int) -> Value:
        """An input that is there."""
        return self.builder.value(self.node.inputs[index])

    def has(self, index: int) -> bool:
        """Whether an optional input is there."""
        return index < len(self.node.inputs) and bool(self.node.inputs[index])

    def y(self, index: int = 0) -> Value:
        """An output; an optional one is switched on where it was left out."""
        return self.builder.extra_output(self.node, index)

    def wants(self, index: int) -> bool:
        """Whether anyone uses the cotangent of this input."""
        return self.has(index) and self.node.inputs[index] in self.active

    def integer(self, name: str, default: int) -> int:
        """An integer attribute."""
        value = self.node.attributes.get(name, default)
        return value if isinstance(value, int) else self._wrong(name)

    def number(self, name: str, default: float) -> float:
        """A real attribute."""
        value = self.node.attributes.get(name, default)
        return value if isinstance(value, int | float) else self._wrong(name)

    def integers(self, name: str) -> tuple[int, ...] | None:
        """A list attribute; None where it is left out."""
        value = self.node.attributes.get(name)
        if value is None:
            return None
        if isinstance(value, tuple):
            return tuple(int(v) for v in value)
        return self._wrong(name)

    def text(self, name: str, default: str) -> str:
        """A text attribute."""
        value = self.node.attributes.get(name, default)
        return value if isinstance(value, str) else self._wrong(name)

    def spatial(self, value: Value) -> tuple[int, ...]:
        """Sizes of all axes after batch and channels, which must be known now."""
        sizes = [size for size in value.shape[2:] if isinstance(size, int)]
        if len(sizes) < value.rank - 2:
            raise self.unsupported("it needs image sizes known when the plan is made")
        return tuple(sizes)

    def fixed(self, value: Value, axis: int) -> int:
        """Size of one axis, which must be known now."""
        size = value.shape[axis]
        if not isinstance(size, int):
            raise self.unsupported(f"it needs the size of axis {axis} known when the plan is made")
        return size

    def unsupported(self, why: str) -> Unsupported:
        """The error for a case without a rule."""
        return Unsupported(f"{self.node}: no gradient: {why}")

    def _wrong(self, name: str) -> NoReturn:
        raise self.unsupported(f"attribute {name!r} is of another type than the operator's")


Gradient = Callable[[Call], Sequence[Value | None]]


@dataclasses.dataclass(frozen=True, slots=True)
class Rule:
    """How cotangents pass one operator."""

    gradient: Gradient
    fixed: frozenset[int] = frozenset()
    """Float inputs that are settings rather than data (bounds, scales): never trained."""
    every_output: bool = False
    """Whether it takes cotangents of all outputs; else the walk refuses those of later ones."""
