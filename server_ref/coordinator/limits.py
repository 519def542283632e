"""What an update may at most weigh, and how long a device is asked to pause. Pure."""

import statistics
from collections.abc import Sequence

from edge_sdk.protocol import MAX_CHUNKS
from edge_sdk.wire import HEADER_BYTES
from server_ref.downlink import derive_seed

CHUNK_OVERHEAD_BYTES = HEADER_BYTES + 64
"""Most a chunk adds to its coordinates: the frame header and a codec's own head."""

BLOCK = 4096
"""Codecs may round a vector up to whole blocks of this many coordinates."""

LEAST_CHUNK_BYTES = 512
"""Devices may cut finer than asked, but not finer than this."""

LONGEST_PAUSE_S = 3600.0

PATIENT_ROUNDS = 5
"""So many rounds in a row may come to nothing before the run makes a pause."""


def most_chunks(dimension: int) -> int:
    """Chunks that an update of `dimension` coordinates may be cut into."""
    room = LEAST_CHUNK_BYTES - CHUNK_OVERHEAD_BYTES
    return min(MAX_CHUNKS, 1 + 4 * _rounded(dimension) // room)


def most_update_bytes(dimension: int, count: int) -> int:
    """Bytes of frames that an update in `count` chunks may take: no codec needs over 32 bits."""
    return 4 * _rounded(dimension) + count * CHUNK_OVERHEAD_BYTES


def _rounded(dimension: int) -> int:
    return -(-dimension // BLOCK) * BLOCK


def recess_s(*, fruitless: int, pace_s: float) -> float:
    """How long nobody is admitted after `fruitless` rounds in a row without a version.

    Twice as long with every one, up to an hour: what is wrong may pass, or an operator mends it;
    until then devices need not train for nothing.
    """
    if fruitless < PATIENT_ROUNDS:
        return 0.0
    return min(pace_s * 2.0 ** min(fruitless, 32), LONGEST_PAUSE_S)


def pause_s(
    *,
    pace_s: float,
    recent_s: Sequence[float],
    elapsed_s: float,
    remaining_s: float | None,
    recess_s: float = 0.0,
    device: str,
    attempt: int,
) -> float:
    """How long a device without work should sleep.

    Until the round would end if it takes as long as the recent ones, but at least `pace_s`, at
    most until the deadline and an hour; times a factor between 0.5 and 1.5 that differs by device
    and attempt, so that devices do not come back all at once. A recess comes on top.

    Args:
        pace_s: the pause while nothing is known.
        recent_s: durations of the last rounds.
        elapsed_s: age of the open round.
        remaining_s: until its deadline; None before anybody was admitted.
        recess_s: until anybody is admitted again.
        device: whom it is for.
        attempt: how many pauses were asked for so far.
    """
    expected = statistics.median(recent_s) - elapsed_s if recent_s else 0.0
    pause = max(pace_s, expected)
    if remaining_s is not None:
        pause = min(pause, max(remaining_s, 1.0))
    share = derive_seed(attempt, device) / 2**53
    return recess_s + min(pause, LONGEST_PAUSE_S) * (0.5 + share)
