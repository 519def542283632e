"""A model cut at one or two tensors, its parts run in different places (split learning)."""

import dataclasses
from collections.abc import Mapping, Sequence

from edge_sdk.errors import Misuse
from edge_sdk.plan.manifest import (
    NamedShape,
    PartSpec,
    SplitSpec,
    TensorSpec,
    backward_member,
    forward_member,
    step_member,
)
from edge_sdk.values import Layout, Parameter

SERVER_PART = 1
"""The part of a split that the server trains: the last of two, the middle of three."""

DEVICE_PARTS = 254
"""Stage number that stands for all parts of the device together, where frames and downloads name a
stage: no stage of a plan with a split has it. Their parameters follow in the plan's order."""


COPIES = 5
"""Of the parameters while they are trained: the round's, those under way, gradients or new ones,
optimizer state, and the difference that is sent. Measured with ResNet-18: 4.9."""


def device_parts(parts: int) -> tuple[int, ...]:
    """The parts that the device trains, of a split into `parts`."""
    return tuple(part for part in range(parts) if part != SERVER_PART)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PartGraphs:
    """What `pack_plan` needs of one part: two graphs, or the step alone for the last part."""

    parameters: tuple[int, ...]
    """Positions in the plan's parameter list, rising."""
    state: tuple[Parameter, ...]
    """Optimizer state tensors."""
    graphs: tuple[bytes, ...]
    """Forward and backward graph; of the last part the step."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitParts:
    """What `pack_plan` needs of a split."""

    cuts: tuple[TensorSpec, ...]
    parts: tuple[PartGraphs, ...]
    kept: tuple[int, ...] | None = None
    """See `SplitSpec.kept`."""

    def spec(self) -> SplitSpec:
        """As the manifest has it."""
        return SplitSpec(
            cuts=self.cuts,
            parts=tuple(
                PartSpec(
                    parameters=part.parameters,
                    state=tuple(NamedShape(name=p.name, shape=p.shape) for p in part.state),
                )
                for part in self.parts
            ),
            kept=self.kept,
        )


def split_members(split: SplitParts) -> dict[str, bytes]:
    """The graphs by file name, in the bundle's order.

    Raises:
        Misuse: a part has too few or too many.
    """
    last = len(split.parts) - 1
    files: dict[str, bytes] = {}
    for number, part in enumerate(split.parts):
        kinds = [step_member] if number == last else [forward_member, backward_member]
        if len(part.graphs) != len(kinds):
            raise Misuse(f"part {number} of a split has {len(part.graphs)} graphs")
        files |= {kind(number): graph for kind, graph in zip(kinds, part.graphs, strict=True)}
    return files


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """A plan's split; see `manifest.SplitSpec` for who runs which part."""

    spec: SplitSpec
    everything: Layout
    """All parameters of the plan."""
    members: Mapping[str, memoryview]

    @property
    def parts(self) -> int:
        """2, or 3 where the loss stays with the input."""
        return len(self.spec.parts)

    @property
    def cuts(self) -> tuple[TensorSpec, ...]:
        """What is handed on, forwards as activations and backwards as cotangents."""
        return self.spec.cuts

    def layout(self, part: int) -> Layout:
        """Parameters of `part`, in the order of its flat vector."""
        return Layout(tuple(self.everything.parameters[i] for i in self._part(part).parameters))

    def optimizer_state(self, part: int) -> tuple[Parameter, ...]:
        """State tensors of `part`; zero at the start."""
        return tuple(Parameter(t.name, t.shape) for t in self._part(part).state)

    def working_bytes(self, parts: Sequence[int], *, batch_size: int) -> int:
        """Estimate of the memory it takes to train `parts` beyond that of the program.

        Float32 of `COPIES` of their parameters and, where the plan tells, of what a batch leaves
        in the graphs. Of two parts apart only the larger one's batch counts: they run in turns.
        """
        parameters = sum(self.layout(part).size for part in parts)
        kept = [self.spec.kept[part] for part in parts] if self.spec.kept else [0]
        whole = len(parts) == self.parts
        return 4 * (COPIES * parameters + batch_size * (sum(kept) if whole else max(kept)))

    def forward_graph(self, part: int) -> bytes:
        """ONNX model from the part's input to its cut; not of the last part."""
        return self._graph(part, forward_member(part))

    def backward_graph(self, part: int) -> bytes:
        """ONNX model of one update of the part from its cut's cotangent; not of the last part."""
        return self._graph(part, backward_member(part))

    def step_graph(self) -> bytes:
        """ONNX model of one update of the last part, with the cotangent of what it read."""
        last = self.parts - 1
        return self._graph(last, step_member(last))

    def _graph(self, part: int, member: str) -> bytes:
        self._part(part)
        if member not in self.members:
            raise Misuse(f"part {part} of {self.parts} has no such graph")
        return bytes(self.members[member])

    def _part(self, part: int) -> PartSpec:
        if not 0 <= part < self.parts:
            raise Misuse(f"part {part} of a split into {self.parts}")
        return self.spec.parts[part]
