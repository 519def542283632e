"""The server's half of split learning: one device's copy of the server's part."""

import dataclasses
import math

from edge_sdk.engines.split import Half, Sent, SplitTerms
from edge_sdk.engines.split_parts import PartEngine, PartState
from edge_sdk.engines.split_targets import unpack_targets
from edge_sdk.errors import Corrupt
from edge_sdk.plan import Plan
from edge_sdk.plan.split import Split
from edge_sdk.wire.batch import BatchKind, BatchMessage, unpack_batch


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """What a server's half has done so far; a value, so that a message that fails changes none."""

    state: PartState
    messages: int = 0
    """Taken and answered."""
    batches: int = 0
    """Whole batches trained on."""
    examples: int = 0
    """In those batches."""
    loss: float = 0.0
    """Sum over those examples."""
    waiting: Sent | None = None
    """Of a batch under way, of a model cut twice."""


class ServerHalf(Half):
    """The server's part: the last of two, or the middle of three.

    Args:
        plan: with a split.
        engine: of the server's part, shared by all sessions.
        terms: of this device's session.
    """

    def __init__(self, plan: Plan, engine: PartEngine, terms: SplitTerms) -> None:
        super().__init__(terms)
        if plan.split is None:
            raise ValueError("a plan without a split has no server's half")
        self._plan = plan
        self._split: Split = plan.split
        self._engine = engine

    def take(self, before: Progress, data: bytes) -> tuple[Progress, bytes]:
        """Work one message in; what has been done then, and the answer.

        Equal arguments give equal results, so a log of messages is all that must be kept.

        Raises:
            Malformed: the bytes are not the message whose turn it is, or training on them gives
                NaN or an infinity.
            Unavailable: memory ran out.
        """
        message = unpack_batch(data)
        if len(self._split.cuts) == 1:
            return self._train_last(before, message)
        if before.waiting is None:
            return self._hand_on(before, message)
        return self._train_middle(before, before.waiting, message)

    def _train_last(self, before: Progress, message: BatchMessage) -> tuple[Progress, bytes]:
        cut = self._split.cuts[0].shape
        self._expect(
            message,
            BatchKind.ACTIVATIONS,
            0,
            before.batches,
            numbers=math.prod(cut),
            examples=None,
        )
        made = self._engine.update(
            before.state,
            self._decode(message).reshape(message.examples, *cut),
            unpack_targets(message.targets, message.examples, self._plan),
            learning_rate=self.terms.learning_rate,
            seed=self.terms.seed,
            batch=before.batches,
        )
        if made.cotangent is None or made.loss is None:
            raise Corrupt("the last part gives no loss or gradient")
        answer, _ = self._write(
            BatchKind.COTANGENTS, 0, before.batches, made.cotangent, loss=made.loss
        )
        return _after(before, message, made.state, made.loss), answer

    def _hand_on(self, before: Progress, message: BatchMessage) -> tuple[Progress, bytes]:
        cut = self._split.cuts[0].shape
        self._expect(
            message,
            BatchKind.ACTIVATIONS,
            0,
            before.batches,
            numbers=math.prod(cut),
            examples=None,
        )
        if message.targets:
            raise Corrupt("targets of a model that keeps them")
        read = self._decode(message).reshape(message.examples, *cut)
        given = self._engine.forward(before.state, read, seed=self.terms.seed, batch=before.batches)
        answer, written = self._write(BatchKind.ACTIVATIONS, 1, before.batches, given)
        waiting = self._remember(read, given, written)
        return (
            dataclasses.replace(before, messages=before.messages + 1, waiting=waiting),
            answer,
        )

    def _train_middle(
        self, before: Progress, waiting: Sent, message: BatchMessage
    ) -> tuple[Progress, bytes]:
        self._expect(
            message,
            BatchKind.COTANGENTS,
            1,
            before.batches,
            numbers=math.prod(waiting.shape[1:]),
            examples=waiting.shape[0],
        )
        made = self._engine.update(
            before.state,
            waiting.read,
            self._corrected(waiting, self._decode(message)),
            learning_rate=self.terms.learning_rate,
            seed=self.terms.seed,
            batch=before.batches,
        )
        if made.cotangent is None:
            raise Corrupt("the middle part gives no gradient")
        answer, _ = self._write(BatchKind.COTANGENTS, 0, before.batches, made.cotangent)
        return _after(before, message, made.state, message.loss), answer


def _after(before: Progress, message: BatchMessage, state: PartState, loss: float) -> Progress:
    return Progress(
        state=state,
        messages=before.messages + 1,
        batches=before.batches + 1,
        examples=before.examples + message.examples,
        loss=before.loss + loss * message.examples,
    )
