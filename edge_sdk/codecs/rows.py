"""A batch of activations or cotangents as one payload: the product quantizer or any other codec."""

import dataclasses

import numpy as np

from edge_sdk.codecs.product import (
    WIRE_ID,
    ProductQuantizer,
    Rows,
    decode_product,
    product_from_words,
)
from edge_sdk.codecs.table import (
    FramedCodec,
    codec_from_frame,
    codec_from_spec,
    frame_ids,
    words_of,
)
from edge_sdk.errors import Corrupt, Misuse, TooLarge, Unsupported
from edge_sdk.values import Place

MOST_CHUNK_BYTES = 1 << 28
"""Room for the one chunk; the limit of a message's payload."""

SAMPLE_NUMBERS = 1 << 14


@dataclasses.dataclass(frozen=True, slots=True)
class RowsCodec:
    """How one kind of message is written; made by `rows_codec`."""

    spec: str
    _inner: ProductQuantizer | FramedCodec

    @property
    def ids(self) -> tuple[int, int]:
        """A message's `codec` and `parameter` fields."""
        if isinstance(self._inner, ProductQuantizer):
            return WIRE_ID, 0
        return frame_ids(self._inner)

    def expected_bytes(self, examples: int, numbers: int) -> int:
        """Size of the payload of so many rows.

        The most it can be of a product quantizer; of other codecs that of a sample of normal
        values, scaled.
        """
        if isinstance(self._inner, ProductQuantizer):
            return self._inner.plain_bytes(examples, numbers)
        size = examples * numbers
        sample = min(size, SAMPLE_NUMBERS)
        values = np.random.default_rng(0).standard_normal((1, sample), np.float32)
        return -(-len(self.encode(values, seed=0)) * size // sample)

    def encode(self, rows: Rows, *, seed: int) -> bytes:
        """The payload of `rows`, float32 of shape (examples, numbers).

        Raises:
            Misuse: NaN, an infinity, another shape, or the codec needs more than one chunk.
        """
        if isinstance(self._inner, ProductQuantizer):
            return self._inner.encode(rows, seed=seed)
        flat = np.ascontiguousarray(rows).reshape(-1)
        payloads = self._inner.encode(flat, seed=seed, chunk_bytes=MOST_CHUNK_BYTES)
        if len(payloads) != 1:
            raise Misuse(f"{self.spec} cannot write a batch as one chunk")
        return payloads[0]


def rows_codec(spec: str) -> RowsCodec:
    """The codec that `spec` names: `product:q=288,l=8`, or as of `codec_from_spec`.

    Raises:
        Misuse: not the form of a spec.
        Unsupported: a name or parameter this release does not know.
    """
    name, words = words_of(spec)
    if name != "product":
        return RowsCodec(spec, codec_from_spec(spec))
    try:
        quantizer = product_from_words(dict(words))
    except (Misuse, ValueError) as error:
        raise Unsupported(f"codec {spec!r}: {error}") from None
    return RowsCodec(quantizer.spec, quantizer)


def decode_rows(
    payload: bytes, *, codec: int, parameter: int, examples: int, numbers: int, seed: int
) -> Rows:
    """The batch a payload stands for, float32 of shape (examples, numbers), finite, new.

    Raises:
        Malformed: the payload breaks the format or does not fit; nothing else, ever.
    """
    if codec == WIRE_ID:
        if parameter:
            raise Unsupported(f"product quantizer with parameter {parameter}")
        return decode_product(payload, examples=examples, numbers=numbers)
    size = examples * numbers
    if not 0 < size <= 1 << 26:
        raise TooLarge(f"batch of {examples} x {numbers} numbers")
    decoder = codec_from_frame(codec, parameter)
    piece = decoder.decode(payload, Place(dimension=size, index=0, count=1, seed=seed))
    if piece.where.end > size:
        raise Corrupt("the payload reaches beyond the batch")
    flat = np.zeros(size, np.float32)
    piece.where.put(piece.values, flat)
    return flat.reshape(examples, numbers)
