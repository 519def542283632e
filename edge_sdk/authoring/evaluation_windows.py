"""Convolutions and pools in numpy, in any float type, for any window: the exact yardstick.

The onnx library's own reference versions are wrong for some windows (1.23: ConvTranspose with
groups, MaxPool's second output) and slow; these replace them.
Padding is given in front of all axes, then behind all.
"""

import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ints = Sequence[int]
Number = TypeVar("Number", bound=np.generic)


def taps(
    x: NDArray[Number], out: Ints, kernel: Ints, strides: Ints, dilations: Ints
) -> NDArray[Number]:
    """View (batch, channels, *out, *kernel) of `x`, padded so far that every tap is inside."""
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    space = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, extent, axis=space)
    steps = [slice(None, (o - 1) * s + 1, s) for o, s in zip(out, strides, strict=True)]
    return view[(slice(None), slice(None), *steps, *(slice(None, None, d) for d in dilations))]


def convolve(
    x: Floats, w: Floats, *, groups: int, pads: Ints, strides: Ints, dilations: Ints
) -> Floats:
    """Cross-correlation of (N, C, space) with (M, C / groups, kernel), as ONNX Conv."""
    axes = x.ndim - 2
    padded = np.pad(x, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    kernel = w.shape[2:]
    out = [
        (n - (k - 1) * d - 1) // s + 1
        for n, k, s, d in zip(padded.shape[2:], kernel, strides, dilations, strict=True)
    ]
    view = taps(padded, out, kernel, strides, dilations)
    each, made = x.shape[1] // groups, w.shape[0] // groups
    over = [1, *range(2 + axes, 2 + 2 * axes)]
    parts = [
        np.tensordot(
            view[:, g * each : (g + 1) * each],
            w[g * made : (g + 1) * made],
            (over, list(range(1, w.ndim))),
        )
        for g in range(groups)
    ]
    return np.moveaxis(np.concatenate(parts, axis=-1), -1, 1)


def convolve_back(
    x: Floats, w: Floats, *, groups: int, pads: Ints, strides: Ints, dilations: Ints, grow: Ints
) -> Floats:
    """The transpose of `convolve`: each input value spreads w over the output, as ConvTranspose."""
    axes = x.ndim - 2
    kernel = w.shape[2:]
    full = [
        (n - 1) * s + (k - 1) * d + 1 + g
        for n, k, s, d, g in zip(x.shape[2:], kernel, strides, dilations, grow, strict=True)
    ]
    each, made = x.shape[1] // groups, w.shape[1]
    result = np.zeros((x.shape[0], groups * made, *full), x.dtype)
    for g in range(groups):
        own = slice(g * each, (g + 1) * each)
        spread = np.moveaxis(np.tensordot(x[:, own], w[own], (1, 0)), 1 + axes, 1)
        by_tap = spread.reshape(*spread.shape[: 2 + axes], -1)
        for number, tap in enumerate(itertools.product(*map(range, kernel))):
            where = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilations, x.shape[2:], strides, strict=True)
            )
            at = (slice(None), slice(g * made, (g + 1) * made), *where)
            result[at] = result[at] + by_tap[..., number]
    crop = [slice(b, n - a) for b, a, n in zip(pads[:axes], pads[axes:], full, strict=True)]
    return result[(slice(None), slice(None), *crop)]


def maxima(
    x: Floats, *, out: Ints, kernel: Ints, before: Ints, strides: Ints, dilations: Ints
) -> tuple[Floats, NDArray[np.int64]]:
    """Largest tap of each window and its position in the flat input; the first of equals."""
    behind = [
        max(0, (o - 1) * s + (k - 1) * d + 1 - n - b)
        for o, s, k, d, n, b in zip(
            out, strides, kernel, dilations, x.shape[2:], before, strict=True
        )
    ]
    frame = [(0, 0), (0, 0), *zip(before, behind, strict=True)]
    padded = np.pad(x, frame, constant_values=-np.inf)
    places = np.pad(np.arange(x.size).reshape(x.shape), frame, constant_values=-1)
    shape = (*x.shape[:2], *out, math.prod(kernel))
    values = taps(padded, out, kernel, strides, dilations).reshape(shape)
    winner = values.argmax(axis=-1)[..., None]
    where = taps(places, out, kernel, strides, dilations).reshape(shape)
    return (
        np.take_along_axis(values, winner, -1)[..., 0],
        np.take_along_axis(where, winner, -1)[..., 0],
    )


def resolved_pads(
    mode: str | None, pads: Ints | None, *, size: Ints, kernel: Ints, strides: Ints, dilations: Ints
) -> list[int]:
    """Padding after `auto_pad`."""
    if mode in (None, "NOTSET"):
        return list(pads) if pads else [0] * (2 * len(size))
    if mode == "VALID":
        return [0] * (2 * len(size))
    total = [
        max(0, (math.ceil(n / s) - 1) * s + (k - 1) * d + 1 - n)
        for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)
    ]
    small, large = [t // 2 for t in total], [t - t // 2 for t in total]
    return small + large if mode == "SAME_UPPER" else large + small
