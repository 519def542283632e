"""Update to frames. Pure: arrays in, bytes out."""

from collections.abc import Sequence

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.codecs.auto import auto_from_spec, canonical_spec, choose
from edge_sdk.codecs.layouts import fitted
from edge_sdk.codecs.table import FramedCodec
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.values import Choice, Layout, Task, Vector
from edge_sdk.wire import HEADER_BYTES, Frame, Kind, pack

MAX_MAGNITUDE = 1e18
"""A coordinate of an update beyond this means that training diverged."""


def known_codecs(specs: Sequence[str]) -> tuple[str, ...]:
    """Those of `specs` that this release can encode, in order."""
    return tuple(spec for spec in specs if _is_known(spec))


def _is_known(spec: str) -> bool:
    try:
        canonical_spec(spec)
    except (Misuse, Unsupported):
        return False
    return True


def has_diverged(delta: Vector) -> bool:
    """Whether `delta` holds NaN, an infinity or a magnitude that no training step can mean."""
    largest = max(-float(delta.min(initial=0.0)), float(delta.max(initial=0.0)))
    return not largest < MAX_MAGNITUDE  # a comparison with NaN is False


def codec_for(vector: Vector, task: Task, choice: Choice, layout: Layout) -> FramedCodec:
    """The codec to send `vector` with: the chosen one, or what an `auto` choice comes to.

    Raises:
        Misuse: the spec is none, or the layout has more tensors than the codec takes.
        Unsupported: the codec is not of this release.
    """
    auto = auto_from_spec(choice.codec)
    if auto is None:
        return fitted(codec_from_spec(choice.codec), layout)
    chosen = choose(
        vector,
        rate=auto.rate,
        chunk_bytes=task.chunk_bytes - HEADER_BYTES,
        updates=task.cohort,
        keeps_residual=task.memory == "error-feedback",
        layout=layout,
    )
    return fitted(chosen.codec, layout)


def update_frames(
    delta: Vector, task: Task, codec: FramedCodec, *, stage: int, examples: int
) -> list[bytes]:
    """The frames that carry `delta` (float32), each at most `task.chunk_bytes`.

    Raises:
        Misuse: `delta` is not finite, or needs more chunks than a header can count.
    """
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
                stage=stage,
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
