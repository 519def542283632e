"""Model versions as frames, and how a run derives its seeds. Pure.

A version is broadcast as a snapshot in the run's downlink codec; what devices hold and train from
is the decoded snapshot, while the server keeps the exact weights.
"""

import hashlib

import numpy as np

from edge_sdk.codecs import codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.errors import Corrupt
from edge_sdk.values import Vector
from edge_sdk.wire import HEADER_BYTES, Frame, FrameReader, Kind, pack

SNAPSHOT_CHUNK_BYTES = 1 << 20
"""Largest frame of a snapshot."""


def derive_seed(root: int, *words: object) -> int:
    """A seed below 2**53 for the purpose that `words` name, the same for the same arguments."""
    text = "/".join(["edge-sdk", str(root), *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 11


def pack_snapshot(weights: Vector, *, run: str, version: int, codec: str, seed: int) -> bytes:
    """The frames of one whole model version; equal arguments give equal bytes."""
    chosen = codec_from_spec(codec)
    wire_id, parameter = frame_ids(chosen)
    payloads = chosen.encode(weights, seed=seed, chunk_bytes=SNAPSHOT_CHUNK_BYTES - HEADER_BYTES)
    frames = (
        Frame(
            kind=Kind.SNAPSHOT,
            codec=wire_id,
            parameter=parameter,
            index=index,
            count=len(payloads),
            run=run,
            number=version,
            seed=seed,
            dimension=len(weights),
            payload=payload,
        )
        for index, payload in enumerate(payloads)
    )
    return b"".join(map(pack, frames))


def unpack_snapshot(data: bytes, *, dimension: int) -> Vector:
    """The float32 weights that a snapshot's frames carry: what every device holds.

    Raises:
        Malformed: not the frames of one whole snapshot of `dimension` coordinates.
    """
    reader = FrameReader()
    frames = reader.feed(data)
    reader.close()
    weights = np.zeros(dimension, np.float32)
    if [f.index for f in frames] != list(range(frames[0].count if frames else 1)):
        raise Corrupt("snapshot is not whole")
    for frame in frames:
        if frame.kind is not Kind.SNAPSHOT or frame.dimension != dimension:
            raise Corrupt(f"not a snapshot of {dimension} coordinates")
        piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
        piece.where.put(piece.values, weights)
    return weights
