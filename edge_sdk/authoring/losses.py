"""What is minimised: each loss measures an output against a target and gives the cotangent.

The cotangent is written directly rather than by differentiating the loss: it is shorter, and for
cross-entropy it has no division by small probabilities.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.graph import Type
from edge_sdk.errors import Misuse, Unsupported


@dataclasses.dataclass(frozen=True, slots=True)
class Measured:
    """What a loss makes of one batch."""

    loss: Value
    """0-d, mean over the batch."""
    cotangent: Value
    """Of the value that `Loss.seat` names."""
    correct: Value | None = None
    """int64, 0-d: how many examples were right; None where nothing is counted."""


@dataclasses.dataclass(frozen=True, slots=True)
class Loss:
    """One way to measure."""

    seat: Callable[[Value], Value]
    """From the model's output, the value the loss reads."""
    target: Callable[[Value], Type]
    """From that value, the type of the target, batch axis first."""
    measure: Callable[[Value, Value], Measured]
    """From that value and the target."""
    classes: Callable[[Value], int | None]
    """Number of classes; None where there are none."""


def loss_named(name: str) -> Loss:
    """The loss of that name.

    Raises:
        Misuse: there is none.
    """
    if name not in LOSSES:
        raise Misuse(f"no loss {name!r}; there are {', '.join(LOSSES)}")
    return LOSSES[name]


def _logits(output: Value) -> Value:
    """The scores in front of a final Softmax, or the output itself.

    A model that ends in Softmax gives probabilities; cross-entropy of those is cross-entropy of
    the scores in front, and training then neither computes nor divides by the probabilities.
    """
    maker = next((n for n in output.builder.nodes if output.name in n.outputs), None)
    if maker and maker.op == "Softmax" and maker.attributes.get("axis", -1) in (-1, 1):
        return output.builder.value(maker.inputs[0])
    return output


def _class_count(logits: Value) -> int:
    count = logits.shape[1] if logits.rank == 2 else None
    if not isinstance(count, int):
        raise Unsupported(
            f"cross-entropy needs an output of shape (batch, classes), not {logits.type}"
        )
    return count


def _class_target(logits: Value) -> Type:
    return Type(np.dtype(np.int64), logits.shape[:1])


def _cross_entropy(logits: Value, target: Value) -> Measured:
    """Class index targets: mean of -log softmax at the target; cotangent (softmax - onehot) / n."""
    builder, dtype = logits.builder, logits.type.dtype
    numbers = builder.constant(np.arange(_class_count(logits), dtype=np.int64)[None])
    onehot = builder.op("Equal", target.reshape(-1, 1), numbers).cast(dtype)
    log_share = builder.op("LogSoftmax", logits, axis=1)
    count = builder.op("Size", target).cast(dtype)
    guess = builder.op("ArgMax", logits, axis=1, keepdims=0)
    hits = builder.op("Equal", guess, target).cast(np.dtype(np.int64))
    return Measured(
        loss=-(log_share * onehot).sum() / count,
        cotangent=(builder.op("Exp", log_share) - onehot) / count,
        correct=hits.sum(),
    )


def _value_target(output: Value) -> Type:
    return output.type


def _mean_squared_error(output: Value, target: Value) -> Measured:
    """Mean of the squared difference over all elements."""
    difference = output - target
    count = output.builder.op("Size", output).cast(output.type.dtype)
    return Measured(
        loss=(difference * difference).sum() / count,
        cotangent=difference / (count * 0.5),
    )


LOSSES = {
    "cross-entropy": Loss(_logits, _class_target, _cross_entropy, _class_count),
    "mse": Loss(lambda output: output, _value_target, _mean_squared_error, lambda _: None),
}
"""Losses by the name `build_plan` takes."""
