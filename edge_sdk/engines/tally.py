"""What training has done so far: counted by engines, told to whoever watches."""

import dataclasses

from edge_sdk.values import Checkpoint


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step that has just run, as a progress callback sees it."""

    epoch: int
    """0 at first."""
    step: int
    """Of all epochs together, 1 at first."""
    examples: int
    """In this step's batch."""
    loss: float
    """Mean over this step's batch."""
    mean_loss: float
    """Mean over the examples of this epoch so far."""


class Tally:
    """Counts steps, examples and the loss of the last epoch that ran a step."""

    def __init__(self, resumed: Checkpoint | None = None) -> None:
        self.steps = self.distinct = self._epochs = self._examples = 0
        self._loss = 0.0
        self._fresh = True
        if resumed is not None:
            self.steps, self.distinct = resumed.steps, resumed.distinct
            self._examples, self._loss = resumed.epoch_examples, resumed.epoch_loss
            self._epochs = resumed.epoch
        self._resumes = resumed is not None and resumed.batches > 0

    @property
    def epoch_sums(self) -> tuple[int, float]:
        """Examples, and the sum of their losses, of the last epoch that ran a step."""
        return self._examples, self._loss

    @property
    def loss(self) -> float | None:
        """Mean loss per example; None when no step ran."""
        return self._loss / self._examples if self._examples else None

    def begin_epoch(self) -> None:
        """The next step is the first of an epoch, but of one that is resumed in the middle."""
        self._fresh = not self._resumes
        self._resumes = False
        self._epochs += 1

    @property
    def found_nothing(self) -> bool:
        """Whether the epoch that was begun last ran no step."""
        return self._fresh

    def count(self, loss: float, *, examples: int) -> Step:
        """One step with its mean loss over so many examples."""
        if self._fresh:
            self._examples, self._loss, self._fresh = 0, 0.0, False
        self.steps += 1
        self._examples += examples
        self._loss += loss * examples
        self.distinct += examples if self._epochs == 1 else 0
        return Step(
            epoch=self._epochs - 1,
            step=self.steps,
            examples=examples,
            loss=loss,
            mean_loss=self._loss / self._examples,
        )
