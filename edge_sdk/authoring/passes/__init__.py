"""Graph to graph, each pass stating and checking what it requires and ensures.

`run_passes` is the only way they are run. Add a pass as a file with one function and its `Pass`.
"""

from edge_sdk.authoring.passes.fold import FOLD_CONSTANTS
from edge_sdk.authoring.passes.kind import Pass, run_passes
from edge_sdk.authoring.passes.names import FREE_RESERVED_NAMES
from edge_sdk.authoring.passes.precision import TO_FLOAT64
from edge_sdk.authoring.passes.tidy import MERGE_EQUAL_NODES, REMOVE_UNUSED

__all__ = [
    "FOLD_CONSTANTS",
    "FREE_RESERVED_NAMES",
    "MERGE_EQUAL_NODES",
    "REMOVE_UNUSED",
    "TO_FLOAT64",
    "Pass",
    "run_passes",
]
