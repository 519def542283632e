"""Adds up what an evaluation graph says of each batch."""

import math

from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Evaluation


class Measure:
    """Loss and quality over all batches."""

    def __init__(self) -> None:
        self._examples = 0
        self._loss = 0.0
        self._correct: int | None = None
        self._counted = 0

    def add(
        self, *, examples: int, loss: float, correct: int | None = None, counted: int | None = None
    ) -> None:
        """One batch: its mean loss, how many were right, and of how many (None: of `examples`)."""
        self._examples += examples
        self._loss += loss * examples
        if correct is not None:
            self._correct = correct + (self._correct or 0)
            self._counted += examples if counted is None else counted

    def result(self) -> Evaluation:
        """Over all batches.

        Raises:
            Misuse: there were none.
            Corrupt: the loss is not finite, or more were right than counted.
        """
        if self._examples == 0:
            raise Misuse("no examples to evaluate on")
        if not math.isfinite(self._loss):
            raise Corrupt("the model's loss is not finite")
        accuracy = None
        if self._correct is not None and self._counted:
            accuracy = self._correct / self._counted
            if not 0 <= accuracy <= 1:
                raise Corrupt(f"evaluation graph: {self._correct} right of {self._counted}")
        loss = self._loss / self._examples
        return Evaluation(examples=self._examples, loss=loss, accuracy=accuracy)
