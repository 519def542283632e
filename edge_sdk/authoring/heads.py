"""Temporary heads: from an activation inside a model to an output of the whole model's form.

As in ProgFed (arXiv:2110.05323): global average pool and one linear layer for images; for a model
that answers at every place of a sequence a linear layer at every place, and for one that answers at
every pixel a 1x1 convolution, enlarged to the output's size.
"""

import math
from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.graph import Array, Node, Type
from edge_sdk.errors import Unsupported
from edge_sdk.plan.conventions import BATCH_AXIS

_CHANNELS_SECOND = frozenset(
    {"AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "GlobalAveragePool",
     "GlobalMaxPool", "GroupNormalization", "InstanceNormalization", "MaxPool"}
)  # fmt: skip
_FEATURES_LAST = frozenset({"Gather", "Gemm", "LayerNormalization", "MatMul", "RMSNormalization"})
"""Operators that tell which axis of what they write holds the features."""


def add_head(value: Value, output: Type, *, name: str, seed: int) -> Value:
    """Append a head; its weights are parameters `<name>.weight` and `<name>.bias`.

    Weights are drawn uniformly within 1 / sqrt(features), as for PyTorch's Linear; biases are zero.

    Args:
        value: the activation, batch axis first, or second in a sequence with time first.
        output: type of the whole model's output.
        name: of the head; its parameters must be free names.
        seed: of the weights.

    Raises:
        Unsupported: no head is known that leads from the one to the other.
    """
    if value.rank == 3 and value.shape[1] == BATCH_AXIS:  # time first, as recurrent layers have it
        value = value.transpose(1, 0, 2)
    wanted = [size for size in (output.shape or ())[1:] if isinstance(size, int)]
    have = [size for size in value.shape[1:] if isinstance(size, int)]
    second = channels_second(value.builder.nodes, value.name)
    draw = _Draw(value.builder, name, seed)
    if len(wanted) == 1:
        return draw.linear(_pooled(value, second), wanted[0])
    if second and len(wanted) == len(have) and _multiples(wanted[1:], have[1:]):
        return _enlarged(draw.pointwise(value, wanted[0]), wanted[1:], have[1:])
    if len(wanted) == len(have) and wanted[:-1] == have[:-1]:
        return draw.linear(value, wanted[-1])
    raise Unsupported(
        f"no temporary head leads from {value.name} {value.type} to an output {output}; "
        "choose other cuts"
    )


def channels_second(nodes: Sequence[Node], name: str) -> bool:
    """Whether axis 1 of a value holds the features, rather than the last axis.

    Told by the nearest operator before it that has an opinion; the last axis where none has.
    """
    producers = {output: node for node in nodes for output in node.outputs if output}
    seen, queue = {name}, [name]
    while queue:
        node = producers.get(queue.pop(0))
        if node is None:
            continue
        if node.op in _CHANNELS_SECOND:
            return True
        if node.op in _FEATURES_LAST:
            return False
        fresh = [n for n in node.inputs if n not in seen]
        seen.update(fresh)
        queue += fresh
    return False


def _pooled(value: Value, second: bool) -> Value:
    """One vector of features for each example."""
    if second and value.rank > 2:
        return value.builder.op("Flatten", value.builder.op("GlobalAveragePool", value), axis=1)
    axes = range(1, value.rank - 1)
    if not axes:
        return value
    which = value.builder.ints(list(axes))
    return value.builder.op("ReduceMean", value, which, keepdims=0)


def _multiples(wanted: Sequence[int], have: Sequence[int]) -> bool:
    return all(0 < h <= w and w % h == 0 for w, h in zip(wanted, have, strict=True))


def _enlarged(value: Value, wanted: Sequence[int], have: Sequence[int]) -> Value:
    """Every pixel repeated up to the size wanted."""
    if list(wanted) == list(have):
        return value
    factors = [w // h for w, h in zip(wanted, have, strict=True)]
    scales = value.builder.constant(np.array([1, 1, *factors], np.float32))
    return value.builder.op(
        "Resize",
        value,
        None,
        scales,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


class _Draw:
    """Draws the head's two parameters."""

    def __init__(self, builder: Builder, name: str, seed: int) -> None:
        self._builder, self._name = builder, name
        self._random = np.random.Generator(np.random.PCG64(seed))

    def linear(self, value: Value, width: int) -> Value:
        """Over the last axis."""
        features = self._features(value, -1)
        return value @ self._weight((features, width), features) + self._bias(width)

    def pointwise(self, value: Value, width: int) -> Value:
        """A convolution with kernel 1."""
        features, ones = self._features(value, 1), (1,) * (value.rank - 2)
        weight = self._weight((width, features, *ones), features)
        return self._builder.op("Conv", value, weight, self._bias(width), kernel_shape=ones)

    def _features(self, value: Value, axis: int) -> int:
        size = value.shape[axis]
        if not isinstance(size, int):
            raise Unsupported(f"{value.name} {value.type}: its number of features is not known")
        return size

    def _weight(self, shape: tuple[int, ...], features: int) -> Value:
        bound = np.float32(1 / math.sqrt(features))
        drawn: Array = (2 * self._random.random(shape, np.float32) - 1) * bound
        return self._builder.parameter(f"{self._name}.weight", drawn)

    def _bias(self, width: int) -> Value:
        return self._builder.parameter(f"{self._name}.bias", np.zeros(width, np.float32))
