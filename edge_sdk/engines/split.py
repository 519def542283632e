"""Split learning, both halves, without a network: messages in, messages out.

One batch of a model cut once: the device sends what its part gives (activations, quantized) with
the targets; the server makes one step of its part from them and answers with the gradient at the
cut; the device makes one step of its part. Cut twice, the targets stay: the server answers with
activations at the second cut, the device makes the step of the last part and sends the gradient
there, the server makes its step and answers with the gradient at the first cut.

Whoever sent quantized activations z~ in place of z corrects the gradient G that comes back to
G + lambda (z - z~), the gradient of the loss plus lambda / 2 |z - z~|^2 over the batch (FedLite,
arXiv:2201.11865, section 4; the loss is the batch's mean and the penalty a sum, as in the public
implementations). With lambda = 0 the gradient passes as if nothing had been quantized.

Source of the loop with one copy of the server's part for each device, averaged at the end of a
round: SplitFedV1 (arXiv:2004.12088). Without quantization it makes the very steps that the device
would make alone.
"""

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs.product import Rows
from edge_sdk.codecs.rows import RowsCodec, decode_rows, rows_codec
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.plan import Plan
from edge_sdk.wire.batch import BatchKind, BatchMessage, batch_seed, pack_batch

Array = NDArray[np.generic]
Floats = NDArray[np.float32]

_WIDTH, _CENTROIDS = 8, 8


def default_activations(plan: Plan) -> str:
    """A product quantizer for the plan's first cut: eight numbers a subvector, eight centroids.

    Raises:
        Misuse: the plan has no split.
    """
    if plan.split is None:
        raise Misuse(f"{plan.name} has no split")
    numbers = math.prod(plan.split.cuts[0].shape)
    return f"product:q={-(-numbers // _WIDTH)},l={_CENTROIDS}"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitTerms:
    """What both halves must agree on for one device's session in one round."""

    run: str
    round: int
    seed: int
    """Of the device's task."""
    learning_rate: float
    activations: str
    """Codec spec of what the device sends at the first cut."""
    gradients: str
    """Codec spec of everything else: gradients, and activations at a second cut."""
    correction: float
    """Lambda; 0 is none."""


@dataclasses.dataclass(frozen=True, slots=True)
class Sent:
    """Activations on their way: what they are corrected with when the gradient comes back."""

    read: Array
    """What the part was fed with."""
    error: Rows | None
    """z - z~; None where nothing is corrected."""
    shape: tuple[int, ...]
    """Of z."""


class Half:
    """What `DeviceHalf` and `ServerHalf` have in common: writing and reading messages."""

    def __init__(self, terms: SplitTerms) -> None:
        self.terms = terms
        self._codecs: dict[tuple[BatchKind, int], RowsCodec] = {}
        for kind in BatchKind:
            for cut in (0, 1):
                first = kind is BatchKind.ACTIVATIONS and cut == 0
                spec = terms.activations if first else terms.gradients
                self._codecs[kind, cut] = rows_codec(spec)

    def _write(
        self,
        kind: BatchKind,
        cut: int,
        batch: int,
        values: Floats,
        *,
        loss: float = 0.0,
        targets: bytes = b"",
    ) -> tuple[bytes, BatchMessage]:
        rows = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
        codec = self._codecs[kind, cut]
        message = BatchMessage(
            kind=kind,
            cut=cut,
            codec=codec.ids[0],
            parameter=codec.ids[1],
            run=self.terms.run,
            round=self.terms.round,
            batch=batch,
            examples=len(rows),
            numbers=rows.shape[1],
            loss=loss,
            payload=codec.encode(rows, seed=batch_seed(self.terms.seed, batch)),
            targets=targets,
        )
        return pack_batch(message), message

    def _decode(self, message: BatchMessage) -> Rows:
        return decode_rows(
            message.payload,
            codec=message.codec,
            parameter=message.parameter,
            examples=message.examples,
            numbers=message.numbers,
            seed=batch_seed(self.terms.seed, message.batch),
        )

    def _expect(
        self,
        message: BatchMessage,
        kind: BatchKind,
        cut: int,
        batch: int,
        *,
        numbers: int,
        examples: int | None,
    ) -> None:
        """Refuse a message other than the one whose turn it is.

        Raises:
            Corrupt: it names the first field that differs.
        """
        terms = self.terms
        wanted = {
            "run": (message.run, terms.run),
            "round": (message.round, terms.round),
            "batch": (message.batch, batch),
            "kind": (message.kind, kind),
            "cut": (message.cut, cut),
            "codec": ((message.codec, message.parameter), self._codecs[kind, cut].ids),
            "numbers": (message.numbers, numbers),
            "examples": (message.examples, examples or message.examples),
        }
        for name, (got, want) in wanted.items():
            if got != want:
                raise Corrupt(f"message with {name} {got}, expected is {want}")

    def _remember(self, read: Array, values: Floats, message: BatchMessage) -> Sent:
        error = None
        if self.terms.correction:
            error = values.reshape(len(values), -1) - self._decode(message)
        return Sent(read, error, values.shape)

    def _corrected(self, sent: Sent, gradient: Rows) -> Floats:
        if sent.error is not None:
            gradient = gradient + np.float32(self.terms.correction) * sent.error
        return gradient.reshape(sent.shape)
