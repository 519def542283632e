"""MobileNetV2 for small images (Sandler et al., arXiv:1801.04381)."""

from collections.abc import Sequence

import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank

_BLOCKS = ((1, 16, 1), (6, 24, 2), (6, 24, 1), (6, 32, 2), (6, 32, 1), (6, 64, 2), (6, 64, 1))
"""Expansion, channels and stride of each inverted residual."""
_STEM = 16
_HEAD = 256


def mobilenet_v2_small(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: float = 1.0,
) -> onnx.ModelProto:
    """Seven inverted residuals with depthwise 3x3 convolutions; ReLU6 is Clip, as exported.

    134,538 parameters for (3, 32, 32) and 10 classes.

    Args:
        input_shape: (channels, height, width).
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: all channel counts are multiplied by this and rounded to a multiple of 8.

    Raises:
        Misuse: the shape is of another rank.
    """
    check_rank("mobilenet_v2_small", input_shape, classes, "channels, height, width")
    net = Net("mobilenet_v2_small", input_shape, seed=seed)
    x = _conv_bn(net, net.scaled(mean, scale), "stem", _rounded(_STEM * width), 3)
    x = _relu6(net, x)
    for number, (expansion, channels, stride) in enumerate(_BLOCKS):
        x = _inverted(
            net, x, f"blocks.{number}", expansion, _rounded(channels * width), stride=stride
        )
    x = _relu6(net, _conv_bn(net, x, "head", _rounded(_HEAD * width), 1))
    return net.finish(net.linear(net.global_pool(x), "fc", classes, gain=3.0))


def _inverted(
    net: Net, x: Value, name: str, expansion: int, channels: int, *, stride: int
) -> Value:
    """Widen by 1x1, filter each channel by 3x3, narrow by 1x1; added to `x` where shapes agree."""
    y = x
    inner = x.shape[0] * expansion
    if expansion > 1:
        y = _relu6(net, _conv_bn(net, y, f"{name}.expand", inner, 1))
    y = _relu6(net, _conv_bn(net, y, f"{name}.depthwise", inner, 3, stride=stride, groups=inner))
    y = _conv_bn(net, y, f"{name}.project", channels, 1)
    return net.op("Add", [x, y], y.shape) if x.shape == y.shape else y


def _conv_bn(
    net: Net, x: Value, name: str, channels: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> Value:
    x = net.conv(
        x,
        f"{name}.conv",
        channels,
        kernel,
        stride=stride,
        padding=kernel // 2,
        groups=groups,
        bias=False,
    )
    return net.batch_norm(x, f"{name}.bn")


def _relu6(net: Net, x: Value) -> Value:
    return net.op("Clip", [x, net.constant(0.0), net.constant(6.0)], x.shape)


def _rounded(channels: float) -> int:
    return max(8, int(channels + 4) // 8 * 8)
