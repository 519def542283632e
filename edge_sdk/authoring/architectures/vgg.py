"""VGG-9, the small VGG of the federated learning literature (arXiv:1409.1556; arXiv:2002.06440)."""

from collections.abc import Sequence

import onnx

from edge_sdk.authoring.architectures.net import Net, check_rank


def vgg9(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: int = 32,
) -> onnx.ModelProto:
    """Three pairs of 3x3 convolutions, each pair pooled, then three fully connected layers.

    3,491,530 parameters for (3, 32, 32) and 10 classes; 225,706 with `width=8`.

    Args:
        input_shape: (channels, height, width), at least 8 pixels a side.
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: channels of the first convolution; 8 times as many at the end.

    Raises:
        Misuse: the shape is of another rank or too small.
    """
    check_rank("vgg9", input_shape, classes, "channels, height, width")
    net = Net("vgg9", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    channels = (width, 2 * width, 4 * width, 4 * width, 8 * width, 8 * width)
    for number, count in enumerate(channels, 1):
        x = net.relu(net.conv(x, f"conv{number}", count, 3, padding=1))
        if number % 2 == 0:
            x = net.max_pool(x)
    x = net.flatten(x)
    x = net.relu(net.linear(x, "fc1", 16 * width))
    x = net.relu(net.linear(x, "fc2", 16 * width))
    return net.finish(net.linear(x, "fc3", classes, gain=3.0))
