"""Local training that the owner's conditions may interrupt, and that goes on later.

Training runs in slices: every `CHECKPOINT_S` seconds, when the device should rest and when the
program is stopped, its position is saved. The next time the same task is offered it goes on there.
Engines that cannot resume train in one go; interrupted, they begin the round again.
"""

import logging
from collections.abc import Callable
from functools import partial

from edge_sdk.interfaces import Clock, Dataset, Engine, KeepGoing, ResumableEngine
from edge_sdk.runtime.books import Books
from edge_sdk.values import Checkpoint, Choice, Task, Trained, TrainSettings, Vector

_log = logging.getLogger(__name__)

CHECKPOINT_S = 300.0
"""Work that a power cut may cost. An SD card bears a few hundred such writes a day."""

WATCH_S = 5.0
"""How often the owner's conditions are looked at while training."""


class Interrupted(Exception):
    """Training stopped for now; its position is saved. `args[0]` says why."""


class Trainer:
    """Trains one task at a time.

    Args:
        books: keeps the position.
        clock: whose time training takes.
        objection: says why the device should rest now, or None.
    """

    def __init__(
        self, books: Books, clock: Clock, objection: Callable[[], str | None] = lambda: None
    ) -> None:
        self._books = books
        self._clock = clock
        self._objection = objection

    def train(
        self,
        engine: Engine,
        weights: Vector,
        data: Dataset,
        settings: TrainSettings,
        *,
        task: Task,
        choice: Choice,
        keep_going: KeepGoing,
        stop_s: float,
    ) -> Trained:
        """Train until the work is done or `stop_s`, from the checkpoint of this task if there is.

        Raises:
            Interrupted: the device should rest now.
            EdgeError: as the engine.
        """
        watch = _Watch(self._clock, self._objection, keep_going, stop_s)
        resumable = isinstance(engine, ResumableEngine)
        checkpoint = self._books.load_checkpoint(task) if resumable else None
        if checkpoint is not None:
            _log.info("round %d: training goes on after %d steps", task.round, checkpoint.steps)
        while True:
            slice_end_s = self._clock.now_s() + CHECKPOINT_S if resumable else float("inf")
            goes_on = partial(watch.goes_on, slice_end_s)
            trained = _run(
                engine, weights, data, settings, checkpoint=checkpoint, keep_going=goes_on
            )
            checkpoint = trained.checkpoint
            if not trained.stopped or watch.time_is_up:
                return trained
            if checkpoint is not None:
                self._books.save_checkpoint(task, choice, checkpoint)
            if watch.why is not None:
                raise Interrupted(watch.why)
            if watch.stopped or checkpoint is None:
                return trained


class _Watch:
    """Whether training goes on, and if not, why."""

    def __init__(
        self,
        clock: Clock,
        objection: Callable[[], str | None],
        keep_going: KeepGoing,
        stop_s: float,
    ) -> None:
        self._clock = clock
        self._objection = objection
        self._keep_going = keep_going
        self._stop_s = stop_s
        self._looked_s = clock.now_s()
        self.why: str | None = None
        """Why the device should rest."""
        self.stopped = False
        """The program is being stopped."""
        self.time_is_up = False

    def goes_on(self, slice_end_s: float) -> bool:
        """Asked before every step."""
        now_s = self._clock.now_s()
        self.time_is_up = now_s >= self._stop_s
        self.stopped = not self._keep_going()
        if now_s - self._looked_s >= WATCH_S:
            self._looked_s = now_s
            self.why = self._objection()
        return not (self.time_is_up or self.stopped or self.why) and now_s < slice_end_s


def _run(
    engine: Engine,
    weights: Vector,
    data: Dataset,
    settings: TrainSettings,
    *,
    checkpoint: Checkpoint | None,
    keep_going: KeepGoing,
) -> Trained:
    if checkpoint is not None and isinstance(engine, ResumableEngine):
        return engine.resume(weights, data, settings, checkpoint=checkpoint, keep_going=keep_going)
    return engine.train(weights, data, settings, keep_going=keep_going)
