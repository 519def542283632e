"""A model of 10^8 parameters: encode, then decode and add chunk by chunk; time and peak memory.

    python -m benchmarks.codec_huge [--size N] [--json FILE] [SPEC ...]

Normal values, frames of 1 MiB. Every codec encodes in one fresh process and decodes in another,
since peak resident memory never falls. The peak is what a process had at most beyond what it took
to begin with, in sizes of the float32 vector: encoding has the vector and the payloads in it,
decoding the float64 sum (2.0), into which the chunks are added one by one as a server does.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs import codec_from_spec, decode_onto
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES

SIZE = 100_000_000
SPECS = (
    "blockwise:rate=0.1",
    "blockwise:rate=1",
    "lowrank:rate=1",
    "eden:bits=1",
    "eden:bits=4",
    "eden-entropy:rate=1",
    "deadzone:rate=0.1",
    "deadzone:rate=1",
    "float16",
)
CHUNK_BYTES = (1 << 20) - HEADER_BYTES
SEED = 3
WEIGHT = 2.0
_SLAB = 1 << 20

Row = dict[str, float | str]


def slabs(size: int) -> Iterator[tuple[int, Vector]]:
    """The vector in pieces, each with its first coordinate."""
    rng = np.random.default_rng(0)
    for start in range(0, size, _SLAB):
        yield start, rng.standard_normal(min(_SLAB, size - start), np.float32)


def encode_part(spec: str, size: int, folder: Path) -> Row:
    """Encode; the payloads go to files in `folder`."""
    before = _resident_bytes()
    vector = np.empty(size, np.float32)
    for start, piece in slabs(size):
        vector[start : start + len(piece)] = piece
    started = time.process_time()
    payloads = codec_from_spec(spec).encode(vector, seed=SEED, chunk_bytes=CHUNK_BYTES)
    took = time.process_time() - started
    peak = _peak_bytes() - before
    for index, payload in enumerate(payloads):
        (folder / f"{index}").write_bytes(payload)
    sent = sum(HEADER_BYTES + len(payload) for payload in payloads)
    return {
        "encode s": took,
        "encode peak": peak / (4 * size),
        "chunks": float(len(payloads)),
        "wire bits": 8 * sent / size,
    }


def decode_part(spec: str, size: int, folder: Path) -> Row:
    """Read the payloads one by one and add them to a sum; its error against the vector."""
    codec = codec_from_spec(spec)
    count = len(list(folder.iterdir()))
    before = _resident_bytes()
    total = np.zeros(size)
    started = time.process_time()
    for index in range(count):
        payload = (folder / f"{index}").read_bytes()
        decode_onto(codec, payload, Place(size, index, count, SEED), onto=total, weight=WEIGHT)
    took = time.process_time() - started
    peak = _peak_bytes() - before
    return {"decode s": took, "decode peak": peak / (4 * size), "nmse": _error(total / WEIGHT)}


def _error(decoded: NDArray[np.float64]) -> float:
    lost, energy = 0.0, 0.0
    for start, piece in slabs(len(decoded)):
        wide = piece.astype(np.float64)
        lost += float(np.sum((decoded[start : start + len(wide)] - wide) ** 2))
        energy += float(np.sum(wide**2))
    return lost / energy


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


PARTS = {"encode": encode_part, "decode": decode_part}


def measure(spec: str, size: int) -> Row:
    """Both parts of one codec, each in a process of its own."""
    row: Row = {"codec": spec}
    with tempfile.TemporaryDirectory() as folder:
        for part in PARTS:
            command = [sys.executable, "-m", "benchmarks.codec_huge", spec]
            command += ["--size", f"{size}", "--part", part, "--folder", folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            row |= json.loads(done.stdout)
    return row


def main() -> None:
    """Measure every codec, or one part of one when called by `measure`."""
    options = _options()
    if options.part:
        row = PARTS[options.part](options.specs[0], options.size, options.folder)
        sys.stdout.write(json.dumps(row))
        return
    rows: list[Row] = []
    for spec in options.specs or SPECS:
        rows.append(measure(spec, options.size))
        if len(rows) == 1:
            print("  ".join(f"{key:>19}" for key in rows[0]))
        print(
            "  ".join(f"{v:>19}" if isinstance(v, str) else f"{v:19.4g}" for v in rows[-1].values())
        )
        sys.stdout.flush()
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Codecs on 10^8 parameters.")
    parser.add_argument("specs", nargs="*", metavar="SPEC")
    parser.add_argument("--size", type=int, default=SIZE, help="coordinates")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--part", choices=sorted(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
