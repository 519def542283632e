"""LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", 1998)."""

from collections.abc import Sequence

import onnx

from edge_sdk.authoring.architectures.net import Net, check_rank


def lenet5(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
) -> onnx.ModelProto:
    """Two 5x5 convolutions with pooling, three fully connected layers; Relu throughout.

    61,706 parameters for (1, 28, 28) and 10 classes.

    Args:
        input_shape: (channels, height, width), at least 12 pixels a side.
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.

    Raises:
        Misuse: the shape is of another rank or too small.
    """
    check_rank("lenet5", input_shape, classes, "channels, height, width")
    net = Net("lenet5", input_shape, seed=seed)
    x = net.scaled(mean, scale)
    x = net.max_pool(net.relu(net.conv(x, "conv1", 6, 5, padding=2)))
    x = net.max_pool(net.relu(net.conv(x, "conv2", 16, 5)))
    x = net.flatten(x)
    x = net.relu(net.linear(x, "fc1", 120))
    x = net.relu(net.linear(x, "fc2", 84))
    return net.finish(net.linear(x, "fc3", classes, gain=3.0))
