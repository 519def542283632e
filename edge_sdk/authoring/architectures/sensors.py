"""A one-dimensional convolutional network for windows of sensor readings."""

from collections.abc import Sequence

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
) -> onnx.ModelProto:
    """Three convolutions along time with pooling between, mean over time, one linear layer.

    24,422 parameters for (6, 128) and 6 classes.

    Args:
        input_shape: (channels, samples), at least 4 samples.
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: channels of the first convolution; twice as many in the others.

    Raises:
        Misuse: the shape is of another rank or too short.
    """
    check_rank("cnn1d", input_shape, classes, "channels, samples")
    net = Net("cnn1d", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    x = net.max_pool(net.relu(net.conv(x, "conv1", width, 7, padding=3)))
    x = net.max_pool(net.relu(net.conv(x, "conv2", 2 * width, 5, padding=2)))
    x = net.relu(net.conv(x, "conv3", 2 * width, 3, padding=1))
    return net.finish(net.linear(net.global_average(x), "fc", classes, gain=3.0))
