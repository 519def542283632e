"""Residual networks for small images (He et al., arXiv:1512.03385, section 4.2)."""

from collections.abc import Sequence

import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank


def resnet8(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
) -> onnx.ModelProto:
    """Three stacks of one block, 16 to 64 channels: 78,042 parameters for (3, 32, 32), 10 classes.

    BatchNormalization nodes are in inference form with the statistics of the start; training form
    is the differentiator's part. Arguments and errors as `resnet`.
    """
    return resnet(
        input_shape, classes, blocks=(1, 1, 1), width=16, seed=seed, mean=mean, scale=scale
    )


def resnet18(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
) -> onnx.ModelProto:
    """Four stacks of two blocks, 64 to 512 channels, with the 3x3 first layer of CIFAR variants.

    11,173,962 parameters for (3, 32, 32) and 10 classes. Arguments and errors as `resnet`.
    """
    return resnet(
        input_shape, classes, blocks=(2, 2, 2, 2), width=64, seed=seed, mean=mean, scale=scale
    )


def resnet(
    input_shape: Sequence[int],
    classes: int,
    *,
    blocks: Sequence[int],
    width: int,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
) -> onnx.ModelProto:
    """A 3x3 convolution, stacks of basic blocks, global average pooling, one linear layer.

    Args:
        input_shape: (channels, height, width).
        classes: length of the logits.
        blocks: how many blocks in each stack; every stack after the first halves the map.
        width: channels of the first stack; doubled in each further one.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.

    Raises:
        Misuse: the shape is of another rank.
    """
    check_rank("resnet", input_shape, classes, "channels, height, width")
    net = Net(f"resnet{2 + 2 * sum(blocks)}", input_shape, seed=seed)
    x = net.conv(net.scaled(mean, scale), "conv1", width, 3, padding=1, bias=False)
    x = net.relu(net.batch_norm(x, "bn1"))
    for stack, count in enumerate(blocks):
        for number in range(count):
            stride = 2 if stack > 0 and number == 0 else 1
            x = _block(net, x, f"layer{stack + 1}.{number}", width << stack, stride)
    return net.finish(net.linear(net.global_pool(x), "fc", classes, gain=3.0))


def _block(net: Net, x: Value, name: str, channels: int, stride: int) -> Value:
    """Two 3x3 convolutions beside a short cut, which is 1x1 where the shape changes."""
    y = net.conv(x, f"{name}.conv1", channels, 3, stride=stride, padding=1, bias=False)
    y = net.relu(net.batch_norm(y, f"{name}.bn1"))
    y = net.conv(y, f"{name}.conv2", channels, 3, padding=1, bias=False)
    y = net.batch_norm(y, f"{name}.bn2")
    if x.shape != y.shape:
        x = net.conv(x, f"{name}.downsample.0", channels, 1, stride=stride, bias=False)
        x = net.batch_norm(x, f"{name}.downsample.1")
    return net.relu(net.op("Add", [y, x], y.shape))
