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
=========== =====================================================================================

Names of input and target stand in the manifest. Their first axis is the batch: symbolic, so any
batch size runs, a single example and a smaller last batch included. State is zero at the start.
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


def new_name(name: str) -> str:
    """Train graph output that holds the new value of parameter or state `name`."""
    return name + NEW_SUFFIX
