"""Tiny transformers (arXiv:1706.03762) of pre-norm blocks, in the primitive operators of exporters.

Attention is MatMul, Softmax, MatMul; Gelu is its Erf form; the causal mask is a constant.
"""

import math
from collections.abc import Sequence

import numpy as np
import onnx

from edge_sdk.authoring.architectures.net import Net, Value, check_rank
from edge_sdk.errors import Misuse

_MASKED = -1e9
"""Score of a place that must not be looked at: its softmax is exactly zero in float32."""


def transformer_encoder(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    mean: float = 0.0,
    scale: float = 1.0,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
) -> onnx.ModelProto:
    """Classify a sequence of vectors: linear, learned positions, blocks, mean over places, linear.

    76,102 parameters for (128, 6) and 6 classes.

    Args:
        input_shape: (length, features).
        classes: length of the logits.
        seed: of the initial weights.
        mean: subtracted from the input first.
        scale: then multiplied onto it.
        width: features inside.
        heads: of attention; a divisor of `width`.
        blocks: how many.

    Raises:
        Misuse: the shape is of another rank, or `heads` does not divide `width`.
    """
    check_rank("transformer_encoder", input_shape, classes, "length, features")
    _check_heads(width, heads)
    net = Net("transformer_encoder", input_shape, seed=seed)
    x = _positions(net, net.linear(net.scaled(mean, scale), "embed", width, gain=3.0))
    for number in range(blocks):
        x = _block(net, x, f"blocks.{number}", heads, mask=None)
    x = _layer_norm(net, x, "norm")
    axis = net.constant([1], np.int64)
    x = net.op("ReduceMean", [x, axis], (width,), keepdims=0)
    return net.finish(net.linear(x, "head", classes, gain=3.0))


def transformer_decoder(
    input_shape: Sequence[int],
    classes: int,
    *,
    seed: int = 0,
    width: int = 64,
    heads: int = 4,
    blocks: int = 2,
) -> onnx.ModelProto:
    """Predict the next symbol at every place from those before; logits (batch, length, classes).

    80,577 parameters for (80,) and 65 symbols.

    Args:
        input_shape: (length,) of the sequences; the input is int64, symbols 0 to classes - 1.
        classes: symbols, in and out.
        seed: of the initial weights.
        width: features inside.
        heads: of attention; a divisor of `width`.
        blocks: how many.

    Raises:
        Misuse: the shape is of another rank, or `heads` does not divide `width`.
    """
    check_rank("transformer_decoder", input_shape, classes, "length")
    _check_heads(width, heads)
    net = Net("transformer_decoder", input_shape, seed=seed, dtype=np.int64)
    x = _positions(net, net.embedding(net.input, "embed", classes, width))
    length = input_shape[0]
    mask = net.constant(np.tril(np.ones((length, length))), np.bool_)
    for number in range(blocks):
        x = _block(net, x, f"blocks.{number}", heads, mask=mask)
    return net.finish(net.linear(_layer_norm(net, x, "norm"), "head", classes, gain=3.0))


def _check_heads(width: int, heads: int) -> None:
    if heads < 1 or width % heads:
        raise Misuse(f"{heads} heads do not divide a width of {width}")


def _positions(net: Net, x: Value) -> Value:
    """Add one learned vector for each place."""
    return net.op("Add", [x, net.uniform("positions", x.shape, 0.02)], x.shape)


def _block(net: Net, x: Value, name: str, heads: int, *, mask: str | None) -> Value:
    """Attention, then two linear layers with Gelu between; each normalised before, added after."""
    y = _layer_norm(net, x, f"{name}.norm1")
    x = net.op("Add", [x, _attention(net, y, f"{name}.attention", heads, mask)], x.shape)
    y = _layer_norm(net, x, f"{name}.norm2")
    y = _gelu(net, net.linear(y, f"{name}.fc1", 2 * x.shape[-1], gain=3.0))
    return net.op("Add", [x, net.linear(y, f"{name}.fc2", x.shape[-1], gain=3.0)], x.shape)


def _attention(net: Net, x: Value, name: str, heads: int, mask: str | None) -> Value:
    length, width = x.shape
    size = width // heads
    packed = net.linear(x, f"{name}.in_proj", 3 * width, gain=3.0)
    parts = net.op("Split", [packed], x.shape, outputs=3, axis=2, num_outputs=3).name
    stem = parts.removesuffix(".0")
    cut = net.constant([0, length, heads, size], np.int64)

    def headed(part: int, perm: list[int], shape: tuple[int, ...]) -> Value:
        """Part `part` with an axis for the heads."""
        split = net.op("Reshape", [f"{stem}.{part}", cut], (length, heads, size))
        return net.op("Transpose", [split], shape, perm=perm)

    query = headed(0, [0, 2, 1, 3], (heads, length, size))
    key = headed(1, [0, 2, 3, 1], (heads, size, length))
    value = headed(2, [0, 2, 1, 3], (heads, length, size))
    scores = net.op("MatMul", [query, key], (heads, length, length))
    scores = net.op("Div", [scores, net.constant(math.sqrt(size))], scores.shape)
    if mask is not None:
        scores = net.op("Where", [mask, scores, net.constant(_MASKED)], scores.shape)
    scores = net.op("Softmax", [scores], scores.shape, axis=-1)
    seen = net.op("MatMul", [scores, value], (heads, length, size))
    seen = net.op("Transpose", [seen], (length, heads, size), perm=[0, 2, 1, 3])
    joined = net.op("Reshape", [seen, net.constant([0, length, width], np.int64)], x.shape)
    return net.linear(joined, f"{name}.out_proj", width, gain=3.0)


def _layer_norm(net: Net, x: Value, name: str) -> Value:
    width = x.shape[-1]
    weights = [
        net.weight(f"{name}.weight", np.ones(width)),
        net.weight(f"{name}.bias", np.zeros(width)),
    ]
    return net.op("LayerNormalization", [x, *weights], x.shape, axis=-1, epsilon=1e-5)


def _gelu(net: Net, x: Value) -> Value:
    """Gelu in its exact form: x / 2 * (1 + erf(x / sqrt 2))."""
    y = net.op("Erf", [net.op("Div", [x, net.constant(math.sqrt(2))], x.shape)], x.shape)
    y = net.op("Add", [y, net.constant(1.0)], x.shape)
    y = net.op("Mul", [x, y], x.shape)
    return net.op("Mul", [y, net.constant(0.5)], x.shape)
