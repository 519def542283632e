"""The device's half of split learning."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.engines.split import Half, Sent, SplitTerms
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.split_targets import pack_targets, unpack_targets
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import Plan
from edge_sdk.values import Vector
from edge_sdk.wire.batch import BatchKind, BatchMessage, unpack_batch

Array = NDArray[np.generic]


class DeviceHalf(Half):
    """The device's parts: the first, and of a model cut twice the last as well.

    Args:
        plan: with a split.
        engines: of the device's parts, in order.
        weights: of each of them.
        terms: see there.
    """

    def __init__(
        self,
        plan: Plan,
        engines: Sequence[PartEngine],
        weights: Sequence[Vector],
        terms: SplitTerms,
    ) -> None:
        super().__init__(terms)
        self._plan = plan
        self._engines = engines
        self._states = [
            engine.start(vector) for engine, vector in zip(engines, weights, strict=True)
        ]
        self._sent: Sent | None = None
        self._kept: Array | None = None
        self.batches = 0
        """Batches whose answer has been worked in."""
        self.loss: float | None = None
        """Mean over the latest of them."""

    def begin(self, inputs: Array, targets: Array) -> bytes:
        """The first message of the next batch.

        Raises:
            Misuse: a batch is under way, does not fit the plan, or activations are not finite.
        """
        if self._sent is not None:
            raise Misuse("a batch is under way")
        packed = pack_targets(targets, self._plan)
        given = self._engines[0].forward(
            self._states[0], inputs, seed=self.terms.seed, batch=self.batches
        )
        stays = len(self._engines) > 1
        data, message = self._write(
            BatchKind.ACTIVATIONS, 0, self.batches, given, targets=b"" if stays else packed
        )
        self._kept = unpack_targets(packed, len(targets), self._plan) if stays else None
        self._sent = self._remember(inputs, given, message)
        return data

    def take(self, answer: bytes) -> bytes | None:
        """Work an answer in; the next message of the batch, None when the batch is done.

        Raises:
            Malformed: the answer is not the one whose turn it is.
            Misuse: none is awaited.
        """
        if self._sent is None:
            raise Misuse("no batch is under way")
        message = unpack_batch(answer)
        if self._kept is not None:
            return self._step_last(self._kept, message)
        self._take_gradient(self._sent, message)
        return None

    def weights(self, part: int = 0) -> Vector:
        """Weights of the device's part number `part` (0 or 1), a new array."""
        return self._engines[part].weights(self._states[part])

    def _step_last(self, targets: Array, message: BatchMessage) -> bytes:
        cut = self._cut(1)
        self._expect(
            message,
            BatchKind.ACTIVATIONS,
            1,
            self.batches,
            numbers=int(np.prod(cut)),
            examples=len(targets),
        )
        made = self._engines[1].update(
            self._states[1],
            self._decode(message).reshape(len(targets), *cut),
            targets,
            learning_rate=self.terms.learning_rate,
            seed=self.terms.seed,
            batch=self.batches,
        )
        if made.cotangent is None:
            raise Corrupt("the last part hands no gradient back")
        self._states[1], self.loss, self._kept = made.state, made.loss, None
        data, _ = self._write(
            BatchKind.COTANGENTS, 1, self.batches, made.cotangent, loss=made.loss or 0.0
        )
        return data

    def _take_gradient(self, sent: Sent, message: BatchMessage) -> None:
        self._expect(
            message,
            BatchKind.COTANGENTS,
            0,
            self.batches,
            numbers=int(np.prod(sent.shape[1:])),
            examples=sent.shape[0],
        )
        made = self._engines[0].update(
            self._states[0],
            sent.read,
            self._corrected(sent, self._decode(message)),
            learning_rate=self.terms.learning_rate,
            seed=self.terms.seed,
            batch=self.batches,
        )
        self._states[0], self._sent = made.state, None
        if len(self._engines) == 1:
            self.loss = message.loss
        self.batches += 1

    def _cut(self, number: int) -> tuple[int, ...]:
        split = self._plan.split
        return split.cuts[number].shape if split else ()
