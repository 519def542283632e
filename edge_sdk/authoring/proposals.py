"""Where a model can be cut, for people to choose from."""

import dataclasses
import math
from pathlib import Path

import onnx

from edge_sdk.authoring.cuts import Cut, block_ends, choose_split, find_cuts
from edge_sdk.authoring.stages import find_boundaries, usable_levels
from edge_sdk.authoring.training import forward_graph


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tensor at which a model can be cut."""

    name: str
    shape: tuple[int, ...]
    """Without the batch axis."""
    parameters: int
    """Trainable numbers before it: the size of an early stage, or of a device's part."""
    compute: float
    """Share of the model's multiply-adds before it."""
    good_for: tuple[str, ...]
    """`stage` and `split` where `auto` would cut here, `level` of a U-Net."""

    @property
    def values(self) -> int:
        """Numbers handed on for each example."""
        return math.prod(self.shape)


def propose_cuts(model: bytes | Path | onnx.ModelProto) -> tuple[Place, ...]:
    """The ends of a model's blocks, in order; for a U-Net the ways in of its levels as well.

    Raises:
        Malformed: as `build_plan`.
    """
    graph = forward_graph(model)
    ends = block_ends(graph, find_cuts(graph))
    stages = {
        cut.name if isinstance(cut, Cut) else cut.way_in for cut in find_boundaries(graph, "auto")
    }
    split = block_ends(graph, find_cuts(graph, for_split=True))
    best = {choose_split(graph, split).name} if split else set()
    levels = {level.way_in: level for level in usable_levels(graph)}
    found: dict[str, tuple[frozenset[str], float]] = {
        cut.name: (cut.parameters, cut.compute) for cut in (*ends, *split)
    }
    found |= {name: (level.parameters, level.compute) for name, level in levels.items()}
    order = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs}
    sizes = {name: array.size for name, array in graph.parameters.items()}
    marks = {"stage": stages, "split": best, "level": set(levels)}
    return tuple(
        Place(
            name=name,
            shape=tuple(n for n in (graph.types[name].shape or ())[1:] if isinstance(n, int)),
            parameters=sum(sizes[parameter] for parameter in found[name][0]),
            compute=found[name][1],
            good_for=tuple(mark for mark, names in marks.items() if name in names),
        )
        for name in sorted(found, key=order.__getitem__)
    )
