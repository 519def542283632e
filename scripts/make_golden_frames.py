"""Makes new golden frames in `tests/golden/wire`; never changes one that exists.

Run `python -m scripts.make_golden_frames` after a change of the format and look at what is new.
A golden frame that no longer passes is a broken promise to devices in the field: raise the version
instead of remaking it.

- `good/NAME.frame` decodes to the float32 values in `good/NAME.values`.
- `bad/NAME.CLASS.frame` is refused as a frame with that class of error.
- `bad-payload/NAME.CLASS.frame` is a good frame whose payload is refused with that class.
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.codecs.lowrank import LowRank
from edge_sdk.codecs.lowrank_factors import Matrix
from edge_sdk.interfaces import Codec
from edge_sdk.values import Piece, Vector
from edge_sdk.wire import Frame, Kind, pack

ROOM = Path(__file__).parent.parent / "tests" / "golden" / "wire"
RUN = "0123456789abcdef"
SEED = 2**53 - 1


def main() -> None:
    """Write what is missing."""
    for name, (content, values) in good().items():
        write(f"good/{name}.frame", content)
        write(f"good/{name}.values", values)
    for name, content in (bad() | bad_payloads()).items():
        write(f"{name}.frame", content)


def write(name: str, content: bytes) -> None:
    """A new file; an existing one stays as it is."""
    path = ROOM / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    path.write_bytes(content)
    sys.stdout.write(f"new: {name}\n")


def sample(size: int, seed: int) -> Vector:
    """Normal values with one large one, from integer arithmetic and IEEE operations only."""
    vector = np.random.default_rng(seed).integers(-1000, 1001, size).astype(np.float32)
    vector /= np.float32(7)
    vector[size // 2] = 1e30 if seed == 7 else 900
    return vector


def with_zeros(size: int, seed: int) -> Vector:
    """As `sample`, zeros in the second block of 4096."""
    vector = sample(size, seed)
    vector[4096:8192] = 0
    return vector


def frames_of(codec: Codec, vector: Vector, *, chunk_bytes: int) -> list[tuple[Frame, Piece]]:
    """Every chunk as a frame, with what it decodes to."""
    wire_id, parameter = frame_ids(codec)
    payloads = codec.encode(vector, seed=SEED, chunk_bytes=chunk_bytes)
    frames = [
        Frame(
            kind=Kind.UPDATE,
            codec=wire_id,
            parameter=parameter,
            index=index,
            count=len(payloads),
            stage=3,
            run=RUN,
            number=17,
            examples=1234,
            seed=SEED,
            dimension=len(vector),
            payload=payload,
        )
        for index, payload in enumerate(payloads)
    ]
    return [(frame, codec.decode(frame.payload, frame.place)) for frame in frames]


def good() -> dict[str, tuple[bytes, bytes]]:
    """Frames that decode, with the little-endian float32 values of their coordinates."""
    cases = {
        "float32": ("float32", sample(10, 1), 512),
        "float16-huge": ("float16", sample(10, 7), 512),
        "eden1": ("eden:bits=1", sample(4096 + 1024 + 256 + 64 + 5, 2), 4096),
        "eden2-one-coordinate": ("eden:bits=2", sample(1, 3), 512),
        "eden3-zeros": ("eden:bits=3", np.zeros(100, np.float32), 512),
        "eden4-huge": ("eden:bits=4", sample(300, 7), 512),
        "eden8": ("eden:bits=8", sample(1000, 4), 512),
        "eden2-one-round": ("eden:bits=2,rounds=1", sample(300, 5), 512),
        "eden2-three-rounds": ("eden:bits=2,rounds=3", sample(300, 6), 512),
        "eden1-least-error": ("eden:bits=1,scale=mse", sample(300, 8), 512),
        "eden-rate-0.1": ("eden:rate=0.1", sample(4096 + 1024 + 256 + 64 + 5, 9), 4096),
        "eden-rate-1.5": ("eden:rate=1.5,rounds=1,scale=norm", sample(1000, 10), 512),
        "eden-rate-6.3-huge": ("eden:rate=6.3", sample(300, 7), 512),
        "eden-entropy-zero-blocks": ("eden-entropy:rate=1.0", with_zeros(9000, 11), 4096),
        "dithered": ("dithered:rate=2.0,rotation=5", sample(1000, 12), 512),
        "blockwise-sampled": ("blockwise:rate=0.2", with_zeros(20_000, 13), 512),
        "blockwise-fine": ("blockwise:rate=6", sample(1000, 14), 1024),
        "blockwise-huge": ("blockwise:rate=1", sample(3000, 7), 1024),
        "lowrank-rank-0": ("lowrank:rate=1", sample(3000, 15), 1024),
        "deadzone": ("deadzone:rate=1.0", with_zeros(5000, 16), 1024),
        "topk": ("topk:share=0.01", sample(3000, 17), 512),
        "randomk": ("randomk:share=0.1", sample(1000, 18), 512),
        "fedzip-differences": ("fedzip:keep=0.05", sample(3000, 19), 1024),
    }
    made = {}
    for name, (spec, vector, chunk_bytes) in cases.items():
        frame, piece = frames_of(codec_from_spec(spec), vector, chunk_bytes=chunk_bytes)[-1]
        made[name] = (pack(frame), piece.values.astype("<f4").tobytes())
    sides = np.outer(np.arange(-20, 20), np.arange(-25, 25) % 7 + 1).astype(np.float32)
    vector = np.concatenate([sample(100, 20), sides.reshape(-1)])
    codec = LowRank(2.0, (Matrix(100, 40, 50),))
    frame, piece = frames_of(codec, vector, chunk_bytes=1024)[-1]
    made["lowrank-matrix"] = (pack(frame), piece.values.astype("<f4").tobytes())
    base, values = made["float32"]
    made["float32-unused-flags"] = (with_bytes(base, 9, b"\xff"), values)
    snapshot = with_bytes(with_bytes(base, 5, b"\x02"), 28, bytes(4))
    made["float32-snapshot"] = (with_bytes(snapshot, 24, bytes(4)), values)
    delta = with_bytes(with_bytes(base, 5, b"\x03"), 28, (1 << 15).to_bytes(4, "little"))
    made["float32-delta"] = (with_bytes(delta, 14, b"\x03"), values)
    return made


def with_bytes(frame: bytes, offset: int, new: bytes) -> bytes:
    """`frame` with some bytes replaced and its check sum made right again."""
    changed = bytearray(frame)
    changed[offset : offset + len(new)] = new
    changed[52:56] = bytes(4)
    changed[52:56] = zlib.crc32(changed).to_bytes(4, "little")
    return bytes(changed)


def bad() -> dict[str, bytes]:
    """Bytes that are not a frame, by name and class of the refusal."""
    base = good()["float32"][0]
    flipped = bytearray(base)
    flipped[60] ^= 4
    patches = {
        "magic.corrupt": (0, b"EDGE"),
        "version-0.unsupported": (4, b"\0"),
        "version-2.unsupported": (4, b"\2"),
        "kind-0.unsupported": (5, b"\0"),
        "kind-4.unsupported": (5, b"\4"),
        "codec-0.corrupt": (6, b"\0"),
        "reserved-flag.corrupt": (8, b"\1"),
        "reserved-byte.corrupt": (15, b"\1"),
        "index-not-below-count.corrupt": (10, b"\1\0"),
        "no-chunks.corrupt": (12, b"\0\0"),
        "stage-255.corrupt": (14, b"\xff"),
        "round-0.corrupt": (24, bytes(4)),
        "no-examples.corrupt": (28, bytes(4)),
        "seed-2-to-53.corrupt": (32, struct.pack("<Q", 2**53)),
        "no-dimension.corrupt": (40, bytes(8)),
        "dimension-over-limit.corrupt": (40, struct.pack("<Q", 2**31 + 1)),
        "no-payload.corrupt": (48, bytes(4)),
        "payload-over-limit.toolarge": (48, struct.pack("<I", 2**24 - 55)),
        "payload-longer-than-bytes.truncated": (48, struct.pack("<I", 41)),
        "payload-shorter-than-bytes.corrupt": (48, struct.pack("<I", 39)),
        "snapshot-with-examples.corrupt": (5, b"\2"),
    }
    made = {f"bad/{name}": with_bytes(base, *patch) for name, patch in patches.items()}
    made["bad/flipped-bit.corrupt"] = bytes(flipped)
    made["bad/empty.truncated"] = b""
    made["bad/header-cut.truncated"] = base[:55]
    made["bad/payload-cut.truncated"] = base[:-1]
    made["bad/one-byte-more.corrupt"] = base + b"\0"
    return made


def bad_payloads() -> dict[str, bytes]:
    """Good frames whose payload its codec refuses."""
    made = {name: frame for name, (frame, _) in good().items()}
    nan, minus = struct.pack("<f", float("nan")), struct.pack("<f", -1.0)
    infinite = struct.pack("<f", float("inf"))
    patches = {
        "float32-nan.notfinite": ("float32", 56, nan),
        "float32-infinity.notfinite": ("float32", 60, infinite),
        "float32-dimension.corrupt": ("float32", 40, struct.pack("<Q", 11)),
        "float32-parameter.unsupported": ("float32", 7, b"\1"),
        "float16-exponent.corrupt": ("float16-huge", 56, struct.pack("<h", 113)),
        "float16-reserved.corrupt": ("float16-huge", 58, b"\1"),
        "float16-infinity.notfinite": ("float16-huge", 60, struct.pack("<H", 0x7C00)),
        "eden-block-size.corrupt": ("eden4-huge", 56, struct.pack("<H", 512)),
        "eden-other-block-size.corrupt": ("eden8", 56, struct.pack("<H", 64)),
        "eden-reserved.corrupt": ("eden4-huge", 58, b"\1"),
        "eden-scale-nan.corrupt": ("eden4-huge", 60, nan),
        "eden-scale-infinity.corrupt": ("eden4-huge", 60, infinite),
        "eden-scale-negative.corrupt": ("eden4-huge", 60, minus),
        "eden-scale-over-limit.corrupt": ("eden4-huge", 60, struct.pack("<f", 2.0**118)),
        "eden-more-chunks-than-blocks.corrupt": ("eden2-one-coordinate", 12, b"\2\0"),
        "eden-bits-9.unsupported": ("eden4-huge", 7, b"\x29"),
        "eden-no-rounds.unsupported": ("eden4-huge", 7, b"\x04"),
        "eden-mixed-reserved.corrupt": ("eden-rate-0.1", 56, b"\x20"),
        "eden-mixed-scale-negative.corrupt": ("eden-rate-0.1", 59, b"\x01\x80"),
        "eden-mixed-scale-over-limit.corrupt": ("eden-rate-0.1", 59, b"\x01\x7a"),
        "eden-mixed-other-share.corrupt": ("eden-rate-0.1", 57, b"\xff\xff"),
        "blockwise-block-size.corrupt": ("blockwise-fine", 56, b"\3"),
        "blockwise-first-level-0.corrupt": ("blockwise-fine", 56, b"\1"),
        "lowrank-block-size.corrupt": ("lowrank-matrix", 56, b"\3"),
        "deadzone-step-nan.notfinite": ("deadzone", 56, nan),
        "deadzone-step-negative.corrupt": ("deadzone", 56, minus),
        "codec-255.unsupported": ("float32", 6, b"\xff"),
    }
    return {
        f"bad-payload/{name}": with_bytes(made[source], offset, new)
        for name, (source, offset, new) in patches.items()
    }


if __name__ == "__main__":
    main()
