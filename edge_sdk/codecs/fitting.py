"""Chunks of codecs whose payload size is known only once it is made.

Chunk i of C stands for coordinates floor(i*d/C) up to floor((i+1)*d/C), as in `chunking`
(FORMAT.md, section S.3). The encoder takes the fewest chunks it finds that keep every payload
within the limit.
"""

from collections.abc import Callable

from edge_sdk.codecs.chunking import share
from edge_sdk.codecs.intake import MAX_CHUNKS, require_place
from edge_sdk.errors import Misuse, TooLarge
from edge_sdk.values import Place

FRAME_HEADER_BYTES = 56
"""What each payload costs beyond itself; `wire.HEADER_BYTES`, which codecs must not import."""

MAX_SPAN = 1 << 22
"""Most coordinates one chunk stands for, so that a few bytes cannot ask for gigabytes."""


def span_of(place: Place) -> tuple[int, int]:
    """First coordinate of a chunk and one past its last.

    Raises:
        Malformed: the place is outside the format, or the chunk stands for too much.
    """
    require_place(place)
    first, end = share(place.dimension, index=place.index, count=place.count)
    if end - first > MAX_SPAN:
        raise TooLarge(f"chunk of {end - first} coordinates, limit {MAX_SPAN}")
    return first, end


def fit_chunks(
    encode: Callable[[Place], bytes],
    *,
    dimension: int,
    seed: int,
    chunk_bytes: int,
    least: int = 1,
) -> list[bytes]:
    """Payloads of all chunks, `encode` asked for ever more of them until none is too large.

    Args:
        encode: the payload of one chunk; called again with other counts where one was too large.
        dimension: coordinates of the vector.
        seed: the update's seed, for the places.
        chunk_bytes: limit of every payload.
        least: the count to begin with; `MAX_SPAN` may ask for more.

    Raises:
        Misuse: one coordinate needs more than `chunk_bytes`, or more chunks than can be counted.
    """
    count = max(1, min(least, dimension), -(-dimension // MAX_SPAN))
    while True:
        if count > MAX_CHUNKS:
            raise Misuse(f"over {MAX_CHUNKS} chunks: choose larger chunks")
        payloads: list[bytes] = []
        for index in range(count):
            payloads.append(encode(Place(dimension, index, count, seed)))
            if len(payloads[-1]) > chunk_bytes:
                break
        else:
            return payloads
        if count == dimension:
            raise Misuse(f"one coordinate needs {len(payloads[-1])} bytes, limit {chunk_bytes}")
        wanted = -(-count * len(payloads[-1]) // chunk_bytes)
        count = min(max(count + 1, wanted), dimension)
