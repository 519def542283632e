"""Cross-entropy of classes, and of single yes or no scores."""

import dataclasses
import math
from collections.abc import Sequence

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


def cross_entropy(
    *,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    class_weights: Sequence[float] | None = None,
    class_axis: int | None = None,
    soft: bool = False,
) -> Loss:
    """Mean of -log softmax at the target, over examples or all positions of sequences and images.

    A final Softmax is looked through: of the scores in front of it, the cross-entropy is the same
    and training neither computes nor divides by the probabilities.

    Args:
        label_smoothing: share of the target spread evenly over all classes, 0 to below 1.
        ignore_index: target value of positions that do not count.
        class_weights: one per class; the mean is weighted by the weight of each target's class.
        class_axis: where classes stand, if not as this module says.
        soft: targets are a share for each class (float32, of the output's shape) rather than one
            class number (int64, without the axis of classes).

    Raises:
        Misuse: a setting is out of range, or two exclude each other.
    """
    if not 0 <= label_smoothing < 1:
        raise Misuse(f"label smoothing {label_smoothing}; it must be at least 0 and below 1")
    if soft and ignore_index is not None:
        raise Misuse("soft targets have no class numbers, so there is none to ignore")
    weights = None if class_weights is None else tuple(float(w) for w in class_weights)
    if weights is not None and not all(0 <= w < math.inf for w in weights):
        raise Misuse("class weights must be numbers from 0 up")
    form = _CrossEntropy(label_smoothing, ignore_index, weights, class_axis, soft)
    settings = {
        "soft": soft,
        "label-smoothing": label_smoothing,
        "ignore-index": ignore_index,
        "class-weights": weights and len(weights),
    }
    return Loss(
        name=spec_of("cross-entropy", settings),
        seat=form.seat,
        target=form.target,
        measure=form.measure,
        classes=form.classes,
    )


@dataclasses.dataclass(frozen=True, slots=True)
class _CrossEntropy:
    """Settings of `cross_entropy`."""

    smoothing: float
    ignored: int | None
    weights: tuple[float, ...] | None
    class_axis: int | None
    soft: bool

    def axis(self, logits: Value) -> int:
        if self.class_axis is not None and not -logits.rank <= self.class_axis < logits.rank:
            raise Misuse(f"class axis {self.class_axis} of an output {logits.type}")
        return _class_axis(logits, self.class_axis)

    def seat(self, output: Value) -> Value:
        maker = maker_of(output, "Softmax")
        axis = int(str(maker.attributes.get("axis", -1))) if maker else -1
        if maker and output.rank >= 2 and axis % output.rank == self.axis(output):
            return output.builder.value(maker.inputs[0])
        return output

    def classes(self, logits: Value) -> int | None:
        count = _class_count(logits, self.axis(logits))
        inside = self.ignored is None or 0 <= self.ignored < count
        return count if inside and not self.soft else None

    def target(self, logits: Value) -> Type:
        axis = self.axis(logits)
        _class_count(logits, axis)
        if self.soft:
            return logits.type
        return Type(INTEGER, logits.shape[:axis] + logits.shape[axis + 1 :])

    def measure(self, logits: Value, target: Value) -> Measured:
        builder, axis = logits.builder, self.axis(logits)
        log_share = builder.op("LogSoftmax", logits, axis=axis)
        kept = None
        if self.ignored is not None:
            never = builder.constant(np.array(self.ignored, np.int64))
            kept = builder.op("Not", builder.op("Equal", target, never))
        aim, total = self._aim(logits, target, axis, kept)
        share = builder.op("Exp", log_share)
        if self.soft or self.weights is not None or kept is not None:
            share = share * aim.sum(axis, keepdims=True)  # elsewhere that sum is 1
        guess = builder.op("ArgMax", logits, axis=axis, keepdims=0)
        right = builder.op("ArgMax", target, axis=axis, keepdims=0) if self.soft else target
        hits = builder.op("Equal", guess, right)
        counted = None if logits.rank == 2 else builder.op("Size", right)
        if kept is not None:
            hits, counted = builder.op("And", hits, kept), kept.cast(INTEGER).sum()
        return Measured(
            loss=-(log_share * aim).sum() / total,
            cotangent=(share - aim) / total,
            correct=hits.cast(INTEGER).sum(),
            counted=counted,
        )

    def _aim(
        self, logits: Value, target: Value, axis: int, kept: Value | None
    ) -> tuple[Value, Value]:
        """What each class weighs at each position, and the divisor of the mean."""
        builder, dtype, count = logits.builder, logits.type.dtype, _class_count(logits, axis)
        aim = target if self.soft else one_hot(target, axis, count, dtype)
        positions = builder.op("Size", target).cast(dtype)
        total = positions * (1 / count) if self.soft else positions
        spread: Value | None = None
        if kept is not None:
            mask = builder.op("Unsqueeze", kept, builder.ints([axis])).cast(dtype)
            aim, spread, total = aim * mask, mask * (self.smoothing / count), mask.sum()
        if self.weights is not None and not self.soft:
            total = (aim * self._weights(logits, axis)).sum()
        if self.smoothing:
            aim = aim * (1 - self.smoothing)
            aim = aim + (self.smoothing / count if spread is None else spread)
        if self.weights is not None:
            aim = aim * self._weights(logits, axis)
        return aim, total if total is positions else not_zero(total)

    def _weights(self, logits: Value, axis: int) -> Value:
        weights = self.weights or ()
        count = _class_count(logits, axis)
        if len(weights) != count:
            raise Misuse(f"{len(weights)} class weights for {count} classes")
        shape = [count if a == axis else 1 for a in range(logits.rank)]
        return logits.builder.constant(np.array(weights, logits.type.dtype).reshape(shape))


def binary_cross_entropy(*, ignore_index: float | None = None) -> Loss:
    """Mean over all elements of log(1 + e^x) - x t: each output is the score of a yes.

    Targets are float32 of the output's shape, from 0 (no) to 1 (yes). A final Sigmoid is looked
    through. Counts as right where score and target are on the same side.

    Args:
        ignore_index: target value of elements that do not count.
    """

    def measure(x: Value, target: Value) -> Measured:
        builder, dtype = x.builder, x.type.dtype
        each = builder.op("Softplus", x) - x * target
        slope = builder.op("Sigmoid", x) - target
        half, zero = (builder.constant(np.array(n, dtype)) for n in (0.5, 0))
        yes, true = builder.op("Greater", x, zero), builder.op("Greater", target, half)
        hits, counted = builder.op("Equal", yes, true), builder.op("Size", x)
        total = counted.cast(dtype)
        if ignore_index is not None:
            never = builder.constant(np.array(ignore_index, dtype))
            kept = builder.op("Not", builder.op("Equal", target, never))
            hits, counted = builder.op("And", hits, kept), kept.cast(INTEGER).sum()
            each, slope = (builder.op("Where", kept, v, zero) for v in (each, slope))
            total = not_zero(counted.cast(dtype))
        return Measured(each.sum() / total, slope / total, hits.cast(INTEGER).sum(), counted)

    return Loss(
        name=spec_of("binary-cross-entropy", {"ignore-index": ignore_index}),
        seat=before_sigmoid,
        measure=measure,
        classes=lambda _: 2 if ignore_index is None else None,
    )


def _class_axis(logits: Value, stated: int | None) -> int:
    if stated is not None:
        return stated % logits.rank
    return logits.rank - 1 if logits.rank == 3 else 1


def _class_count(logits: Value, axis: int) -> int:
    count = logits.shape[axis] if logits.rank >= 2 and axis else None
    if not isinstance(count, int):
        raise Unsupported(
            f"cross-entropy needs an output of shape (batch, classes), not {logits.type}"
        )
    return count
