"""Overlap of predicted and true regions."""

import math

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.graph import Type
from edge_sdk.authoring.losses.kind import (
    INTEGER,
    Loss,
    Measured,
    before_sigmoid,
    maker_of,
    not_zero,
    one_hot,
    spec_of,
)
from edge_sdk.errors import Misuse, Unsupported


def dice(*, smooth: float = 1.0) -> Loss:
    """One minus the soft Dice coefficient, mean over examples and classes (arXiv:1606.04797).

    With p the predicted share and t the target, (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth)
    over an example's positions. An output of one channel is the score of a yes against targets of
    its own shape (float32, 0 to 1); more channels are scores of classes against class numbers
    (int64, without the channel axis). Counts hard Dice: twice the overlap over the sum of both
    sizes, of all classes but the first, which is the background.

    Raises:
        Misuse: `smooth` is below 0.
    """
    if not 0 <= smooth < math.inf:
        raise Misuse(f"smooth {smooth}; it must be at least 0")

    def target(scores: Value) -> Type:
        if _channels(scores) == 1:
            return scores.type
        return Type(INTEGER, scores.shape[:1] + scores.shape[2:])

    def measure(scores: Value, aim: Value) -> Measured:
        binary = _channels(scores) == 1
        return _dice_of_one(scores, aim, smooth) if binary else _dice_of_many(scores, aim, smooth)

    return Loss(
        name=spec_of("dice", {"smooth": smooth if smooth != 1 else None}),
        seat=_scores,
        target=target,
        measure=measure,
        classes=lambda scores: max(2, _channels(scores)),
    )


def _scores(output: Value) -> Value:
    """The scores in front of a final Sigmoid or Softmax, or the output itself."""
    if _channels(output) == 1:
        return before_sigmoid(output)
    maker = maker_of(output, "Softmax")
    if maker is None or maker.attributes.get("axis", -1) not in (1, 1 - output.rank):
        return output
    return output.builder.value(maker.inputs[0])


def _dice_of_one(scores: Value, target: Value, smooth: float) -> Measured:
    builder, dtype = scores.builder, scores.type.dtype
    share = builder.op("Sigmoid", scores)
    loss, slope = _soft_dice(share, target, smooth)
    half, zero = (builder.constant(np.array(n, dtype)) for n in (0.5, 0))
    found = builder.op("Greater", scores, zero)
    true = builder.op("Greater", target, half)
    return Measured(loss, slope * (share * (1.0 - share)), *_overlap(found, true))


def _dice_of_many(scores: Value, target: Value, smooth: float) -> Measured:
    builder = scores.builder
    share = builder.op("Softmax", scores, axis=1)
    true = one_hot(target, 1, _channels(scores), scores.type.dtype)
    loss, slope = _soft_dice(share, true, smooth)
    inner = (slope * share).sum(1, keepdims=True)
    guess = builder.op("ArgMax", scores, axis=1, keepdims=0)
    first = builder.constant(np.array(0, np.int64))
    found, wanted = (builder.op("Greater", which, first) for which in (guess, target))
    same = builder.op("And", builder.op("Equal", guess, target), found)
    sizes = found.cast(INTEGER).sum() + wanted.cast(INTEGER).sum()
    return Measured(loss, share * (slope - inner), same.cast(INTEGER).sum() * 2, sizes)


def _soft_dice(share: Value, target: Value, smooth: float) -> tuple[Value, Value]:
    """The loss and its slope by each share."""
    axes = tuple(range(2, share.rank))
    above = (share * target).sum(*axes, keepdims=True) * 2.0 + smooth
    below = not_zero((share + target).sum(*axes, keepdims=True) + smooth)
    each = above / below
    count = share.builder.op("Size", each).cast(share.type.dtype)
    return (1.0 - each).sum() / count, (each - target * 2.0) / (below * count)


def _overlap(found: Value, true: Value) -> tuple[Value, Value]:
    """Twice the size of what both hold, and the sum of both sizes."""
    both = found.builder.op("And", found, true)
    sizes = [mask.cast(INTEGER).sum() for mask in (both, found, true)]
    return sizes[0] * 2, sizes[1] + sizes[2]


def _channels(scores: Value) -> int:
    count = scores.shape[1] if scores.rank >= 3 else None
    if not isinstance(count, int):
        raise Unsupported(
            f"dice needs an output of shape (batch, channels, space), not {scores.type}"
        )
    return count
