"""What model frames decode to. Pure, and the same on server and device, bit for bit.

Every coordinate is touched once by each delta, so the result does not depend on the order of
chunks, and one float32 rounding follows each product and each sum. Two machines that begin with
equal segments and read the same frames hold equal segments.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from edge_sdk.codecs import codec_from_frame
from edge_sdk.errors import Corrupt, NotFinite
from edge_sdk.plan.segments import Segment
from edge_sdk.values import Vector
from edge_sdk.wire import SPEED_UNITS, Frame, FrameReader, Kind


def add_delta(frame: Frame, onto: Vector) -> None:
    """Add one chunk of a delta, in place.

    Raises:
        Malformed: the payload breaks its codec's format, or the sum is not finite.
    """
    piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
    with np.errstate(over="ignore"):
        piece.where.add(piece.values * np.float32(frame.examples / SPEED_UNITS), onto)
    if not np.isfinite(piece.where.take(onto)).all():
        raise NotFinite("a delta leads beyond what float32 holds")


def put_snapshot(frame: Frame, into: Vector) -> None:
    """Write one chunk of a snapshot, in place.

    Raises:
        Malformed: the payload breaks its codec's format.
    """
    piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
    piece.where.put(piece.values, into)


def read_model(
    data: bytes,
    *,
    run: str,
    version: int,
    segments: Sequence[Segment],
    held: Mapping[int, Vector],
    have: int | None,
) -> dict[int, Vector]:
    """The vectors of `segments` in `version`, by number, from a model download.

    Args:
        data: the frames; see FORMAT.md, section 2.1.
        run: whose model it is.
        version: that was asked for.
        segments: those of the stage asked for, by number.
        held: vectors held in version `have`; not changed.
        have: None where nothing is held.

    Raises:
        Malformed: not frames, of another run, version or size, or not all of them.
    """
    reader = FrameReader()
    frames = reader.feed(data)
    reader.close()
    by_segment = {number: list(f) for number, f in itertools.groupby(frames, lambda f: f.stage)}
    if not set(by_segment) <= {segment.number for segment in segments}:
        raise Corrupt("a model of other segments than asked for")
    result: dict[int, Vector] = {}
    for segment in segments:
        theirs = by_segment.get(segment.number, [])
        _check(theirs, run=run, dimension=segment.size)
        start = held.get(segment.number) if have is not None else None
        result[segment.number] = _segment_after(theirs, segment.size, version, start, have)
    return result


def _check(frames: Sequence[Frame], *, run: str, dimension: int) -> None:
    for frame in frames:
        if frame.kind is Kind.UPDATE or frame.run != run:
            raise Corrupt(f"asked for a model of run {run}, got something else")
        if frame.dimension != dimension:
            raise Corrupt(f"model of dimension {frame.dimension}, the plan has {dimension}")


def _segment_after(
    frames: Sequence[Frame], size: int, version: int, start: Vector | None, have: int | None
) -> Vector:
    if frames and frames[0].kind is Kind.SNAPSHOT:
        vector = np.zeros(size, np.float32)
        for frame in _whole(frames, version):
            put_snapshot(frame, vector)
        return vector
    if start is None or have is None:
        raise Corrupt("a model of no frames" if not frames else "deltas to what is not held")
    vector = start.copy()
    groups = [list(group) for _, group in itertools.groupby(frames, lambda f: f.number)]
    if len(groups) != version - have:
        raise Corrupt(f"{len(groups)} deltas from version {have} to {version}")
    for number, group in enumerate(groups, start=have + 1):
        for frame in _whole(group, number):
            if frame.kind is not Kind.DELTA:
                raise Corrupt(f"version {number} is not a delta")
            add_delta(frame, vector)
    return vector


def _whole(frames: Sequence[Frame], version: int) -> Iterator[Frame]:
    """The chunks of one vector, once it is seen that all are there."""
    first = frames[0]
    if len(frames) != first.count or [f.index for f in frames] != list(range(first.count)):
        raise Corrupt(f"a model of {first.count} chunks came in {len(frames)} frames")
    for frame in frames:
        if frame.number != version or (frame.kind, frame.count) != (first.kind, first.count):
            raise Corrupt(f"asked for model {version}, got another")
        yield frame
