"""Rules for normalisations by mean and deviation or by length, and for dropout.

With n = (x - mean) / deviation over some axes, and g the cotangent of n, the cotangent of x is
(g - mean(g) - n mean(g n)) / deviation (arXiv:1502.03167, section 3).
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.curve import apply
from edge_sdk.authoring.differentiate.reduce import count_over, mean_over
from edge_sdk.authoring.graph import Node
from edge_sdk.errors import Unsupported

Cotangents = Sequence[Value | None]


@dataclasses.dataclass(frozen=True, slots=True)
class Centred:
    """A tensor about its mean over some axes."""

    deviation: Value
    """x - mean, of the shape of x."""
    mean: Value
    """With the axes kept, as `variance`."""
    variance: Value
    """Mean of the squared deviation (divided by n)."""

    def inverse(self, epsilon: float) -> Value:
        """1 / sqrt(variance + epsilon)."""
        return apply("Reciprocal", apply("Sqrt", self.variance + epsilon))


def centred(x: Value, axes: Sequence[int]) -> Centred:
    """Mean, deviation and variance over `axes`.

    From deviations rather than as mean(x^2) - mean(x)^2: one pass over x more, but right also
    where the mean is far larger than the spread.
    """
    mean = mean_over(x, axes)
    deviation = x - mean
    return Centred(deviation, mean, mean_over(deviation * deviation, axes))


def filled(like: Value, number: float) -> Value:
    """A vector of the length of `like`, all `number`."""
    (size,) = like.shape
    single = np.full(size if isinstance(size, int) else 1, number, like.type.dtype)
    constant = like.builder.constant(single)
    if isinstance(size, int):
        return constant
    return like.builder.op("Expand", constant, like.builder.op("Shape", like), typed=like.type)


def _through(g: Value, normal: Value, inverse: Value, axes: Sequence[int]) -> Value:
    """Cotangent of x from that of n."""
    return (g - mean_over(g, axes) - normal * mean_over(g * normal, axes)) * inverse


def _by_channel(value: Value, rank: int) -> Value:
    """A vector over channels, broadcasting against (batch, channels, space)."""
    return value.reshape(1, -1, *[1] * (rank - 2)) if rank > 2 else value


def batch_norm(call: Call) -> Cotangents:
    """By the batch's statistics in training mode, else by the stated ones, which are constants."""
    x, dy = call.x(0), call.dy
    if x.rank < 2:
        raise call.unsupported("its input has no channels")
    over = (0, *range(2, x.rank))
    bias = dy.sum(*over) if call.wants(2) or call.integer("training_mode", 0) else None
    if call.integer("training_mode", 0) and bias is not None:
        return _batch_norm_in_training(call, over, bias)
    epsilon = call.number("epsilon", 1e-5)
    inverse = apply("Reciprocal", apply("Sqrt", call.x(4) + epsilon))
    dx = dy * _by_channel(call.x(1) * inverse, x.rank) if call.wants(0) else None
    scale = None
    if call.wants(1):
        deviation = x - _by_channel(call.x(3), x.rank)
        scale = (dy * deviation).sum(*over) * inverse
    return dx, scale, bias


def _batch_norm_in_training(call: Call, over: Sequence[int], bias: Value) -> Cotangents:
    """With dx = a dy + b (x - mean) + c, per channel, the last two terms are one fused pass."""
    x, dy, builder = call.x(0), call.dy, call.builder
    batch = centred(x, over)
    inverse = batch.inverse(call.number("epsilon", 1e-5)).reshape(-1)
    scale = (dy * batch.deviation).sum(*over) * inverse
    if not call.wants(0):
        return None, scale, bias
    gain = call.x(1) * inverse
    share = gain / count_over(x, over)
    linear, constant = -(share * scale * inverse), -(share * bias)
    unmoved = (filled(gain, 0), filled(gain, 1))
    rest = builder.op(
        "BatchNormalization",
        batch.deviation,
        linear,
        constant,
        *unmoved,
        epsilon=0.0,
        typed=x.type,
    )
    return dy * _by_channel(gain, x.rank) + rest, scale, bias


def layer_norm(call: Call) -> Cotangents:
    """Over all axes from `axis` on.

    The forward node gives mean and inverse deviation, but never in more than single precision.
    """
    x, dy = call.x(0), call.dy
    axes = range(call.integer("axis", -1) % x.rank, x.rank)
    if x.type.dtype == np.float32:
        inverse = call.y(2)
        normal = (x - call.y(1)) * inverse
    else:
        stats = centred(x, axes)
        inverse = stats.inverse(call.number("epsilon", 1e-5))
        normal = stats.deviation * inverse
    return (
        _through(dy * call.x(1), normal, inverse, axes) if call.wants(0) else None,
        dy * normal if call.wants(1) else None,
        dy if call.wants(2) else None,
    )


def instance_norm(call: Call) -> Cotangents:
    """Each channel of each example over its space."""
    x, dy = call.x(0), call.dy
    axes = range(2, x.rank)
    stats = centred(x, axes)
    inverse = stats.inverse(call.number("epsilon", 1e-5))
    normal = stats.deviation * inverse
    over = (0, *axes)
    dx = None
    if call.wants(0):
        dx = _through(dy * _by_channel(call.x(1), x.rank), normal, inverse, axes)
    return (
        dx,
        (dy * normal).sum(*over) if call.wants(1) else None,
        dy.sum(*over) if call.wants(2) else None,
    )


def lp_norm(call: Call) -> Cotangents:
    """With y = x / s, (dy - s' sum(dy y)) / s, where s' is sign(x) for p = 1 and y for p = 2."""
    x, y, axis = call.x(0), call.y(), call.integer("axis", -1)
    order = call.integer("p", 2)
    along = call.builder.ints([axis])
    length = call.builder.op(f"ReduceL{order}", x, along, keepdims=1)
    slope = apply("Sign", x) if order == 1 else y
    zero, one = (call.builder.constant(np.array(n, x.type.dtype)) for n in (0, 1))
    length = call.builder.op("Where", call.builder.op("Equal", length, zero), one, length)
    return ((call.dy - slope * (call.dy * y).sum(axis, keepdims=True)) / length,)


def dropout(call: Call) -> Cotangents:
    """The cotangent of what was kept, grown as it was; all of it outside training."""
    if not is_dropping(call.builder, call.node):
        return (call.dy,)
    kept = call.y(1).cast(call.dy.type.dtype)
    return (call.dy * (kept * (1 / (1 - dropped_share(call.builder, call.node)))),)


def is_dropping(builder: Builder, node: Node) -> bool:
    """Whether a Dropout node drops.

    Raises:
        Unsupported: that is only known at run time.
    """
    if len(node.inputs) < 3 or not node.inputs[2]:
        return False
    mode = builder.constants.get(node.inputs[2])
    if mode is None:
        raise Unsupported(f"{node}: whether it drops is only known at run time")
    return bool(mode)


def dropped_share(builder: Builder, node: Node) -> float:
    """Which share of its input a Dropout node drops.

    Raises:
        Unsupported: that is only known at run time, or no share below 1.
    """
    named = len(node.inputs) > 1 and bool(node.inputs[1])
    ratio = builder.constants.get(node.inputs[1]) if named else np.array(0.5)
    if ratio is None or ratio.size != 1 or not 0 <= ratio.item() < 1:
        raise Unsupported(f"{node}: its ratio is not a constant from 0 to below 1")
    return float(ratio.item())


RULES = {
    "BatchNormalization": Rule(batch_norm, fixed=frozenset({3, 4})),
    "LayerNormalization": Rule(layer_norm),
    "InstanceNormalization": Rule(instance_norm),
    "LpNormalization": Rule(lp_norm),
    "Dropout": Rule(dropout, fixed=frozenset({1, 2})),
}
