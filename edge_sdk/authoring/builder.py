"""Writes nodes: typed values with operators, each generated node inferred as it is made.

A `Value` is a name in a growing graph; `a * b + 1.0` on values appends nodes. Constants are shared
by content. Names are drawn from a counter, so the same calls give the same graph.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.authoring.graph import Array, Attribute, Graph, Node, Type
from edge_sdk.authoring.onnx_form import element_type, infer_outputs

Scalar = float | int


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor in the graph of `builder`."""

    builder: "Builder"
    name: str
    type: Type

    @property
    def shape(self) -> tuple[int | str | None, ...]:
        """Dimensions; the number of axes is known of every value the builder holds."""
        assert self.type.shape is not None  # noqa: S101 - checked when the value was made
        return self.type.shape

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def constant(self) -> Array | None:
        """The value itself where it is known now."""
        return self.builder.constants.get(self.name)

    def __add__(self, other: "Value | Scalar") -> "Value":
        return self.builder.op("Add", self, self._lift(other))

    def __sub__(self, other: "Value | Scalar") -> "Value":
        return self.builder.op("Sub", self, self._lift(other))

    def __rsub__(self, other: Scalar) -> "Value":
        return self.builder.op("Sub", self._lift(other), self)

    def __mul__(self, other: "Value | Scalar") -> "Value":
        return self if other == 1 else self.builder.op("Mul", self, self._lift(other))

    def __truediv__(self, other: "Value | Scalar") -> "Value":
        return self.builder.op("Div", self, self._lift(other))

    def __neg__(self) -> "Value":
        return self.builder.op("Neg", self)

    def __matmul__(self, other: "Value") -> "Value":
        return self.builder.op("MatMul", self, other)

    def cast(self, dtype: np.dtype[np.generic]) -> "Value":
        """Converted elements; itself where nothing changes."""
        return self if self.type.dtype == dtype else self.builder.cast(self, dtype)

    def reshape(self, *shape: int) -> "Value":
        """Other axes; 0 keeps the axis at that position, one -1 is worked out."""
        return self.builder.op("Reshape", self, self.builder.ints(shape))

    def reshape_like(self, other: "Value") -> "Value":
        """The axes of `other`; itself where nothing changes."""
        if self.type.shape == other.type.shape and None not in self.shape:
            return self
        shape = self.builder.shape_of(other)
        typed = Type(self.type.dtype, other.shape)
        if 0 in other.shape:
            return self.builder.op("Reshape", self, shape, typed=typed, allowzero=1)
        return self.builder.op("Reshape", self, shape, typed=typed)

    def transpose(self, *order: int) -> "Value":
        """Axes in another order; itself where nothing changes."""
        if order == tuple(range(self.rank)):
            return self
        return self.builder.op("Transpose", self, perm=order)

    def sum(self, *axes: int, keepdims: bool = False) -> "Value":
        """Sum over some axes, or over all where none is given."""
        which = [self.builder.ints(axes)] if axes else []
        return self.builder.op("ReduceSum", self, *which, keepdims=int(keepdims))

    def _lift(self, other: "Value | Scalar") -> "Value":
        if isinstance(other, Value):
            return other
        return self.builder.constant(np.array(other, self.type.dtype))


class Builder:
    """A graph under construction."""

    def __init__(self, base: Graph | None = None) -> None:
        self.nodes: list[Node] = list(base.nodes) if base else []
        self.types: dict[str, Type] = dict(base.types) if base else {}
        self.constants: dict[str, Array] = dict(base.constants) if base else {}
        self.parameters: dict[str, Array] = dict(base.parameters) if base else {}
        self._inputs: list[str] = list(base.inputs) if base else []
        self._shared: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._counter = 0

    # ------------------------------------------------------------------ values that exist

    def value(self, name: str) -> Value:
        """A value by name."""
        return Value(self, name, self.types[name])

    def input(self, name: str, kind: Type) -> Value:
        """A new graph input."""
        self._inputs.append(name)
        self.types[name] = kind
        return self.value(name)

    def parameter(self, name: str, array: Array) -> Value:
        """A new trainable tensor."""
        self.parameters[name] = array
        self.types[name] = Type(array.dtype, array.shape)
        return self.value(name)

    def constant(self, array: Array) -> Value:
        """A constant, shared with equal ones."""
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared:
            name = self.fresh("const")
            self._shared[key] = name
            self.constants[name] = array
            self.types[name] = Type(array.dtype, array.shape)
        return self.value(self._shared[key])

    def ints(self, numbers: Sequence[int]) -> Value:
        """A constant int64 vector: axes, a shape."""
        return self.constant(np.array(numbers, np.int64))

    def shape_of(self, value: Value) -> Value:
        """The shape as an int64 vector: a constant where at most one size is open and none is 0."""
        open_sizes = [size for size in value.shape if not isinstance(size, int)]
        if len(open_sizes) <= 1 and 0 not in value.shape:
            return self.ints([size if isinstance(size, int) else -1 for size in value.shape])
        return self.op("Shape", value)

    def shape_now(self, value: Value) -> Value:
        """The shape as an int64 vector without -1: a constant where every size is known."""
        sizes = [size for size in value.shape if isinstance(size, int)]
        return self.ints(sizes) if len(sizes) == value.rank else self.op("Shape", value)

    def shape_with(self, value: Value, axis: int, size: int) -> Value:
        """As `shape_of`, with another size on one axis."""
        sizes = [size if a == axis else s for a, s in enumerate(value.shape)]
        if sum(not isinstance(s, int) for s in sizes) <= 1 and 0 not in sizes:
            return self.ints([s if isinstance(s, int) else -1 for s in sizes])
        shape = self.op("Shape", value)
        where = self.ints([axis])
        return self.op("ScatterElements", shape, where, self.ints([size]), axis=0)

    # ------------------------------------------------------------------ new nodes

    def op(
        self,
        kind: str,
        *inputs: Value | None,
        named: str = "",
        typed: Type | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Append a node with one output.

        Args:
            kind: the operator.
            inputs: its inputs; None for one that is left out.
            named: name of the output; drawn where empty.
            typed: type of the output, where the rule knows better than inference.
            attributes: the operator's attributes.
        """
        output = named or self.fresh(kind.lower())
        while inputs and inputs[-1] is None:
            inputs = inputs[:-1]
        names = tuple(value.name if value else "" for value in inputs)
        node = Node(kind, names, (output,), attributes)
        self.types[output] = typed or infer_outputs(node, self.types, self.constants)[output]
        self.nodes.append(node)
        return self.value(output)

    def split(self, value: Value, axis: int, sizes: Sequence[int]) -> list[Value]:
        """Append a Split: consecutive pieces of these sizes along one axis."""
        outputs = tuple(self.fresh("split") for _ in sizes)
        shape = list(value.shape)
        for output, size in zip(outputs, sizes, strict=True):
            shape[axis] = size
            self.types[output] = Type(value.type.dtype, tuple(shape))
        inputs = (value.name, self.ints(sizes).name)
        self.nodes.append(Node("Split", inputs, outputs, {"axis": axis}))
        return [self.value(output) for output in outputs]

    def split_evenly(self, value: Value, axis: int, count: int) -> list[Value]:
        """Append a Split into `count` equal pieces of an axis whose size may be open."""
        outputs = tuple(self.fresh("split") for _ in range(count))
        size = value.shape[axis]
        shape = list(value.shape)
        shape[axis] = size // count if isinstance(size, int) else None
        for output in outputs:
            self.types[output] = Type(value.type.dtype, tuple(shape))
        self.nodes.append(
            Node("Split", (value.name,), outputs, {"axis": axis, "num_outputs": count})
        )
        return [self.value(output) for output in outputs]

    def zeros_like(self, value: Value) -> Value:
        """Append zeros of the type and shape of another value."""
        zero = np.zeros(1, value.type.dtype)
        return self.op("ConstantOfShape", self.shape_now(value), value=zero, typed=value.type)

    def cast(self, value: Value, dtype: np.dtype[np.generic]) -> Value:
        """Append a Cast."""
        return self.op("Cast", value, to=element_type(dtype))

    def extra_output(self, node: Node, index: int) -> Value:
        """An optional output of a node that is already there."""
        own = {output for output in node.outputs if output}
        at = next(i for i, known in enumerate(self.nodes) if own.intersection(known.outputs))
        known = self.nodes[at]
        outputs = [*known.outputs, *[""] * (index + 1 - len(known.outputs))]
        if not outputs[index]:
            outputs[index] = self.fresh(f"{node.op.lower()}_{index}")
            self.nodes[at] = dataclasses.replace(known, outputs=tuple(outputs))
            inferred = infer_outputs(self.nodes[at], self.types, self.constants)
            self.types[outputs[index]] = inferred[outputs[index]]
        return self.value(outputs[index])

    def fresh(self, hint: str) -> str:
        """A name not yet taken."""
        while True:
            name = f"{hint}_{self._counter}"
            self._counter += 1
            if name not in self.types:
                return name

    def finish(self, name: str, outputs: Mapping[str, Value]) -> Graph:
        """The graph as built so far, with `outputs` under the names given."""
        made = {output for node in self.nodes for output in node.outputs}
        new_name: dict[str, str] = {}
        for wanted, value in outputs.items():
            if value.name in made and value.name not in new_name:
                new_name[value.name] = wanted
            else:  # an input, a constant or a second name: the value needs a node of its own
                self.op("Identity", value, named=wanted)
        return Graph(
            name=name,
            inputs=tuple(self._inputs),
            outputs=tuple(outputs),
            nodes=tuple(_renamed(node, new_name) for node in self.nodes),
            types={new_name.get(known, known): kind for known, kind in self.types.items()},
            parameters=dict(self.parameters),
            constants=dict(self.constants),
        )


def _renamed(node: Node, new_name: Mapping[str, str]) -> Node:
    return dataclasses.replace(
        node,
        inputs=tuple(new_name.get(name, name) for name in node.inputs),
        outputs=tuple(new_name.get(name, name) for name in node.outputs),
    )
