"""Who carries what: a vector's units (coordinates or blocks) dealt evenly to its chunks.

The rule is the format's: chunk i of C carries units floor(i*N/C) up to floor((i+1)*N/C) of N, so
a decoder finds its span from the header alone and chunks differ by at most one unit.
"""

from edge_sdk.codecs.intake import MAX_CHUNKS
from edge_sdk.errors import Corrupt, Misuse


def chunks_needed(units: int, *, unit_bytes: int, room_bytes: int) -> int:
    """The fewest chunks so that none carries more than `room_bytes` of units.

    Raises:
        Misuse: not one unit fits, or more chunks than a header can count.
    """
    per_chunk = room_bytes // unit_bytes
    if per_chunk < 1:
        raise Misuse(f"chunk_bytes leaves {room_bytes} bytes, one unit takes {unit_bytes}")
    count = -(-units // per_chunk)
    if count > MAX_CHUNKS:
        raise Misuse(f"{count} chunks, limit {MAX_CHUNKS}: choose larger chunks")
    return count


def share(units: int, *, index: int, count: int) -> tuple[int, int]:
    """First unit of chunk `index` and one past its last.

    Raises:
        Corrupt: more chunks than units, so that one would be empty.
    """
    if count > units:
        raise Corrupt(f"{count} chunks for {units} units")
    return index * units // count, (index + 1) * units // count
