"""A forward ONNX graph, written layer by layer, the way an exporter leaves one.

What trains is a float initializer of rank one or more, named as PyTorch names it (`conv1.weight`);
what does not train is a `Constant` node, or a BatchNormalization's running statistic. The first
axis of every value is the batch. Weights are drawn uniformly in the order in which layers are
added: the bits come straight from PCG64, so equal arguments give equal bytes on every machine.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
from numpy.typing import ArrayLike, DTypeLike
from onnx import TensorProto, helper, numpy_helper

from edge_sdk.errors import Misuse

OPSET = 20
IR_VERSION = 9
"""The IR version that goes with opset 20; newer ones are refused by older runtimes."""

INPUT = "input"
LOGITS = "logits"
BATCH = "batch"


Attribute = int | float | str | Sequence[int] | TensorProto


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """A tensor in the graph."""

    name: str
    shape: tuple[int, ...]
    """Of one example: without the batch axis."""


class Net:
    """A graph under construction.

    Args:
        name: of the graph.
        input_shape: of one example; channels first.
        seed: of the initial weights.
        dtype: of the input, float32 or int64 (token numbers).
    """

    def __init__(
        self, name: str, input_shape: Sequence[int], *, seed: int, dtype: DTypeLike = np.float32
    ) -> None:
        self._name = name
        self._draw = np.random.Generator(np.random.PCG64(seed))
        self._dtype = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._named: dict[str, int] = {}
        self.input = Value(INPUT, tuple(input_shape))

    # -------------------------------------------------------------- the three primitives

    def weight(self, name: str, values: ArrayLike) -> str:
        """Add an initializer with these float32 values."""
        if name in self._initializers:
            raise Misuse(f"{self._name}: two weights are called {name}")
        array = np.ascontiguousarray(values, np.float32)
        self._initializers[name] = numpy_helper.from_array(array, name)
        return name

    def constant(self, values: ArrayLike, dtype: DTypeLike = np.float32) -> str:
        """Add a Constant node: a tensor that never trains."""
        tensor = numpy_helper.from_array(np.asarray(values, dtype))
        return self.op("Constant", [], (), value=tensor).name

    def op(
        self,
        kind: str,
        inputs: Sequence[Value | str],
        shape: Sequence[int],
        *,
        outputs: int = 1,
        wanted: int = 0,
        **attributes: Attribute,
    ) -> Value:
        """Add one node and give output number `wanted`, whose shape without batch is `shape`."""
        number = self._named.get(kind, 0)
        self._named[kind] = number + 1
        name = f"{kind}_{number}"
        names = [name] if outputs == 1 else [f"{name}.{i}" for i in range(outputs)]
        sources = [value.name if isinstance(value, Value) else value for value in inputs]
        node = helper.make_node(kind, sources, names, name)
        for key in sorted(attributes):
            node.attribute.append(helper.make_attribute(key, attributes[key]))
        self._nodes.append(node)
        return Value(names[wanted], tuple(shape))

    def uniform(self, name: str, shape: Sequence[int], bound: float) -> str:
        """Add an initializer drawn uniformly from -`bound` to `bound`."""
        unit = self._draw.random(tuple(shape), np.float32)
        return self.weight(name, (2.0 * unit - 1.0) * np.float32(bound))

    # -------------------------------------------------------------- layers

    def scaled(self, mean: float, scale: float) -> Value:
        """`(input - mean) * scale`; no node for what changes nothing."""
        x = self.input
        if mean != 0.0:
            x = self.op("Sub", [x, self.constant(mean)], x.shape)
        if scale != 1.0:
            x = self.op("Mul", [x, self.constant(scale)], x.shape)
        return x

    def conv(
        self,
        x: Value,
        name: str,
        channels: int,
        kernel: int | tuple[int, ...],
        *,
        stride: int = 1,
        padding: int | tuple[int, ...] = 0,
        groups: int = 1,
        bias: bool = True,
    ) -> Value:
        """Convolution over all axes after the channels; He initialisation (arXiv:1502.01852)."""
        sides = _per_axis(kernel, x)
        pads = _per_axis(padding, x)
        space = [
            self._extent(name, (size + 2 * pad - side) // stride + 1)
            for size, side, pad in zip(x.shape[1:], sides, pads, strict=True)
        ]
        fan_in = x.shape[0] // groups * math.prod(sides)
        weight_shape = (channels, x.shape[0] // groups, *sides)
        weights = [self.uniform(f"{name}.weight", weight_shape, math.sqrt(6 / fan_in))]
        if bias:
            weights.append(self.weight(f"{name}.bias", np.zeros(channels)))
        return self.op(
            "Conv",
            [x, *weights],
            (channels, *space),
            kernel_shape=sides,
            strides=[stride] * len(sides),
            pads=[*pads, *pads],
            dilations=[1] * len(sides),
            group=groups,
        )

    def batch_norm(self, x: Value, name: str) -> Value:
        """BatchNormalization in inference form, its running statistics still those of the start."""
        channels = x.shape[0]
        start = {"weight": 1.0, "bias": 0.0, "running_mean": 0.0, "running_var": 1.0}
        weights = [
            self.weight(f"{name}.{part}", np.full(channels, value)) for part, value in start.items()
        ]
        return self.op("BatchNormalization", [x, *weights], x.shape, epsilon=1e-5, momentum=0.9)

    def linear(self, x: Value, name: str, features: int, *, gain: float = 6.0) -> Value:
        """Fully connected layer; weights within sqrt(gain / fan-in), 6 is He, 3 keeps variance.

        A vector goes through Gemm with weight (features, fan-in), as exporters write it; a sequence
        of vectors through MatMul with weight (fan-in, features) and Add.
        """
        fan_in = x.shape[-1]
        bound = math.sqrt(gain / fan_in)
        if len(x.shape) == 1:
            weight = self.uniform(f"{name}.weight", (features, fan_in), bound)
            bias = self.weight(f"{name}.bias", np.zeros(features))
            return self.op("Gemm", [x, weight, bias], (features,), transB=1)
        weight = self.uniform(f"{name}.weight", (fan_in, features), bound)
        bias = self.weight(f"{name}.bias", np.zeros(features))
        shape = (*x.shape[:-1], features)
        return self.op("Add", [self.op("MatMul", [x, weight], shape), bias], shape)

    def relu(self, x: Value) -> Value:
        """Rectify."""
        return self.op("Relu", [x], x.shape)

    def max_pool(self, x: Value, size: int = 2) -> Value:
        """Maximum over windows of `size` that do not overlap; a rest at the border is dropped."""
        axes = len(x.shape) - 1
        space = [self._extent("pooling", extent // size) for extent in x.shape[1:]]
        window = [size] * axes
        return self.op("MaxPool", [x], (x.shape[0], *space), kernel_shape=window, strides=window)

    def global_pool(
        self, x: Value, kind: Literal["GlobalAveragePool", "GlobalMaxPool"] = "GlobalAveragePool"
    ) -> Value:
        """Mean or maximum over all axes after the channels: a vector."""
        pooled = self.op(kind, [x], (x.shape[0], *[1] * (len(x.shape) - 1)))
        return self.flatten(pooled)

    def flatten(self, x: Value) -> Value:
        """All axes but the batch in one."""
        return self.op("Flatten", [x], (math.prod(x.shape),), axis=1)

    def embedding(self, tokens: Value, name: str, rows: int, features: int) -> Value:
        """Row number `token` of a table, for every token."""
        table = self.uniform(f"{name}.weight", (rows, features), 1.0)
        return self.op("Gather", [table, tokens], (*tokens.shape, features), axis=0)

    # -------------------------------------------------------------- the end

    def finish(self, logits: Value) -> onnx.ModelProto:
        """The model whose output is `logits`, its intermediate shapes stamped on."""
        last = self._nodes[-1]
        last.output[:] = [LOGITS if name == logits.name else name for name in last.output]
        if LOGITS not in last.output:
            raise Misuse(f"{self._name}: {logits.name} is not what the last node gives")
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(INPUT, self._dtype, [BATCH, *self.input.shape])],
            [helper.make_tensor_value_info(LOGITS, TensorProto.FLOAT, [BATCH, *logits.shape])],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="edge-sdk",
        )
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    def _extent(self, layer: str, extent: int) -> int:
        if extent < 1:
            raise Misuse(f"{self._name}: input {self.input.shape} is too small, {layer} is empty")
        return extent


def check_rank(name: str, input_shape: Sequence[int], classes: int, wanted: str) -> None:
    """Refuse a shape that is not like `wanted`, e.g. `channels, height, width`.

    Raises:
        Misuse: another number of axes, an axis or `classes` below 1.
    """
    if len(input_shape) != len(wanted.split(", ")) or min(input_shape, default=0) < 1:
        raise Misuse(f"{name} takes an input shape ({wanted}), not {tuple(input_shape)}")
    if classes < 1:
        raise Misuse(f"{name}: {classes} classes")


def _per_axis(size: int | tuple[int, ...], x: Value) -> tuple[int, ...]:
    return (size,) * (len(x.shape) - 1) if isinstance(size, int) else size
