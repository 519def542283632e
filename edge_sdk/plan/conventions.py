"""Names that training graphs and engines share.

=========== =====================================================================================
graph       inputs and outputs, in this order
=========== =====================================================================================
train       in: input, target, `lr` (float32, 0-d), parameters by name, state by name.
            out: `loss` (float32, 0-d, mean over the batch), then `<name>.new` for each parameter
            and each state tensor.
evaluate    in: input, target, parameters by name.
            out: `loss` (mean over the batch) and, where the task has classes, `correct`
            (int64, 0-d, how many examples of the batch were right).
warm-up     as train; only some of the parameters have state and a `<name>.new`.
forward     in: input of the part, its parameters by name.
            out: the cut.
backward    in: input of the part, `<cut>.cotangent`, `lr`, parameters, state.
            out: `<input>.cotangent` where the input is a cut, then `<name>.new` for each parameter
            and each state tensor. Runs the part forward again, so nothing is kept between the two.
step        of the last part; in: cut, target, `lr`, parameters, state.
            out: `loss`, `<cut>.cotangent`, then `<name>.new` for each parameter and state tensor.
=========== =====================================================================================

Names of input and target stand in the manifest. Their first axis is the batch: symbolic, so any
batch size runs, a single example and a smaller last batch included. State is zero at the start.

The last three belong to a model split at one or two of its tensors, the cuts (`split`). Cotangents
are those of the batch's mean loss, so they can be handed on as they are.
"""

BATCH_AXIS = "batch"
"""Symbolic name of axis 0 of input and target."""

LEARNING_RATE = "lr"
"""Train graph input: learning rate, float32, 0-d array (not a numpy scalar)."""

TARGET = "target"
"""Usual name of the target input; the manifest's is the authority."""

LOSS = "loss"
"""First output of both graphs."""

CORRECT = "correct"
"""Second output of the evaluation graph of a task with classes."""

NEW_SUFFIX = ".new"

COTANGENT_SUFFIX = ".cotangent"


def new_name(name: str) -> str:
    """Train graph output that holds the new value of parameter or state `name`."""
    return name + NEW_SUFFIX


def cotangent_name(name: str) -> str:
    """Input or output that holds the gradient of the loss with respect to the value `name`."""
    return name + COTANGENT_SUFFIX
