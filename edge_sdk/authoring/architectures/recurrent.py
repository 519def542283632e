"""A character-level LSTM that predicts the next symbol at every place (arXiv:1602.05629, 4)."""

import math
from collections.abc import Sequence

import numpy as np
import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank


def char_lstm(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    features: int = 32,
    hidden: int = 128,
    layers: int = 1,
) -> onnx.ModelProto:
    """Embedding, LSTM, one linear layer at every place; logits are (batch, length, classes).

    93,409 parameters for (80,) and 65 symbols. The LSTM stands in the graph as exporters leave it:
    time first, one fused node, its first state made of zeros for as many rows as the batch has.

    Args:
        input_shape: (length,) of the sequences; the input is int64, symbols 0 to classes - 1.
        classes: symbols, in and out.
        seed: of the initial weights.
        features: length of a symbol's embedding.
        hidden: units of each LSTM layer.
        layers: LSTM layers.

    Raises:
        Misuse: the shape is of another rank.
    """
    check_rank("char_lstm", input_shape, classes, "length")
    net = Net("char_lstm", input_shape, seed=seed, dtype=np.int64)
    x = net.embedding(net.input, "embed", classes, features)
    length = input_shape[0]
    x = net.op("Transpose", [x], x.shape, perm=[1, 0, 2])
    start = _zero_state(net, hidden)
    for number in range(layers):
        x = _lstm(net, x, f"lstm.{number}", hidden, start)
    x = net.op("Transpose", [x], (length, hidden), perm=[1, 0, 2])
    return net.finish(net.linear(x, "head", classes, gain=3.0))


def _zero_state(net: Net, hidden: int) -> str:
    """Zeros of shape (1, batch, hidden), the batch size read from the input."""
    shape = net.op("Shape", [net.input], ())
    batch = net.op("Gather", [shape, net.constant([0], np.int64)], (), axis=0)
    one, width = net.constant([1], np.int64), net.constant([hidden], np.int64)
    whole = net.op("Concat", [one, batch, width], (), axis=0)
    return net.op("ConstantOfShape", [whole], ()).name


def _lstm(net: Net, x: Value, name: str, hidden: int, start: str) -> Value:
    """One layer over time-first `x`; gate order i, o, f, c; the forget gates start open.

    Weights as ONNX wants them: `W` (1, 4 hidden, fan-in), `R` (1, 4 hidden, hidden) and `B`
    (1, 8 hidden), input biases before recurrent ones.
    """
    bound = 1 / math.sqrt(hidden)
    bias = np.zeros((1, 8, hidden))
    bias[:, 2] = 1.0
    weights = [
        net.uniform(f"{name}.W", (1, 4 * hidden, x.shape[-1]), bound),
        net.uniform(f"{name}.R", (1, 4 * hidden, hidden), bound),
        net.weight(f"{name}.B", bias.reshape(1, 8 * hidden)),
    ]
    shape = (x.shape[0], hidden)
    y = net.op("LSTM", [x, *weights, "", start, start], shape, outputs=3, hidden_size=hidden)
    return net.op("Squeeze", [y, net.constant([1], np.int64)], shape)
