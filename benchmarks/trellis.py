"""Trellis-coded EDEN as a prototype: what eight states save, and what they cost in processor time.

    python -m benchmarks.trellis [--quick] [--json FILE]

Trellis-coded quantization (Marcellin and Fischer, IEEE Trans. Communications 38(1), 1990) has
twice as many levels as its rate pays for, cut into four subsets D0 D1 D2 D3 D0 … in ascending
order. Each state of a trellis allows two of them, so a bit says which way the path goes and the
others name the level within the subset. The encoder finds the best path of a whole block (Viterbi);
a decoder follows it. As in EDEN the coordinates are those of a rotated block of 4096 and one scale
makes the estimate unbiased; three rotation rounds, which vector quantizers need (arXiv 2605.06014).

Prints, on normal values: error at the same wire rate as EDEN and EDEN with entropy coding, the bits
that each of them would need for the trellis's error, processor time to encode, and nanoseconds of
processor per bit saved: times the power of a core that is the energy a bit must cost on the radio
for the trellis to pay. Our kernels are numpy; the path search is one step per coordinate for 256
blocks at once.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # read when numpy is imported

import argparse
import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from benchmarks.codec import Figures, measure
from edge_sdk.codecs import Blockwise, EdenEntropy, EdenMixed
from edge_sdk.codecs.eden import row_sums, to_whole_numbers
from edge_sdk.codecs.rotation import rotate, rotate_back
from edge_sdk.values import Vector
from edge_sdk.wire import HEADER_BYTES

STATES = 8
BLOCK = 4096
KEYS = (1, 2, 3)
"""Sign streams of the three rounds, changed by the seed."""

BEFORE = np.array([[s // 2, s // 2 + STATES // 2] for s in range(STATES)])
"""The two states before each state."""
SUBSETS = np.array([[0, 2], [2, 0], [1, 3], [3, 1], [2, 0], [0, 2], [3, 1], [1, 3]])
"""The subset on the way from each of them (Ungerboeck's code of eight states)."""

UPPER: Mapping[int, tuple[float, ...]] = MappingProxyType(
    {
        1: (0.3458, 1.2016),
        2: (0.1914, 0.601, 1.0639, 1.8671),
        3: (0.1097, 0.3039, 0.5287, 0.755, 1.0241, 1.3373, 1.783, 2.4898),
    }
)
"""Positive halves of the levels by bits, made by `train`."""

Paths = NDArray[np.uint8]
Reals = NDArray[np.float32]


def levels_of(bits: int) -> Reals:
    """All 2**(bits + 1) levels, ascending; level i belongs to subset i % 4."""
    upper = np.array(UPPER[bits], np.float32)
    return np.concatenate([-upper[::-1], upper])


def best_paths(values: Reals, levels: Reals) -> NDArray[np.intp]:
    """The level of every value, on each row's path of least squared error from state 0.

    Args:
        values: shape (rows, steps).
        levels: ascending, a multiple of four of them.

    Returns:
        Indices of levels, shape (rows, steps).
    """
    rows, steps = values.shape
    ahead = np.ascontiguousarray(values.T)  # step by step
    nearest = np.empty((steps, 4, rows), np.uint8)
    errors = np.empty((steps, 4, rows), np.float32)
    for subset in range(4):
        mine = levels[subset::4]
        place = np.searchsorted((mine[1:] + mine[:-1]) / 2, ahead)
        nearest[:, subset] = 4 * place + subset
        errors[:, subset] = np.square(ahead - mine[place])
    cost = np.full((STATES, rows), np.inf, np.float32)
    cost[0] = 0
    ways = np.empty((steps, STATES, rows), np.bool_)
    for step in range(steps):
        one = cost[BEFORE[:, 0]] + errors[step, SUBSETS[:, 0]]
        other = cost[BEFORE[:, 1]] + errors[step, SUBSETS[:, 1]]
        np.less(other, one, out=ways[step])
        np.minimum(one, other, out=cost)
        if step % 64 == 63:
            cost -= cost.min(axis=0)
    return _followed(ways, nearest, cost.argmin(axis=0)).T


def _followed(
    ways: NDArray[np.bool_], nearest: NDArray[np.uint8], state: NDArray[np.intp]
) -> NDArray[np.intp]:
    """Levels on the paths that end in `state`, shape (steps, rows)."""
    chosen = np.empty((len(ways), len(state)), np.intp)
    row = np.arange(len(state))
    for step in range(len(ways) - 1, -1, -1):
        way = ways[step, state, row].astype(np.intp)
        chosen[step] = nearest[step, SUBSETS[state, way], row]
        state = BEFORE[state, way]
    return chosen


def to_codes(chosen: NDArray[np.intp], bits: int) -> Paths:
    """What is sent: `bits` for each level, the highest one says which way the path goes."""
    state = np.zeros(len(chosen), np.intp)
    codes = np.empty(chosen.shape, np.uint8)
    for step in range(chosen.shape[1]):
        subset = chosen[:, step] % 4
        ahead = _next_state(state)
        way = (SUBSETS[ahead[:, 1], _side(state)] == subset).astype(np.intp)
        codes[:, step] = way << (bits - 1) | chosen[:, step] // 4
        state = ahead[np.arange(len(state)), way]
    return codes


def from_codes(codes: Paths, bits: int) -> NDArray[np.intp]:
    """Undo `to_codes`."""
    state = np.zeros(len(codes), np.intp)
    chosen = np.empty(codes.shape, np.intp)
    for step in range(codes.shape[1]):
        way = (codes[:, step] >> (bits - 1)).astype(np.intp)
        place = (codes[:, step] & ((1 << (bits - 1)) - 1)).astype(np.intp)
        ahead = _next_state(state)[np.arange(len(state)), way]
        chosen[:, step] = 4 * place + SUBSETS[ahead, _side(state)]
        state = ahead
    return chosen


def _next_state(state: NDArray[np.intp]) -> NDArray[np.intp]:
    """Both states that may follow, shape (rows, 2)."""
    first = 2 * (state % (STATES // 2))
    return np.stack([first, first + 1], axis=1)


def _side(state: NDArray[np.intp]) -> NDArray[np.intp]:
    """Which of a following state's two predecessors this is."""
    return state // (STATES // 2)


def train(bits: int, *, rounds: int = 30, seed: int = 0) -> tuple[float, ...]:
    """Levels that are the mean of what is coded as them, found by turns; the positive half."""
    values = np.random.default_rng(seed).standard_normal((256, 1024)).astype(np.float32)
    levels: Reals = levels_of(bits)
    for _ in range(rounds):
        chosen = best_paths(values, levels)
        counts = np.bincount(chosen.reshape(-1), minlength=len(levels))
        sums = np.bincount(chosen.reshape(-1), values.reshape(-1), minlength=len(levels))
        means: NDArray[np.float64] = sums / np.maximum(counts, 1)
        levels = ((means - means[::-1]) / 2).astype(np.float32, copy=False)
    return tuple(round(float(level), 4) for level in levels[len(levels) // 2 :])


@dataclasses.dataclass(frozen=True, slots=True)
class Coded:
    """What would be sent of a vector whose length is a multiple of 4096."""

    scales: Reals
    codes: bytes
    bits: int
    chosen: NDArray[np.intp]
    """The codes before packing; decoding them back is tested, not timed."""

    @property
    def wire_bits(self) -> float:
        """Per coordinate, with headers of frames of 64 KiB as other codecs have them."""
        content = 4 * len(self.scales) + len(self.codes)
        frames = -(-content // (65_536 - HEADER_BYTES))
        return 8 * (content + (HEADER_BYTES + 4) * frames) / self.chosen.size


def encode(vector: Vector, bits: int, *, seed: int) -> Coded:
    """Rotate, find the paths, scale, pack."""
    rows = vector.copy().reshape(-1, BLOCK)
    exponents = to_whole_numbers(rows)
    energy = row_sums(rows, rows)
    turned = rotate(rows, tuple(seed << 8 | key for key in KEYS), first=0)
    levels = levels_of(bits)
    rms = np.sqrt(energy / BLOCK).astype(np.float32)
    chosen = best_paths((turned / rms).astype(np.float32), levels)
    overlap = row_sums(turned, levels[chosen])
    scales = np.ldexp(energy / overlap, exponents).astype(np.float32)
    planes = [np.packbits(chosen >> (1 + bit) & 1) for bit in range(bits)]  # as many as are sent
    return Coded(scales, b"".join(map(bytes, planes)), bits, chosen)


def decode(coded: Coded, *, seed: int) -> Vector:
    """The estimate of the vector."""
    rows: Reals = np.rint(levels_of(coded.bits)[coded.chosen] * np.float32(4096))
    rows = rotate_back(rows, tuple(seed << 8 | key for key in KEYS), first=0)
    values: Vector = (rows * (coded.scales / np.float32(4096))).reshape(-1)
    return values


def trellis_figures(vector: Vector, bits: int, *, draws: int) -> Figures:
    """As `benchmarks.codec.measure`, for encoding."""
    energy = float(np.sum(vector.astype(np.float64) ** 2))
    errors, encode_s = [], []
    for seed in range(draws):
        started = time.process_time()
        coded = encode(vector, bits, seed=seed)
        encode_s.append(time.process_time() - started)
        error = decode(coded, seed=seed).astype(np.float64) - vector
        errors.append(float(np.sum(error**2)) / energy)
    return {
        "wire_bits": coded.wire_bits,
        "nmse": float(np.mean(errors)),
        "encode_ms_per_million": min(encode_s) * 1e9 / len(vector),
    }


RIVALS: Mapping[str, Callable[[float], EdenMixed | EdenEntropy | Blockwise]] = MappingProxyType(
    {"eden": EdenMixed, "eden-entropy": EdenEntropy, "blockwise": Blockwise}
)


def rows_for(vector: Vector, *, draws: int) -> list[dict[str, float | str]]:
    """One row for each number of bits and rival."""
    rows: list[dict[str, float | str]] = []
    for bits in UPPER:
        ours = trellis_figures(vector, bits, draws=draws)
        rate = ours["wire_bits"]
        for name, make in RIVALS.items():
            same = measure(make(rate), vector, draws=draws)
            more = measure(make(rate + 0.3), vector, draws=1)
            slope = math.log(same["nmse"] / more["nmse"]) / (more["wire_bits"] - same["wire_bits"])
            saved = math.log(same["nmse"] / ours["nmse"]) / slope
            longer_ms = ours["encode_ms_per_million"] - same["encode_ms_per_million"]
            rows.append(
                {
                    "bits": f"{rate:.3f}",
                    "rival": name,
                    "error": ours["nmse"],
                    "its error": same["nmse"],
                    "bits saved": saved,
                    "ms/million": ours["encode_ms_per_million"],
                    "its ms": same["encode_ms_per_million"],
                    "ns/bit saved": longer_ms / saved if saved > 0 else math.nan,
                }
            )
    return rows


def _print(rows: Sequence[Mapping[str, float | str]]) -> None:
    print("  ".join(f"{key:>12}" for key in rows[0]))
    for row in rows:
        print("  ".join(f"{v:>12}" if isinstance(v, str) else f"{v:12.4g}" for v in row.values()))


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="Trellis-coded EDEN: gain and cost.")
    parser.add_argument("--quick", action="store_true", help="a shorter vector, one draw")
    parser.add_argument("--train", action="store_true", help="print the levels and end")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    if options.train:
        for bits in UPPER:
            print(f"{bits}: {train(bits)}")
        return
    vector = np.random.default_rng(1).standard_normal(1 << (18 if options.quick else 20))
    rows = rows_for(vector.astype(np.float32), draws=1 if options.quick else 3)
    _print(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
