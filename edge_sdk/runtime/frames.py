"""Update to frames and frames to model. Pure: bytes and arrays in, bytes and arrays out."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from edge_sdk.codecs import codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.errors import Corrupt, Misuse, Unsupported
from edge_sdk.interfaces import Codec
from edge_sdk.values import Choice, Layout, Task, Vector
from edge_sdk.wire import HEADER_BYTES, Frame, FrameReader, Kind, pack

MAX_MAGNITUDE = 1e18
"""A coordinate of an update beyond this means that training diverged."""


def known_codecs(specs: Sequence[str]) -> tuple[str, ...]:
    """Those of `specs` that this release can encode, in order."""
    return tuple(spec for spec in specs if _is_known(spec))


def _is_known(spec: str) -> bool:
    try:
        codec_from_spec(spec)
    except (Misuse, Unsupported):
        return False
    return True


def has_diverged(delta: Vector) -> bool:
    """Whether `delta` holds NaN, an infinity or a magnitude that no training step can mean."""
    largest = max(-float(delta.min(initial=0.0)), float(delta.max(initial=0.0)))
    return not largest < MAX_MAGNITUDE  # a comparison with NaN is False


def fitted_codec(spec: str, layout: Layout) -> Codec:
    """The codec that `spec` names, told where the tensors lie if it can make use of that.

    No decoder needs it, so neither spec nor frame header says it.

    Raises:
        Misuse: `spec` is none, or the layout has more tensors than the codec takes.
        Unsupported: the codec is not of this release.
    """
    codec = codec_from_spec(spec)
    if isinstance(codec, LowRank):
        return dataclasses.replace(codec, matrices=matrices_of(layout))
    if isinstance(codec, FedZip):
        return dataclasses.replace(codec, layout=layout)
    return codec


def update_frames(
    delta: Vector, task: Task, choice: Choice, *, examples: int, layout: Layout
) -> list[bytes]:
    """The frames that carry `delta` (float32, order of `layout`), each at most `task.chunk_bytes`.

    Raises:
        Misuse: `delta` is not finite, or needs more chunks than a header can count.
        Unsupported: the chosen codec is not of this release.
    """
    codec = fitted_codec(choice.codec, layout)
    wire_id, parameter = frame_ids(codec)
    room = task.chunk_bytes - HEADER_BYTES
    payloads = codec.encode(delta, seed=task.seed, chunk_bytes=room)
    return [
        pack(
            Frame(
                kind=Kind.UPDATE,
                codec=wire_id,
                parameter=parameter,
                index=index,
                count=len(payloads),
                stage=choice.stage,
                run=task.run,
                number=task.round,
                examples=examples,
                seed=task.seed,
                dimension=len(delta),
                payload=payload,
            )
        )
        for index, payload in enumerate(payloads)
    ]


def model_weights(data: bytes, *, run: str, version: int, dimension: int) -> Vector:
    """The model that the snapshot frames `data` hold: float32, length `dimension`.

    Raises:
        Malformed: not frames, not of this run, version and dimension, or not complete.
    """
    reader = FrameReader()
    frames = reader.feed(data)
    reader.close()
    if not frames:
        raise Corrupt("a model of no frames")
    if len(frames) != frames[0].count or {f.index for f in frames} != set(range(len(frames))):
        raise Corrupt(f"a model of {frames[0].count} chunks came in {len(frames)} frames")
    weights = np.zeros(dimension, np.float32)
    for frame in frames:
        _check_model_frame(frame, run=run, version=version, dimension=dimension)
        piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
        piece.where.put(piece.values, weights)
    return weights


def _check_model_frame(frame: Frame, *, run: str, version: int, dimension: int) -> None:
    if frame.kind is not Kind.SNAPSHOT or frame.run != run or frame.number != version:
        raise Corrupt(f"asked for model {version} of run {run}, got another")
    if frame.dimension != dimension:
        raise Corrupt(f"model of dimension {frame.dimension}, the plan has {dimension}")
