"""Graph to graph, each pass stating and checking what it requires and ensures.

`run_passes` is the only way they are run. Add a pass as a file with one function and its `Pass`.
"""

from edge_sdk.authoring.passes.batch_norm import (
    FREEZE_BATCH_NORM,
    LOWER_BATCH_NORM,
    TRAIN_BATCH_NORM,
    running_statistics,
)
from edge_sdk.authoring.passes.dropout import LOWER_DROPOUT, TRAIN_DROPOUT, WITHOUT_DROPOUT
from edge_sdk.authoring.passes.fold import FOLD_CONSTANTS
from edge_sdk.authoring.passes.kind import Pass, run_passes
from edge_sdk.authoring.passes.names import FREE_RESERVED_NAMES
from edge_sdk.authoring.passes.precision import TO_FLOAT64
from edge_sdk.authoring.passes.recompute import RECOMPUTE_CHEAP
from edge_sdk.authoring.passes.tidy import MERGE_EQUAL_NODES, REMOVE_IDENTITIES, REMOVE_UNUSED

__all__ = [
    "FOLD_CONSTANTS",
    "FREEZE_BATCH_NORM",
    "FREE_RESERVED_NAMES",
    "LOWER_BATCH_NORM",
    "LOWER_DROPOUT",
    "MERGE_EQUAL_NODES",
    "RECOMPUTE_CHEAP",
    "REMOVE_IDENTITIES",
    "REMOVE_UNUSED",
    "TO_FLOAT64",
    "TRAIN_BATCH_NORM",
    "TRAIN_DROPOUT",
    "WITHOUT_DROPOUT",
    "Pass",
    "run_passes",
    "running_statistics",
]
