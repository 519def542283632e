"""Keyword spotting: the depthwise separable network of "Hello Edge" (arXiv:1711.07128)."""

from collections.abc import Sequence

import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank


def ds_cnn(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: int = 64,
    blocks: int = 4,
) -> onnx.ModelProto:
    """A 10x4 convolution of stride 2, then depthwise separable blocks; batch norm and Relu.

    23,180 parameters for (1, 49, 40) and 12 classes: DS-CNN-S.

    Args:
        input_shape: (1, time, mel bands) of a logarithmic spectrogram.
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: channels throughout.
        blocks: depthwise separable blocks.

    Raises:
        Misuse: the shape is of another rank or too small.
    """
    check_rank("ds_cnn", input_shape, classes, "channels, time, bands")
    net = Net("ds_cnn", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    x = net.conv(x, "stem.conv", width, (10, 4), stride=2, padding=(5, 1), bias=False)
    x = net.relu(net.batch_norm(x, "stem.bn"))
    for number in range(blocks):
        x = _separable(net, x, f"blocks.{number}", width)
    return net.finish(net.linear(net.global_pool(x), "fc", classes, gain=3.0))


def _separable(net: Net, x: Value, name: str, width: int) -> Value:
    """Filter each channel by 3x3, then mix channels by 1x1."""
    x = net.conv(x, f"{name}.depthwise.conv", width, 3, padding=1, groups=width, bias=False)
    x = net.relu(net.batch_norm(x, f"{name}.depthwise.bn"))
    x = net.conv(x, f"{name}.pointwise.conv", width, 1, bias=False)
    return net.relu(net.batch_norm(x, f"{name}.pointwise.bn"))
