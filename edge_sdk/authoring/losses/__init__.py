"""What is minimised: each loss measures an output against a target and gives the cotangent.

The cotangent is written directly rather than by differentiating the loss: it is shorter, and for
cross-entropy it has no division by small probabilities. Settings and their meaning as in PyTorch.

Where classes stand: along axis 1 of (batch, classes) and of images (batch, classes, height, width);
along the last axis of sequences (batch, time, classes), unless `class_axis` says otherwise.

To add a loss: write it beside its family and name it in `table`.
"""

from edge_sdk.authoring.losses.cross_entropy import binary_cross_entropy, cross_entropy
from edge_sdk.authoring.losses.dice import dice
from edge_sdk.authoring.losses.distance import huber, mean_absolute_error, mean_squared_error
from edge_sdk.authoring.losses.kind import Loss, Measured
from edge_sdk.authoring.losses.table import LOSSES, chosen_loss

__all__ = [
    "LOSSES",
    "Loss",
    "Measured",
    "binary_cross_entropy",
    "chosen_loss",
    "cross_entropy",
    "dice",
    "huber",
    "mean_absolute_error",
    "mean_squared_error",
]
