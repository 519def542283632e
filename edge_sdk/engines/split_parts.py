"""Runs the graphs of one part of a split model on onnxruntime.

The engine holds sessions only; weights and optimizer state are values that go in and come out. So
one engine serves any number of devices' copies of a part, from several threads at once, and a step
that fails leaves what it was given as it was.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_sdk.engines.further import further_names, step_seed
from edge_sdk.engines.sessions import open_session, runtime_errors
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import Plan
from edge_sdk.plan.conventions import (
    APPLY,
    CORRECTION_SUFFIX,
    LEARNING_RATE,
    LOSS,
    PROXIMITY,
    SEED,
    SHARE,
    START_SUFFIX,
    cotangent_name,
    new_name,
)
from edge_sdk.values import Layout, Tensors, Vector

Array = NDArray[np.generic]
Floats = NDArray[np.float32]


@dataclasses.dataclass(frozen=True, slots=True)
class PartState:
    """A part's weights and optimizer state; arrays are never written to."""

    tensors: Tensors = dataclasses.field(repr=False)

    @property
    def size_bytes(self) -> int:
        """Memory the arrays take."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclasses.dataclass(frozen=True, slots=True)
class PartStep:
    """One update of a part."""

    state: PartState
    cotangent: Floats | None
    """Gradient with respect to what the part read; None of the model's input."""
    loss: float | None
    """The batch's mean loss, of the last part."""


class PartEngine:
    """Runs one part of a plan's split.

    Args:
        plan: a plan with a split.
        part: which part of it.
        threads: threads inside an operator.
        arena: let the runtime keep freed memory for itself.

    Raises:
        Misuse: the plan has no split, or no such part.
    """

    def __init__(self, plan: Plan, part: int, *, threads: int = 1, arena: bool = True) -> None:
        if plan.split is None:
            raise Misuse(f"{plan.name} has no split; build it with --cut")
        split = plan.split
        self.layout: Layout = split.layout(part)
        """Parameters, in the order of the part's flat vector."""
        self._state = split.optimizer_state(part)
        self._read = plan.input if part == 0 else split.cuts[part - 1]
        self._last = part == split.parts - 1
        self._beyond = plan.target.name if self._last else cotangent_name(split.cuts[part].name)
        self._hands_back = part > 0
        self._threads = threads
        self._arena = arena
        names = [parameter.name for parameter in self.layout.parameters]
        self._carried = [*names, *(tensor.name for tensor in self._state)]
        self._optional = further_names(names)
        self._update = self._open(
            split.step_graph() if self._last else split.backward_graph(part),
            f"part {part}'s update",
            inputs={self._read.name, self._beyond, LEARNING_RATE, *self._carried},
            outputs=[
                *([LOSS] if self._last else []),
                *([cotangent_name(self._read.name)] if self._hands_back else []),
                *map(new_name, self._carried),
            ],
        )
        self._forward = None
        if not self._last:
            self._forward = self._open(
                split.forward_graph(part),
                f"part {part}'s forward pass",
                inputs={self._read.name},
                outputs=[split.cuts[part].name],
            )

    def start(self, weights: Vector) -> PartState:
        """The state before the first batch: `weights` (layout order) and zero optimizer state.

        Raises:
            Misuse: `weights` has another size or dtype.
        """
        if weights.shape != (self.layout.size,) or weights.dtype != np.float32:
            raise Misuse(f"weights {weights.dtype}{weights.shape}, the part has {self.layout.size}")
        tensors = {name: array.copy() for name, array in self.layout.split(weights).items()}
        tensors |= {tensor.name: np.zeros(tensor.shape, np.float32) for tensor in self._state}
        return PartState(tensors)

    def weights(self, state: PartState) -> Vector:
        """The state's weights, layout order, a new array."""
        return self.layout.flatten(state.tensors)

    def forward(self, state: PartState, read: Array, *, seed: int, batch: int) -> Floats:
        """What the part gives at its cut, shape (examples, *cut's); not of the last part.

        Args:
            state: weights to use.
            read: a batch of the part's input.
            seed: of the training session.
            batch: number of the batch in it: both passes of a batch drop the same.
        """
        if self._forward is None:
            raise Misuse("the last part of a split has no forward graph")
        feeds = {self._read.name: self._fed(read)}
        wanted = {node.name for node in self._forward.get_inputs()} - feeds.keys()
        feeds |= self._further(wanted, seed, batch)
        feeds |= {name: a for name, a in state.tensors.items() if name in wanted}
        with runtime_errors("forward graph"):
            (given,) = self._forward.run(None, feeds)
        return np.asarray(given, np.float32)

    def update(
        self,
        state: PartState,
        read: Array,
        beyond: Array,
        *,
        learning_rate: float,
        seed: int,
        batch: int,
    ) -> PartStep:
        """One update of the part; `state` stays as it is.

        Args:
            state: weights and optimizer state.
            read: a batch of the part's input.
            beyond: targets, of the last part; of others the cotangent at the part's cut.
            learning_rate: of the step.
            seed: of the training session.
            batch: number of the batch in it.

        Raises:
            Misuse: shapes do not fit.
            Corrupt: the graph fails, or what comes out is not finite.
            Unavailable: this runtime lacks an operator, or memory ran out.
        """
        feeds: dict[str, Array] = {
            self._read.name: self._fed(read),
            self._beyond: np.ascontiguousarray(beyond),
            LEARNING_RATE: np.array(learning_rate, np.float32),
            **state.tensors,
        }
        wanted = {node.name for node in self._update.get_inputs()} - feeds.keys()
        feeds |= self._further(wanted, seed, batch)
        with runtime_errors("update graph"):
            given = self._update.run(None, feeds)
        names = [node.name for node in self._update.get_outputs()]
        return self._step(dict(zip(names, given, strict=True)))

    def _step(self, made: Mapping[str, Array]) -> PartStep:
        loss = float(np.asarray(made[LOSS]).item()) if self._last else None
        back = cotangent_name(self._read.name)
        cotangent = np.asarray(made[back], np.float32) if self._hands_back else None
        tensors = {name: np.asarray(made[new_name(name)], np.float32) for name in self._carried}
        checked = [*tensors.values(), *([] if cotangent is None else [cotangent])]
        if not all(np.isfinite(array).all() for array in checked) or not np.isfinite(loss or 0.0):
            raise Corrupt("the step's outcome is not finite")
        return PartStep(PartState(tensors), cotangent, loss)

    def _further(self, wanted: set[str], seed: int, batch: int) -> dict[str, Array]:
        """Feeds of inputs beside the usual ones, such that those for other uses do nothing."""
        feeds: dict[str, Array] = {
            SEED: np.array(step_seed(seed, batch), np.int64),
            PROXIMITY: np.array(0, np.float32),
            SHARE: np.array(1, np.float32),
            APPLY: np.array(True),
        }
        for parameter in self.layout.parameters:
            for suffix in (START_SUFFIX, CORRECTION_SUFFIX):
                if parameter.name + suffix in wanted:
                    feeds[parameter.name + suffix] = np.zeros(parameter.shape, np.float32)
        return {name: array for name, array in feeds.items() if name in wanted}

    def _fed(self, read: Array) -> Array:
        if read.shape[1:] != self._read.shape or len(read) == 0:
            raise Misuse(f"{self._read.name}: {read.shape}, each example has {self._read.shape}")
        return np.ascontiguousarray(read, dtype=self._read.dtype)

    def _open(
        self, graph: bytes, what: str, *, inputs: set[str], outputs: list[str]
    ) -> ort.InferenceSession:
        session = open_session(graph, what, threads=self._threads, arena=self._arena)
        found = {node.name for node in session.get_inputs()}
        known = inputs | set(self._carried) | self._optional
        if not inputs <= found <= known:
            raise Corrupt(f"{what}: its inputs are not those of the plan")
        if [node.name for node in session.get_outputs()] != outputs:
            raise Corrupt(f"{what}: its outputs are not those of the plan")
        return session
