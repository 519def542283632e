"""From updates to the model's next step. Pure.

============ ==================================================================
`sums`       weighted means, coordinate by coordinate, over what arrived
`tally`      one round's updates of several stages, weighed and shrunk
`optimizers` what a mean moves: FedAvg, momentum, FedAdam, and the mean of models
============ ==================================================================
"""

from server_ref.aggregate.optimizers import (
    OPTIMIZERS,
    Moments,
    ServerOptimizer,
    averaged,
    optimize,
)
from server_ref.aggregate.sums import (
    NORM_FACTOR,
    WeightedSum,
    decode_checked,
    move,
    norm,
    norm_limit,
)
from server_ref.aggregate.tally import Decoded, Mean, Tally, Weighing

__all__ = [
    "NORM_FACTOR",
    "OPTIMIZERS",
    "Decoded",
    "Mean",
    "Moments",
    "ServerOptimizer",
    "Tally",
    "Weighing",
    "WeightedSum",
    "averaged",
    "decode_checked",
    "move",
    "norm",
    "norm_limit",
    "optimize",
]
