"""Checks and fakes for `interfaces.Engine`."""

import math
from collections.abc import Callable

import numpy as np

from edge_sdk.interfaces import Dataset, Engine, KeepGoing
from edge_sdk.testing.promises import promise
from edge_sdk.values import Evaluation, Trained, TrainSettings, Vector


def check_engine(
    make_engine: Callable[[], Engine], weights: Vector, data: Dataset, settings: TrainSettings
) -> None:
    """Hold the engine that `make_engine` makes against its contract.

    Args:
        make_engine: gives a new engine for the same stage of the same plan each time.
        weights: where to train from, float32 in layout order.
        data: examples that fit the plan; at least two batches of them.
        settings: used as they are; their learning rate must lower the loss on `data`.

    Raises:
        AssertionError: naming the broken promise.
    """
    engine = make_engine()
    kept = weights.copy()
    steps = settings.epochs * -(-len(data) // settings.batch_size)
    trained = engine.train(weights, data, settings)
    promise(np.array_equal(weights, kept), "train() does not change the weights it was given")
    promise(
        trained.weights.shape == kept.shape and trained.weights.dtype == np.float32,
        "the new weights are float32 of the same length",
    )
    promise(not np.shares_memory(trained.weights, weights), "the new weights are a new array")
    promise(
        trained.steps == steps, f"every batch is one step: {steps} in all, smaller last ones too"
    )
    promise(trained.examples == len(data), "examples are counted once, not once an epoch")
    promise(not trained.stopped, "training that was not told to stop did not stop")
    promise(trained.loss is not None and math.isfinite(trained.loss), "the loss is reported")
    for other, which in ((engine, "the same engine"), (make_engine(), "a fresh engine")):
        again = other.train(weights, data, settings)
        promise(
            np.array_equal(again.weights, trained.weights) and again.loss == trained.loss,
            f"equal arguments give equal weights, bit for bit, on {which}",
        )
    _check_stopping(engine, kept, data, settings)
    _check_evaluation(engine, kept, trained.weights, data)


def _check_stopping(
    engine: Engine, weights: Vector, data: Dataset, settings: TrainSettings
) -> None:
    never = engine.train(weights, data, settings, keep_going=lambda: False)
    promise(never.steps <= 1 and never.stopped, "told to stop at once, at most one step runs")
    if never.steps == 0:
        promise(never.loss is None, "no step, no loss")
        promise(np.array_equal(never.weights, weights), "no step, no change")
    asked = 0

    def twice() -> bool:
        nonlocal asked
        asked += 1
        return asked <= 1

    once = engine.train(weights, data, settings, keep_going=twice)
    promise(once.stopped and 1 <= once.steps <= 2, "training stops within one step")


def _check_evaluation(engine: Engine, before: Vector, after: Vector, data: Dataset) -> None:
    first = engine.evaluate(before, data)
    promise(first.examples == len(data), "evaluation covers all examples")
    small = engine.evaluate(before, data, batch_size=max(1, len(data) // 2 - 1))
    promise(
        math.isclose(first.loss, small.loss, rel_tol=1e-4, abs_tol=1e-6),
        "the loss is a mean over examples, whatever the batch size",
    )
    promise(first.accuracy == small.accuracy, "so is the accuracy")
    promise(engine.evaluate(after, data).loss < first.loss, "training lowered the loss")


class ScriptedEngine:
    """An `interfaces.Engine` without graphs: each step moves the weights towards `target`.

    The loss is the mean squared distance from the target, so it falls like a real one, and the
    order of the examples leaves its mark in the weights.

    Args:
        target: where training leads, float32 in layout order.
        on_step: called after each step, e.g. to move a clock or to fail.
    """

    def __init__(self, target: Vector, on_step: Callable[[], None] | None = None) -> None:
        self._target = target
        self._on_step = on_step
        self.trainings = 0
        """How often `train` was called."""

    def train(
        self,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        keep_going: KeepGoing = lambda: True,
    ) -> Trained:
        """Move a share of the way for each batch; the share depends on the batch's inputs."""
        self.trainings += 1
        now = weights.copy()
        steps = distinct = 0
        loss: float | None = None
        for epoch in range(settings.epochs):
            for x, _ in data.batches(size=settings.batch_size, seed=settings.seed + epoch):
                if not keep_going():
                    return Trained(now, distinct, steps, loss, stopped=True)
                loss = self._loss(now)
                share = 0.1 + 0.1 * (float(np.sum(x[0], dtype=np.float64)) % 1.0)
                now = self._moved(now, share)
                steps += 1
                distinct += len(x) if epoch == 0 else 0
                if self._on_step is not None:
                    self._on_step()
        return Trained(now, distinct, steps, loss)

    def evaluate(self, weights: Vector, data: Dataset, *, batch_size: int = 256) -> Evaluation:
        """Distance from the target; the same for every example and batch size."""
        del batch_size
        return Evaluation(examples=len(data), loss=self._loss(weights))

    def _moved(self, weights: Vector, share: float) -> Vector:
        with np.errstate(all="ignore"):
            moved: Vector = weights + np.float32(share) * (self._target - weights)
        return moved.astype(np.float32)

    def _loss(self, weights: Vector) -> float:
        with np.errstate(all="ignore"):  # a target that is not finite plays divergence
            return float(np.mean(np.square(weights - self._target)))
