"""The replica: what every up-to-date device holds, and how a new version moves it. Pure.

The server keeps the exact model w and a replica r, the same bits as on every up-to-date device.
Devices train from r; the server moves w by the mean of what they learned (the preserved central
model, Philippenko and Dieuleveut, arXiv 2102.12528: gradients are taken at the degraded model and
applied to the exact one). Version t is then broadcast as a message C(w_t - r_t-1), and

    r_t = r_t-1 + speed * decoded

on both sides, by the same float32 operations. What the code left out is still in w_t - r_t and
goes out with later messages, so the replica follows the model as long as the code, times its speed,
contracts. An unbiased code of error v does so for speeds below 2 / (1 + v); so 1 is too fast for
v >= 1.

The speed is by default *fitted* to each message: the server has the difference d and what it
decodes to, x, so it takes <d, x> / <x, x>, which leaves least and never more than there was,
whatever the code. For EDEN that is the scale of least error.

With a code that is exact to rounding (float32, float16) each version is a snapshot of its own.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.codecs.layouts import fitted
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.errors import Misuse
from edge_sdk.interfaces import Codec
from edge_sdk.plan import Segment, add_delta, put_snapshot
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES, SPEED_UNITS, Frame, Kind, pack
from server_ref.downlink.choosing import Contents, Part
from server_ref.downlink.snapshots import SNAPSHOT_CHUNK_BYTES, snapshot_frames

Speed = float | None
"""Above 0 up to 1; None fits it to each message."""

_PROBE = 1 << 16
_SLAB = 1 << 16


@dataclasses.dataclass(frozen=True, slots=True)
class Published:
    """A version as devices get it."""

    replica: Vector = dataclasses.field(repr=False)
    """Of the whole model, float32."""
    snapshot: bytes = dataclasses.field(repr=False)
    """Frames that decode to the replica, segment after segment."""
    delta: bytes | None = dataclasses.field(repr=False)
    """Frames that lead here from the version before; None where there are none."""
    contents: Contents


def is_exact(spec: str) -> bool:
    """Whether versions in this codec are snapshots of their own, without deltas."""
    return isinstance(codec_from_spec(spec), Float16 | Float32)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Downlink:
    """How one run's versions go out."""

    run: str
    segments: Sequence[Segment]
    """Of the plan."""
    codec: str
    """Its spec."""
    speed: Speed = None

    def publish(
        self,
        weights: Vector,
        before: Vector | None,
        *,
        version: int,
        seed_of: Callable[[int], int],
    ) -> Published:
        """Move the replica towards `weights`.

        Args:
            weights: of the whole model, exact.
            before: replica of the version before; None for version 0, which is exact.
            version: what is published.
            seed_of: seed of a segment's message.

        Raises:
            Misuse: a weight is not finite.
        """
        moves = before is not None and not is_exact(self.codec)
        replica = before.copy() if before is not None and moves else weights.copy()
        snapshots: list[bytes] = []
        deltas: list[bytes] = []
        for segment in self.segments:
            held = segment.where.take(replica)
            if moves:
                seed = seed_of(segment.number)
                message = self._delta(segment.where.take(weights), held, segment, version, seed)
                deltas.append(b"".join(map(pack, message)))
                for frame in message:
                    add_delta(frame, held)
            frames = snapshot_frames(
                held,
                run=self.run,
                version=version,
                segment=segment.number,
                codec=Float32().spec if moves or before is None else self.codec,
                seed=0,
            )
            for frame in frames:
                put_snapshot(frame, held)
            segment.where.put(held, replica)
            snapshots.append(b"".join(map(pack, frames)))
        contents = Contents(_parts(snapshots), _parts(deltas) if moves else None)
        return Published(
            replica, b"".join(snapshots), b"".join(deltas) if moves else None, contents
        )

    def _delta(
        self, wanted: Vector, held: Vector, segment: Segment, version: int, seed: int
    ) -> list[Frame]:
        """The message of one segment."""
        codec = fitted(codec_from_spec(self.codec), segment.layout)
        wire_id, parameter = frame_ids(codec)
        missing: Vector = wanted - held
        payloads = codec.encode(missing, seed=seed, chunk_bytes=SNAPSHOT_CHUNK_BYTES - HEADER_BYTES)
        speed = self.speed or _fit(missing, _joined(codec, payloads, len(missing), seed=seed))
        return [
            Frame(
                kind=Kind.DELTA,
                codec=wire_id,
                parameter=parameter,
                index=index,
                count=len(payloads),
                stage=segment.number,
                run=self.run,
                number=version,
                examples=min(max(round(speed * SPEED_UNITS), 1), SPEED_UNITS),
                seed=seed,
                dimension=len(missing),
                payload=payload,
            )
            for index, payload in enumerate(payloads)
        ]


def _fit(missing: Vector, carried: Vector) -> float:
    """What to multiply `carried` by so that least of `missing` is left."""
    energy = _dot(carried, carried)
    return _dot(missing, carried) / energy if energy else 1.0


def check_stable(spec: str, speed: Speed) -> None:
    """See that the replica will follow the model.

    Raises:
        Misuse: at this speed the codec leaves more than there was, measured on normal values.
    """
    if speed is None or is_exact(spec):
        return
    codec = codec_from_spec(spec)
    vector = np.random.Generator(np.random.PCG64(1)).standard_normal(_PROBE).astype(np.float32)
    left = vector - np.float32(speed) * _decoded(codec, vector, seed=1)
    share = _dot(left, left) / _dot(vector, vector)
    if share >= 1:
        raise Misuse(
            f"downlink codec {spec} at speed {speed:g} leaves {share:.3g} of what it should carry: "
            "the devices' model would run away from the server's. Give no downlink_speed, a lower "
            "one, or a richer codec"
        )


def _decoded(codec: Codec, vector: Vector, *, seed: int) -> Vector:
    payloads = codec.encode(vector, seed=seed, chunk_bytes=SNAPSHOT_CHUNK_BYTES)
    return _joined(codec, payloads, len(vector), seed=seed)


def _joined(codec: Codec, payloads: Sequence[bytes], size: int, *, seed: int) -> Vector:
    whole = np.zeros(size, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(size, index, len(payloads), seed))
        piece.where.put(piece.values, whole)
    return whole


def _dot(a: Vector, b: Vector) -> float:
    """Sum of products in float64, one after another: the same on every machine."""
    total = 0.0
    for start in range(0, len(a), _SLAB):
        products = np.multiply(a[start : start + _SLAB], b[start : start + _SLAB], dtype=np.float64)
        total += float(np.cumsum(products)[-1])
    return total


def _parts(pieces: Sequence[bytes]) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for piece in pieces:
        parts.append((at, len(piece)))
        at += len(piece)
    return tuple(parts)
