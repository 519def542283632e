"""Names that training graphs and engines share.

=========== =====================================================================================
graph       inputs and outputs, in this order
=========== =====================================================================================
train       in: input, target, `lr` (float32, 0-d), parameters by name, state by name.
            out: `loss` (float32, 0-d, mean over the batch), then `<name>.new` for each parameter
            and each state tensor.
evaluate    in: input, target, parameters by name.
            out: `loss` (mean over the batch) and, where quality is a share of something,
            `correct` (int64, 0-d): how many examples of the batch were right. Where not examples
            are judged but their positions, also `counted` (int64, 0-d): how many were judged, so
            that quality is the sum of `correct` over the sum of `counted` (for Dice: twice the
            overlap over the sum of both sizes).
warm-up     as train; only some of the parameters have state and a `<name>.new`.
forward     in: input of the part, `seed` where it drops, its parameters by name.
            out: the cut.
backward    in: input of the part, `<cut>.cotangent`, `lr`, parameters, state.
            out: `<input>.cotangent` where the input is a cut, then `<name>.new` for each parameter
            and each state tensor. Runs the part forward again, so nothing is kept between the two.
step        of the last part; in: cut, target, `lr`, parameters, state.
            out: `loss`, `<cut>.cotangent`, then `<name>.new` for each parameter and state tensor.
=========== =====================================================================================

Some train graphs (and warm-up, backward, step) have further inputs:

=================== =============================================================================
input               meaning
=================== =============================================================================
`seed`              int64, 0-d, 0 to 2**32 - 1: another number every step; draws dropout masks.
`mu`                float32, 0-d: weight of the proximal term; with it
`<name>.start`      each parameter as it was when the round started.
`<name>.correction` a term added to each parameter's gradient.
`share`, `apply`    float32 and bool, 0-d, of a graph that gathers gradients: which share of the
                    step's examples this batch holds, and whether it is the step's last. Until then
                    weights stay as they are.
=================== =============================================================================

Running statistics of batch normalisation are parameters: they have `<name>.new` like weights, but
no state, start or correction. They move with every run, also where gradients are gathered.

Names of input and target stand in the manifest. Their first axis is the batch: symbolic, so any
batch size runs, a single example and a smaller last batch included. State is zero at the start.
Whoever reads a state tensor does so on the way to its new value, element by element at the end, so
an engine may let the new value overwrite the old one; a weight's may not.

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

COUNTED = "counted"
"""Third output where what is judged are not examples."""

SEED = "seed"
PROXIMITY = "mu"
SHARE = "share"
APPLY = "apply"

NEW_SUFFIX = ".new"
START_SUFFIX = ".start"
CORRECTION_SUFFIX = ".correction"

COTANGENT_SUFFIX = ".cotangent"


def new_name(name: str) -> str:
    """Train graph output that holds the new value of parameter or state `name`."""
    return name + NEW_SUFFIX


def cotangent_name(name: str) -> str:
    """Input or output that holds the gradient of the loss with respect to the value `name`."""
    return name + COTANGENT_SUFFIX
