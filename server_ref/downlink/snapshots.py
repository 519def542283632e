"""Whole vectors as frames, and seeds. Pure."""

import hashlib

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.values import Vector
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, pack

SNAPSHOT_CHUNK_BYTES = 1 << 20
"""Largest frame of a model."""


def derive_seed(root: int, *words: object) -> int:
    """A seed below 2**53 for the purpose that `words` name, the same for the same arguments."""
    text = "/".join(["edge-sdk", str(root), *map(str, words)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 11


def pack_snapshot(weights: Vector, *, run: str, version: int, codec: str, seed: int) -> bytes:
    """The frames of one whole model version of one segment; equal arguments give equal bytes."""
    frames = snapshot_frames(weights, run=run, version=version, segment=0, codec=codec, seed=seed)
    return b"".join(map(pack, frames))


def snapshot_frames(
    weights: Vector, *, run: str, version: int, segment: int, codec: str, seed: int
) -> list[Frame]:
    """A segment's vector as it is in `version`."""
    chosen = codec_from_spec(codec)
    wire_id, parameter = frame_ids(chosen)
    payloads = chosen.encode(weights, seed=seed, chunk_bytes=SNAPSHOT_CHUNK_BYTES - HEADER_BYTES)
    return [
        Frame(
            kind=Kind.SNAPSHOT,
            codec=wire_id,
            parameter=parameter,
            index=index,
            count=len(payloads),
            stage=segment,
            run=run,
            number=version,
            seed=seed,
            dimension=len(weights),
            payload=payload,
        )
        for index, payload in enumerate(payloads)
    ]
