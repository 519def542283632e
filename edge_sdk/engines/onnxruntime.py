"""Training on the stock onnxruntime wheel, from graphs made ahead of time.

A plan's train graph is one optimizer step: parameters and optimizer state go in, their new values
come out (`edge_sdk.plan.conventions`). Two sets of buffers take turns: what one step wrote, the
next step reads. So weights and state stay in the runtime's own memory from the first step to the
last, and a step copies nothing but its batch. Optimizer state is written where it is read.

Settings, measured on x86-64 with onnxruntime 1.31. Memory patterns off cuts the peak by 20 to 40%
at no cost in time. Spinning threads are off: they burn a battery for microseconds. With
`low_memory` the arena is off and glibc gives freed blocks back at once; for a CNN of 106 thousand
parameters in batches of 250 that took the peak from 157 to 134 MB and what stays resident between
rounds from 154 to 92 MB, at 50% more CPU time. Either alone is worse than neither: without the
second, glibc raises its threshold for returning memory and keeps the freed blocks in pieces.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_sdk.engines.allocation import return_freed_memory
from edge_sdk.engines.further import FurtherInputs, further_names
from edge_sdk.engines.measure import Measure
from edge_sdk.engines.schedule import batches_of, schedule
from edge_sdk.engines.sessions import open_session, runtime_errors
from edge_sdk.engines.tally import Step, Tally
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.interfaces import Batch, Dataset, KeepGoing
from edge_sdk.plan import Plan, TensorSpec
from edge_sdk.plan.conventions import CORRECT, COUNTED, LEARNING_RATE, LOSS, PROXIMITY, new_name
from edge_sdk.values import (
    Checkpoint,
    Evaluation,
    Layout,
    Parameter,
    Trained,
    TrainSettings,
    Vector,
)


def _always() -> bool:
    return True


class OnnxRuntimeEngine:
    """Trains one stage of one plan with onnxruntime; an `interfaces.Engine`.

    Needs no server: data may be any iterable of batches, see `docs/training-offline.md`. Sessions
    are made on first use and kept. The same plan, seed and threads give the same weights on the
    same machine. Not for use by two threads at once.

    Args:
        plan: the verified bundle.
        stage: which of its stages.
        warm_up: train only what the stage before does not have; the rest is used but stays.
        threads: threads inside an operator.
        piece_size: run each batch in pieces of at most so many examples and step once for all, to
            need less memory; for a plan made to accumulate.
        low_memory: spend CPU time to need less memory, for boards of 512 MB and less; changes how
            this whole process allocates. Without effect where the C library is not glibc.

    Raises:
        Misuse: the plan has no such stage or warm-up, or `threads` or `piece_size` is
            below 1.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        stage: int = 0,
        warm_up: bool = False,
        threads: int = 1,
        piece_size: int | None = None,
        low_memory: bool = False,
    ) -> None:
        if threads < 1:
            raise Misuse(f"{threads} threads")
        if piece_size is not None and piece_size < 1:
            raise Misuse(f"pieces of {piece_size} examples")
        self._piece_size = piece_size
        self._train_inputs: set[str] = set()
        self._plan = plan
        self._stage = stage
        self._layout: Layout = plan.layout(stage)
        self._warm_up = warm_up
        self._trained = plan.trained(stage, warm_up=warm_up)
        self._state = plan.optimizer_state(stage, warm_up=warm_up)
        self._threads = threads
        self._arena = not (low_memory and return_freed_memory())
        self._train_session: ort.InferenceSession | None = None
        self._evaluate_session: ort.InferenceSession | None = None

    def train(
        self,
        weights: Vector,
        data: Dataset | Iterable[Batch],
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = _always,
        progress: Callable[[Step], None] | None = None,
        proximity: float = 0.0,
        correction: Vector | None = None,
        resumed: Checkpoint | None = None,
    ) -> Trained:
        """Train from `weights` (float32, layout order) and give the new ones in a new array.

        Optimizer state starts at zero. When `keep_going` ends it, a checkpoint comes with it.

        `settings.proximity` is FedProx's mu (Li et al., arXiv 1812.06127). A plan made with
        `proximal` has the term in its gradient. With other plans the pull comes after each step,
        apart from the optimizer: w -= rate * mu * (w - start), as weight decay is decoupled in
        AdamW; for plain SGD the two differ only in the order of gradient and pull.

        Args:
            weights: to start from.
            data: a dataset, or any iterable of batches `(inputs, targets)`, which is then gone
                through once for each epoch, in its own order and batch sizes.
            settings: epochs, learning rate and, of a dataset, batch size and seed of the order.
            keep_going: asked before every step; training stops there when it answers False.
            progress: told of every step when it has run.
            proximity: FedProx's mu, of a plan made with `proximal` only; instead of that of
                `settings`.
            correction: added to every gradient, layout order, of a plan made with `correction`.
            resumed: go on from there; all else must be as it was.

        Raises:
            Misuse: weights, checkpoint or batches do not have the plan's shape, `data` is an
                iterator, used up by the first of several epochs, or the plan lacks what is asked
                for.
            Malformed: the plan's train graph breaks its conventions or fails when run.
            Unavailable: this onnxruntime lacks an operator, or memory ran out.
        """
        self._check_weights(weights)
        steps = _Steps(self._session_to_train(), self._layout, self._trained, self._state)
        steps.load(weights, resumed)
        rate = {LEARNING_RATE: np.array(settings.learning_rate, np.float32)}
        asked = proximity or settings.proximity
        in_graph = PROXIMITY in self._train_inputs
        pull = 0.0 if in_graph or proximity else settings.learning_rate * asked
        further = FurtherInputs(
            self._train_inputs,
            self._layout,
            weights,
            seed=settings.seed,
            proximity=asked if in_graph or proximity else 0.0,
            correction=correction,
            piece_size=self._piece_size,
            runs=0 if resumed is None else resumed.runs,
        )
        tally = Tally(resumed)
        checkpoint: Checkpoint | None = None
        for epoch, index, batch in schedule(data, settings, tally, resumed):
            if not keep_going():
                checkpoint = _checkpoint(steps, tally, further, epoch=epoch, batches=index)
                break
            loss = 0.0
            for run in further.runs(batch):
                loss += run.share * steps.step({**self._feeds(run.batch), **run.feeds, **rate})
            if pull:
                steps.pull(weights, share=min(pull, 1.0))
            step = tally.count(loss, examples=len(batch[0]))
            if progress is not None:
                progress(step)
        return Trained(
            weights=steps.weights(),
            examples=tally.distinct,
            steps=tally.steps,
            loss=tally.loss,
            stopped=checkpoint is not None,
            checkpoint=checkpoint,
        )

    def resume(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        checkpoint: Checkpoint,
        keep_going: KeepGoing = _always,
    ) -> Trained:
        """Go on from `checkpoint`, to the same end as if `train` had never stopped.

        Raises:
            Misuse, Malformed, Unavailable: as `train`.
        """
        return self.train(weights, data, settings, keep_going=keep_going, resumed=checkpoint)

    def evaluate(
        self, weights: Vector, data: Dataset | Iterable[Batch], *, batch_size: int = 256
    ) -> Evaluation:
        """Mean loss over all of `data` and, where the plan counts it, the share it got right.

        The share is of examples, or of the positions of sequences and images; of a Dice loss it is
        the Dice coefficient of all examples together.

        `data` may be a dataset or any iterable of batches, which ignores `batch_size`.

        Raises:
            Misuse: weights or batches do not have the plan's shape, or there are no examples.
            Malformed: the plan's evaluation graph breaks its conventions or fails when run, or
                the loss is not finite.
            Unavailable: this onnxruntime lacks an operator, or memory ran out.
        """
        self._check_weights(weights)
        session = self._session_to_evaluate()
        # Bound by address, not copied: `tensors` must outlive the last run.
        tensors = self._layout.split(np.ascontiguousarray(weights))
        with runtime_errors("evaluation graph"):
            binding = session.io_binding()
            for name, tensor in tensors.items():
                binding.bind_cpu_input(name, tensor)
        measure = Measure()
        for batch in batches_of(data, size=batch_size, seed=None):
            loss, *counts = self._measure(session, binding, self._feeds(batch))
            found = zip((CORRECT, COUNTED), map(int, counts), strict=False)
            measure.add(examples=len(batch[0]), loss=float(loss), **dict(found))
        return measure.result()

    def _measure(
        self,
        session: ort.InferenceSession,
        binding: ort.IOBinding,
        feeds: dict[str, NDArray[np.generic]],
    ) -> list[NDArray[np.generic]]:
        with runtime_errors("evaluation graph"):
            for name, array in feeds.items():
                binding.bind_cpu_input(name, array)
            for node in session.get_outputs():
                binding.bind_output(node.name)
            session.run_with_iobinding(binding)
            outputs: list[NDArray[np.generic]] = binding.copy_outputs_to_cpu()
        return outputs

    # ------------------------------------------------------------------ sessions

    def _session_to_train(self) -> ort.InferenceSession:
        if self._train_session is None:
            read = [*self._layout.parameters, *self._state]
            written = [*self._trained.parameters, *self._state]
            self._train_session = self._open(
                self._plan.train_graph(self._stage, warm_up=self._warm_up),
                "train graph",
                inputs={LEARNING_RATE, *(tensor.name for tensor in read)},
                optional=further_names([tensor.name for tensor in self._layout.parameters]),
                outputs=[[LOSS, *(new_name(tensor.name) for tensor in written)]],
            )
            self._train_inputs = {node.name for node in self._train_session.get_inputs()}
        return self._train_session

    def _session_to_evaluate(self) -> ort.InferenceSession:
        if self._evaluate_session is None:
            counts = [[LOSS, CORRECT], [LOSS, CORRECT, COUNTED]]
            self._evaluate_session = self._open(
                self._plan.evaluate_graph(self._stage),
                "evaluation graph",
                inputs={parameter.name for parameter in self._layout.parameters},
                outputs=[[LOSS], *counts] if self._plan.classes is None else counts,
            )
        return self._evaluate_session

    def _open(
        self,
        graph: bytes,
        what: str,
        *,
        inputs: set[str],
        optional: frozenset[str] = frozenset(),
        outputs: Sequence[Sequence[str]],
    ) -> ort.InferenceSession:
        """A session whose inputs and outputs are among those of the conventions."""
        session = open_session(graph, what, threads=self._threads, arena=self._arena)
        wanted = inputs | {self._plan.input.name, self._plan.target.name}
        if not wanted <= {node.name for node in session.get_inputs()} <= wanted | optional:
            raise Corrupt(f"{what}: its inputs are not those of the plan")
        if [node.name for node in session.get_outputs()] not in outputs:
            raise Corrupt(f"{what}: its outputs are not those of the plan")
        return session

    # ------------------------------------------------------------------ what goes in

    def _check_weights(self, weights: Vector) -> None:
        if weights.shape != (self._layout.size,) or weights.dtype != np.float32:
            raise Misuse(
                f"weights {weights.dtype}{weights.shape}, the plan has float32 "
                f"({self._layout.size},)"
            )

    def _feeds(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        x, y = batch
        if len(x) != len(y) or len(x) == 0:
            raise Misuse(f"a batch of {len(x)} inputs and {len(y)} targets")
        plan = self._plan
        return {plan.input.name: _fed(x, plan.input), plan.target.name: _fed(y, plan.target)}


class _Steps:
    """Buffers on the runtime's side and the two bindings that take turns.

    Weights have two buffers, of which each step reads one and writes the other: the backward pass
    may read a weight after its new value is there. Optimizer state has one, as `conventions` allow.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        layout: Layout,
        trained: Layout,
        state: Sequence[Parameter],
    ) -> None:
        self._session = session
        self._layout = layout
        self._state = state
        with runtime_errors("train graph"):
            self._loss = _buffer(())
            moving = trained.parameters
            names = {tensor.name for tensor in moving}
            still = [tensor for tensor in layout.parameters if tensor.name not in names]
            self._still = {tensor.name: _buffer(tensor.shape) for tensor in still}
            self._carried = {tensor.name: _buffer(tensor.shape) for tensor in state}
            self._now = {tensor.name: _buffer(tensor.shape) for tensor in moving}
            self._next = {tensor.name: _buffer(tensor.shape) for tensor in moving}
            self._binding = self._bind(self._now, self._next)
            self._other = self._bind(self._next, self._now)

    def _bind(self, read: dict[str, ort.OrtValue], write: dict[str, ort.OrtValue]) -> ort.IOBinding:
        binding = self._session.io_binding()
        binding.bind_ortvalue_output(LOSS, self._loss)
        for name, buffer in (self._still | read | self._carried).items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in (write | self._carried).items():
            binding.bind_ortvalue_output(new_name(name), buffer)
        return binding

    def load(self, weights: Vector, resumed: Checkpoint | None = None) -> None:
        """Copy `weights` in, optimizer state to zero; or both from a checkpoint.

        Raises:
            Misuse: the checkpoint has another size.
        """
        carried = Layout(tuple(self._state))
        state = np.zeros(carried.size, np.float32) if resumed is None else resumed.state
        weights = weights if resumed is None else resumed.weights
        if len(weights) != self._layout.size or len(state) != carried.size:
            raise Misuse("the checkpoint is of another stage, warm-up or optimizer")
        buffers = self._still | self._now
        for name, tensor in self._layout.split(np.ascontiguousarray(weights)).items():
            buffers[name].update_inplace(tensor)
        for name, tensor in carried.split(np.ascontiguousarray(state)).items():
            self._carried[name].update_inplace(tensor)

    def step(self, feeds: dict[str, NDArray[np.generic]]) -> float:
        """One optimizer step; the batch's mean loss."""
        with runtime_errors("train graph"):
            for name, array in feeds.items():
                self._binding.bind_cpu_input(name, array)
            self._session.run_with_iobinding(self._binding)
            loss = float(self._loss.numpy())
        self._binding, self._other = self._other, self._binding
        self._now, self._next = self._next, self._now
        return loss

    def pull(self, start: Vector, *, share: float) -> None:
        """Move the weights that train this share of the way back to `start`."""
        tensors = self._layout.split(np.ascontiguousarray(start))
        for name, buffer in self._now.items():
            now = buffer.numpy()
            buffer.update_inplace(now - np.float32(share) * (now - tensors[name]))

    def weights(self) -> Vector:
        """A copy of the current weights, layout order."""
        buffers = self._still | self._now
        names = (parameter.name for parameter in self._layout.parameters)
        return self._layout.flatten({name: buffers[name].numpy() for name in names})

    def state(self) -> Vector:
        """A copy of the optimizer's state, tensor after tensor."""
        carried = {name: buffer.numpy() for name, buffer in self._carried.items()}
        return Layout(tuple(self._state)).flatten(carried)


def _checkpoint(
    steps: _Steps, tally: Tally, further: FurtherInputs, *, epoch: int, batches: int
) -> Checkpoint:
    examples, loss = tally.epoch_sums
    return Checkpoint(
        weights=steps.weights(),
        state=steps.state(),
        epoch=epoch,
        batches=batches,
        runs=further.done,
        steps=tally.steps,
        distinct=tally.distinct,
        epoch_examples=examples,
        epoch_loss=loss,
    )


def _buffer(shape: Iterable[int]) -> ort.OrtValue:
    return ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, "cpu")


def _fed(array: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """`array` as the graph takes it: contiguous and of its dtype; copied only if it must be."""
    if array.shape[1:] != spec.shape:
        raise Misuse(
            f"{spec.name}: examples of shape {array.shape[1:]}, the plan takes {spec.shape}"
        )
    return np.ascontiguousarray(array, dtype=spec.dtype)
