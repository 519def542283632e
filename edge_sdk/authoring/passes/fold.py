"""Compute now what does not depend on the input's content or on parameters.

Shapes are where most of it comes from: exporters read the batch size from the input, put it beside
sizes that are known, and reshape by the result. Whole numbers that may hold the batch size are
followed as complex ones, a + b i for a + b x batch and NaN for what is not known, through
operators that only move, add and multiply; a Reshape by such a vector gets a constant shape.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring.evaluation import run_node
from edge_sdk.authoring.graph import Array, Dimension, Graph, Node, Type
from edge_sdk.authoring.onnx_form import infer_outputs
from edge_sdk.authoring.passes.kind import Pass
from edge_sdk.authoring.passes.tidy import RANDOM
from edge_sdk.errors import Unsupported
from edge_sdk.plan.conventions import BATCH_AXIS

LARGEST_FOLDED = 1 << 24
"""Elements; larger results stay computed, or a small file could ask for any memory."""

LARGEST_PARTIAL = 64
"""Elements of a vector that is followed although parts of it are open; shapes are far shorter."""

MOVING = frozenset(
    {"Cast", "Concat", "Equal", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze",
     "Where"}
)  # fmt: skip
"""Operators that give what they were given, or tell it from another number."""

ADDING = frozenset({"Add", "Mul", "Sub"})
"""Operators on whole numbers that keep the form; a product of two batch sizes counts as unknown."""

_EVERY = slice(None)
_DATA = {"Concat": _EVERY, "Equal": _EVERY, "Where": slice(1, 3)} | dict.fromkeys(ADDING, _EVERY)
"""Inputs that hold the numbers rather than say where they go, where not only the first does."""

Partial = NDArray[np.complex128]


def fold_constants(graph: Graph) -> Graph:
    """Replace nodes of constant inputs, and what is known of shapes, by constants."""
    sweep = _Sweep(graph)
    for node in graph.nodes:
        sweep.visit(node)
    return dataclasses.replace(
        graph, nodes=tuple(sweep.kept), constants=sweep.constants, types=sweep.types
    )


class _Sweep:
    """One walk through the nodes in order."""

    def __init__(self, graph: Graph) -> None:
        self.types = dict(graph.types)
        self.constants = dict(graph.constants)
        self.kept: list[Node] = []
        self._partial: dict[str, Partial] = {}
        self._changed: set[str] = set()
        """Values of which more is known now than the graph said."""

    def visit(self, node: Node) -> None:
        """Fold one node, or keep it with the types of its outputs as sharp as they get."""
        node = self._with_known_shape(node)
        self._sharpen(node)
        self._expand(node)
        outputs = self._computed(node)
        if outputs is None:
            self.kept.append(node)
            return
        for name, array in zip(node.outputs, outputs, strict=False):
            if name:
                self.constants[name] = array
                self.types[name] = Type(array.dtype, array.shape)
                self._changed.add(name)

    def _computed(self, node: Node) -> list[Array] | None:
        """Outputs of a node that can be computed now; None where it cannot or should not be."""
        if node.op in ("Shape", "Size") or (node.op in MOVING | ADDING and self._partial):
            partial = self._partly(node)
            if partial is not None:
                return self._settled(node, partial)
        may = _may_be_computed(node, self.constants, self.types)
        return _run(node, self.constants) if may else None

    # ------------------------------------------------------------------ partly known vectors

    def _partly(self, node: Node) -> Partial | None:
        """What is known of a whole-number output; None where nothing is followed."""
        if node.op in ("Shape", "Size"):
            return self._measured(node)
        followed = any(name in self._partial for name in node.inputs)
        if not followed or self.types[node.outputs[0]].dtype.kind not in "ib":
            return None
        data = node.inputs[_DATA.get(node.op, slice(0, 1))]
        known = {n: self._known(n, is_data=n in data) for n in node.inputs if n}
        feeds = {name: array for name, array in known.items() if array is not None}
        if len(feeds) < len(known):
            return None
        if node.op == "Cast":
            return np.asarray(feeds[node.inputs[0]], np.complex128)
        if node.op == "Equal":
            a, b = (np.asarray(feeds[name], np.complex128) for name in node.inputs)
            return _equal(a, b)
        made = np.asarray(_run(node, feeds)[0], np.complex128)
        if node.op == "Mul":
            first, second = (np.asarray(feeds[name]).imag != 0 for name in node.inputs)
            made = np.where(first & second, np.nan, made)
        return made

    def _measured(self, node: Node) -> Partial | None:
        """What Shape and Size give."""
        shape = self.types[node.inputs[0]].shape
        if shape is None:
            return None
        if node.op == "Size":
            return np.array(_product(_sizes(shape)))
        start, end = (node.attributes.get(key) for key in ("start", "end"))
        return _sizes(shape)[slice(start, end)]

    def _known(self, name: str, *, is_data: bool) -> Array | None:
        if name in self.constants and self.constants[name].size <= LARGEST_PARTIAL:
            array = self.constants[name]
            return array.astype(np.complex128) if is_data else array
        return self._partial.get(name) if is_data else None

    def _settled(self, node: Node, partial: Partial) -> list[Array] | None:
        """The output if all of it is known; else it is kept in mind."""
        if np.isnan(partial).any() or partial.imag.any():
            self._partial[node.outputs[0]] = partial
            return None
        return [partial.real.astype(self.types[node.outputs[0]].dtype)]

    def _with_known_shape(self, node: Node) -> Node:
        """A Reshape by a vector with one open number: that one is worked out at run time."""
        if node.op != "Reshape" or node.inputs[1] not in self._partial:
            return node
        shape = _without_gap(self._partial[node.inputs[1]], self.types[node.inputs[0]])
        open_sizes = np.isnan(shape) | (shape.imag != 0)
        if open_sizes.sum() != 1 or (shape == -1).any() or (shape == 0).any():
            return node
        name = f"{node.outputs[0]}.shape"
        while name in self.types:
            name += "_"
        made = Type(self.types[node.outputs[0]].dtype, tuple(map(_dimension, shape)))
        self.types[node.outputs[0]] = _merged(self.types[node.outputs[0]], made)
        self.constants[name] = np.where(open_sizes, -1, shape.real).astype(np.int64)
        self.types[name] = Type(np.dtype(np.int64), shape.shape)
        self._changed.update((name, node.outputs[0]))
        return dataclasses.replace(node, inputs=(node.inputs[0], name))

    def _expand(self, node: Node) -> None:
        """An Expand to a vector that is partly known: its axes are."""
        if node.op != "Expand" or node.inputs[1] not in self._partial:
            return
        before, after = self.types[node.inputs[0]].shape, self._partial[node.inputs[1]]
        if before is None or len(before) > len(after):
            return
        sizes: list[Dimension] = list(map(_dimension, after))
        for axis, size in enumerate(reversed(before), start=1):
            sizes[-axis] = size if sizes[-axis] == 1 or (size != 1 and size) else sizes[-axis]
        made = Type(self.types[node.outputs[0]].dtype, tuple(sizes))
        self.types[node.outputs[0]] = _merged(self.types[node.outputs[0]], made)
        self._changed.add(node.outputs[0])

    # ------------------------------------------------------------------ types

    def _sharpen(self, node: Node) -> None:
        """Infer the node's types anew where more is known of its inputs."""
        if node.op != "Resize" and not self._changed.intersection(node.inputs):
            return
        small = {n: self.constants[n] for n in node.inputs if n in self.constants}
        for name, kind in infer_outputs(node, self.types, small).items():
            merged = _merged(self.types[name], kind)
            if merged != self.types[name]:
                self.types[name] = merged
                self._changed.add(name)


def _sizes(shape: tuple[Dimension, ...]) -> Partial:
    """A shape as numbers that may hold the batch size."""
    return np.array([_number(size) for size in shape], np.complex128)


def _number(size: Dimension) -> complex:
    if size is None or isinstance(size, int):
        return complex(np.nan if size is None else size)
    times, _, symbol = size.rpartition("*")
    return complex(0, int(times or 1)) if symbol == BATCH_AXIS else complex(np.nan)


def _dimension(number: complex) -> Dimension:
    """The inverse of `_number`; a multiple of the batch size is a symbol of its own."""
    if np.isnan(number) or (number.real and number.imag):
        return None
    if not number.imag:
        return int(number.real)
    return BATCH_AXIS if number.imag == 1 else f"{int(number.imag)}*{BATCH_AXIS}"


def _equal(a: Partial, b: Partial) -> Partial:
    """1, 0 or not known: a multiple of the batch size is no negative number."""
    apart = (_counts(a) & _negative(b)) | (_counts(b) & _negative(a))
    unknown = np.isnan(a) | np.isnan(b) | ((a.imag != b.imag) & ~apart)
    return np.where(unknown, np.nan, (a == b).astype(np.complex128))


def _counts(number: Partial) -> NDArray[np.bool_]:
    return np.asarray((number.imag > 0) & (number.real >= 0))


def _negative(number: Partial) -> NDArray[np.bool_]:
    return np.asarray((number.imag == 0) & (number.real < 0))


def _without_gap(shape: Partial, data: Type) -> Partial:
    """A new shape with its -1 worked out, where the batch size cancels."""
    gaps = shape == -1
    if gaps.sum() != 1 or data.shape is None or (shape == 0).any():
        return shape
    quotient = _product(_sizes(data.shape)) / _product(shape[~gaps])
    return np.where(gaps, quotient, shape) if quotient == np.round(quotient) else shape


def _product(sizes: Partial) -> complex:
    """NaN where the batch size is in it twice or something is not known."""
    return complex(np.prod(sizes)) if (sizes.imag != 0).sum() <= 1 else complex(np.nan)


def _merged(old: Type, new: Type) -> Type:
    """What either knows."""
    if old.shape is None or new.shape is None or len(old.shape) != len(new.shape):
        return new if old.shape is None else old
    return Type(old.dtype, tuple(map(_sharper, old.shape, new.shape)))


def _sharper(old: Dimension, new: Dimension) -> Dimension:
    return old if isinstance(old, int) or new is None else new


def _run(node: Node, inputs: dict[str, Array]) -> list[Array]:
    try:
        return run_node(node, inputs)
    except Exception as error:  # the reference implementation raises whatever numpy does
        raise Unsupported(f"{node}: cannot be computed from its constants: {error}") from error


def _may_be_computed(node: Node, constants: Mapping[str, Array], types: Mapping[str, Type]) -> bool:
    """Whether all inputs of a node are constants, and its outputs of a known, bearable size."""
    if node.op in RANDOM or not node.inputs:
        return False
    if not all(name in constants for name in node.inputs if name):
        return False
    for name in filter(None, node.outputs):
        shape = _static(types[name])
        if shape is None or np.prod(shape, dtype=np.float64) > LARGEST_FOLDED:
            return False
    return True


def _none_left(graph: Graph) -> bool:
    return not any(_may_be_computed(n, graph.constants, graph.types) for n in graph.nodes)


def _static(kind: Type) -> tuple[int, ...] | None:
    """The shape where every size is known."""
    if kind.shape is None:
        return None
    sizes = tuple(size for size in kind.shape if isinstance(size, int))
    return sizes if len(sizes) == len(kind.shape) else None


FOLD_CONSTANTS = Pass(
    "fold constants",
    fold_constants,
    ensures=(("nothing that constants determine is left to compute", _none_left),),
)
