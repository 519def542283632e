"""A one-dimensional convolutional network for windows of sensor readings."""

from collections.abc import Sequence
from typing import Literal

import onnx

from edge_sdk.authoring.architectures.net import Net, check_rank


def cnn1d(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: int = 32,
    norm: Literal["none", "batch"] = "none",
    pooling: Literal["mean", "max"] = "mean",
) -> onnx.ModelProto:
    """Three convolutions along time with pooling between, pooling over all time, one linear layer.

    24,422 parameters for (6, 128) and 6 classes.

    Args:
        input_shape: (channels, samples), at least 4 samples.
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: channels of the first convolution; twice as many in the others.
        norm: `batch` normalises the input (channels of different units) and each convolution.
        pooling: over all time at the end.

    Raises:
        Misuse: the shape is of another rank or too short.
    """
    check_rank("cnn1d", input_shape, classes, "channels, samples")
    net = Net("cnn1d", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    if norm == "batch":
        x = net.batch_norm(x, "bn0")
    for number, (channels, kernel) in enumerate(((width, 7), (2 * width, 5), (2 * width, 3)), 1):
        if number > 1:
            x = net.max_pool(x)
        name, padding = f"conv{number}", kernel // 2
        x = net.conv(x, name, channels, kernel, padding=padding, bias=norm == "none")
        if norm == "batch":
            x = net.batch_norm(x, f"bn{number}")
        x = net.relu(x)
    x = net.global_pool(x, "GlobalAveragePool" if pooling == "mean" else "GlobalMaxPool")
    return net.finish(net.linear(x, "fc", classes, gain=3.0))
