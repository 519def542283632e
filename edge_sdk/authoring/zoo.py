"""Models to start from, as ordinary forward ONNX files that any exporter could have written.

Seeded He initialisation, no framework. Raw values go in: the scaling `(x - mean) * scale` is part
of the graph, by constants that are not trained.
"""

import dataclasses
import inspect
from collections.abc import Callable, Sequence

import numpy as np
import onnx

from edge_sdk.authoring.architectures import ARCHITECTURES
from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.graph import Type
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.errors import Misuse
from edge_sdk.plan.conventions import BATCH_AXIS

_FLOAT = np.dtype(np.float32)

NAMES = ("mlp", "cnn", *ARCHITECTURES)
"""Every model that `make` knows."""


def mlp(
    input_shape: Sequence[int],
    classes: int,
    *,
    hidden: Sequence[int] = (128,),
    scale: float = 1 / 255,
    mean: float = 0.0,
    seed: int = 0,
) -> bytes:
    """Fully connected layers with ReLU between.

    Args:
        input_shape: of one example, without the batch axis; float32.
        classes: outputs.
        hidden: width of each hidden layer.
        scale: factor on the raw values, after `mean` is taken off.
        mean: of the raw values.
        seed: of the initial weights.

    Returns:
        A forward ONNX model: input `x`, output `logits` of shape (batch, classes).
    """
    net = _Net("mlp", input_shape, scale, mean, seed)
    value = net.builder.op("Flatten", net.input, axis=1)
    for number, width in enumerate(hidden, 1):
        value = net.builder.op("Relu", net.dense(value, width, f"dense{number}"))
    return net.finish(net.dense(value, classes, "logits"))


def cnn(
    input_shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    *,
    channels: Sequence[int] = (16, 32),
    width: int = 64,
    scale: float = 1 / 255,
    mean: float = 0.0,
    seed: int = 0,
) -> bytes:
    """Small network: per entry of `channels` a 3x3 convolution, ReLU and 2x2 maximum.

    An image below 16 pixels keeps its size in the first of them (8x8 digits end at 4x4).

    Args:
        input_shape: (channels, height, width) of one example; float32.
        classes: outputs.
        channels: of each convolution.
        width: of the hidden layer behind them.
        scale: factor on the raw values, after `mean` is taken off.
        mean: of the raw values.
        seed: of the initial weights.

    Returns:
        A forward ONNX model: input `x`, output `logits` of shape (batch, classes).
    """
    if len(input_shape) != 3:
        raise Misuse(f"image shape {tuple(input_shape)}; it must be (channels, height, width)")
    net = _Net("cnn", input_shape, scale, mean, seed)
    value = net.input
    small = min(input_shape[1:]) < 16
    for number, count in enumerate(channels, 1):
        value = net.builder.op("Relu", net.conv(value, count, f"conv{number}"))
        if not (small and number == 1):
            value = net.max_pool(value)
    value = net.builder.op("Flatten", value, axis=1)
    value = net.builder.op("Relu", net.dense(value, width, "dense"))
    return net.finish(net.dense(value, classes, "logits"))


def lenet(
    input_shape: Sequence[int] = (1, 28, 28),
    classes: int = 10,
    *,
    scale: float = 1 / 255,
    mean: float = 0.0,
    seed: int = 0,
) -> bytes:
    """LeNet-5 (LeCun et al. 1998) with ReLU and maximum pools; arguments as of `cnn`.

    The image must be at least 12x12; a 28x28 one is padded to 32x32 as in the paper.
    """
    if len(input_shape) != 3 or min(input_shape[1:]) < 12:
        raise Misuse(f"image shape {tuple(input_shape)}; it must be (channels, >= 12, >= 12)")
    net = _Net("lenet", input_shape, scale, mean, seed)
    value = net.builder.op("Relu", net.conv(net.input, 6, "conv1", kernel=5, pad=2))
    value = net.builder.op("Relu", net.conv(net.max_pool(value), 16, "conv2", kernel=5, pad=0))
    value = net.builder.op("Flatten", net.max_pool(value), axis=1)
    value = net.builder.op("Relu", net.dense(value, 120, "dense1"))
    value = net.builder.op("Relu", net.dense(value, 84, "dense2"))
    return net.finish(net.dense(value, classes, "logits"))


def make(
    name: str,
    input_shape: Sequence[int],
    classes: int,
    *,
    scale: float | None = None,
    mean: float | None = None,
    seed: int = 0,
) -> bytes:
    """Any model of the zoo by name, see `NAMES`.

    Args:
        name: one of `NAMES`.
        input_shape: of one example, channels first.
        classes: outputs.
        scale: factor on the raw values; None is the model's own default.
        mean: of the raw values; None is the model's own default.
        seed: of the initial weights.

    Raises:
        Misuse: no such model, a shape it cannot take, or scaling for a model of symbols.
    """
    own: dict[str, Callable[..., bytes]] = {"mlp": mlp, "cnn": cnn}
    given = {"scale": scale, "mean": mean}
    options = {option: value for option, value in given.items() if value is not None}
    if classes < 1:
        raise Misuse(f"{classes} classes")
    if name in own:
        return own[name](input_shape, classes, seed=seed, **options)
    if name not in ARCHITECTURES:
        raise Misuse(f"no model {name!r} in the zoo; there are {', '.join(NAMES)}")
    architecture: Callable[..., onnx.ModelProto] = ARCHITECTURES[name]
    unknown = options.keys() - inspect.signature(architecture).parameters.keys()
    if unknown:
        raise Misuse(f"{name} takes symbols, which have no {' or '.join(sorted(unknown))}")
    try:
        model = architecture(input_shape, classes, seed=seed, **options)
    except ValueError as error:
        raise Misuse(f"{name}: {error}") from None
    return bytes(model.SerializeToString())


@dataclasses.dataclass(slots=True)
class _Net:
    """A forward graph under construction, with its random numbers."""

    name: str
    builder: Builder
    input: Value
    random: np.random.Generator

    def __init__(
        self, name: str, input_shape: Sequence[int], scale: float, mean: float, seed: int
    ) -> None:
        self.name = name
        self.random = np.random.default_rng(seed)
        self.builder = Builder()
        raw = self.builder.input("x", Type(_FLOAT, (BATCH_AXIS, *input_shape)))
        self.input = (raw - mean if mean else raw) * scale

    def dense(self, value: Value, width: int, name: str) -> Value:
        """Weight (inputs, width) and bias."""
        inputs = value.shape[1]
        assert isinstance(inputs, int)  # noqa: S101 - every axis but the batch is known here
        weight = self._he((inputs, width), inputs, f"{name}.weight")
        bias = self.builder.parameter(f"{name}.bias", np.zeros(width, _FLOAT))
        return self.builder.op("Gemm", value, weight, bias)

    def conv(
        self, value: Value, channels: int, name: str, *, kernel: int = 3, pad: int = 1
    ) -> Value:
        """Weight (channels, inputs, kernel, kernel) and bias; stride 1."""
        inputs = value.shape[1]
        assert isinstance(inputs, int)  # noqa: S101 - every axis but the batch is known here
        shape = (channels, inputs, kernel, kernel)
        weight = self._he(shape, inputs * kernel * kernel, f"{name}.weight")
        bias = self.builder.parameter(f"{name}.bias", np.zeros(channels, _FLOAT))
        return self.builder.op(
            "Conv", value, weight, bias, kernel_shape=(kernel, kernel), pads=(pad,) * 4
        )

    def max_pool(self, value: Value) -> Value:
        """Halve height and width."""
        return self.builder.op("MaxPool", value, kernel_shape=(2, 2), strides=(2, 2))

    def finish(self, logits: Value) -> bytes:
        """The ONNX file."""
        return to_model(self.builder.finish(self.name, {"logits": logits}))

    def _he(self, shape: tuple[int, ...], fan_in: int, name: str) -> Value:
        """Normal with variance 2 / fan-in (He et al. 2015)."""
        weight = self.random.normal(0, np.sqrt(2 / fan_in), shape).astype(_FLOAT)
        return self.builder.parameter(name, weight)
