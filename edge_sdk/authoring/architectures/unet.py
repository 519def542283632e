"""A small U-Net for segmentation (Ronneberger et al., arXiv:1505.04597)."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank
from edge_sdk.errors import Misuse

_GROUPS = 4


def unet(
    input_shape: Sequence[int],
    classes: int = 1,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: int = 8,
    depth: int = 3,
    rise: Literal["transpose", "resize"] = "transpose",
    norm: Literal["none", "group"] = "none",
) -> onnx.ModelProto:
    """Pairs of 3x3 convolutions down and up again, with concatenated bridges; logits per pixel.

    120,825 parameters for (3, 128, 128) and one class.

    Args:
        input_shape: (channels, height, width); both sides multiples of 2 ** depth.
        classes: channels of the logits, which have the input's height and width.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: channels of the first level; doubled in each further one.
        depth: how many times the map is halved.
        rise: go up by 2x2 transposed convolution, or by nearest Resize and a 1x1 convolution.
        norm: normalise after each 3x3 convolution by groups of channels (arXiv:1803.08494), written
            as exporters do below opset 21: Reshape, InstanceNormalization, Reshape, Mul, Add.

    Raises:
        Misuse: the shape is of another rank or cannot be halved `depth` times.
    """
    check_rank("unet", input_shape, classes, "channels, height, width")
    if any(size % (1 << depth) for size in input_shape[1:]):
        raise Misuse(f"unet: sides of {tuple(input_shape)} are not multiples of {1 << depth}")
    net = Net("unet", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    bridges: list[Value] = []
    for level in range(depth + 1):
        if level > 0:
            bridges.append(x)
            x = net.max_pool(x)
        x = _pair(net, x, f"down.{level}", width << level, norm)
    for level in reversed(range(depth)):
        x = _raised(net, x, f"up.{level}.rise", width << level, rise)
        bridge = bridges.pop()
        x = net.op("Concat", [bridge, x], (2 * x.shape[0], *x.shape[1:]), axis=1)
        x = _pair(net, x, f"up.{level}", width << level, norm)
    return net.finish(net.conv(x, "head", classes, 1))


def _pair(net: Net, x: Value, name: str, channels: int, norm: str) -> Value:
    for part in ("1", "2"):
        x = net.conv(x, f"{name}.conv{part}", channels, 3, padding=1, bias=norm == "none")
        if norm == "group":
            x = _group_norm(net, x, f"{name}.norm{part}")
        x = net.relu(x)
    return x


def _raised(net: Net, x: Value, name: str, channels: int, rise: str) -> Value:
    """Twice the height and width, `channels` channels."""
    space = tuple(2 * size for size in x.shape[1:])
    if rise == "resize":
        scales = net.constant([1.0, 1.0, 2.0, 2.0])
        x = net.op(
            "Resize",
            [x, "", scales],
            (x.shape[0], *space),
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        return net.conv(x, name, channels, 1)
    weight = net.uniform(f"{name}.weight", (x.shape[0], channels, 2, 2), math.sqrt(3 / x.shape[0]))
    bias = net.weight(f"{name}.bias", np.zeros(channels))
    return net.op(
        "ConvTranspose",
        [x, weight, bias],
        (channels, *space),
        kernel_shape=[2, 2],
        strides=[2, 2],
        pads=[0, 0, 0, 0],
        dilations=[1, 1],
        group=1,
    )


def _group_norm(net: Net, x: Value, name: str) -> Value:
    channels = x.shape[0]
    grouped = (_GROUPS, math.prod(x.shape) // _GROUPS)
    y = net.op("Reshape", [x, net.constant([0, _GROUPS, -1], np.int64)], grouped)
    ones, zeros = net.constant(np.ones(_GROUPS)), net.constant(np.zeros(_GROUPS))
    y = net.op("InstanceNormalization", [y, ones, zeros], grouped, epsilon=1e-5)
    y = net.op("Reshape", [y, net.constant([0, *x.shape], np.int64)], x.shape)
    y = net.op("Mul", [y, net.weight(f"{name}.weight", np.ones((channels, 1, 1)))], x.shape)
    return net.op("Add", [y, net.weight(f"{name}.bias", np.zeros((channels, 1, 1)))], x.shape)
