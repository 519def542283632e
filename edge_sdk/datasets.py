"""A device's own examples: arrays in memory, cast to what the plan wants one batch at a time.

The stored dtype stays (uint8 images take a quarter of float32); only a batch is ever cast.
`ArrayDataset.fit` adapts layout and dtype to a plan once, and refuses what the plan cannot train
on before a model is downloaded or anything trained. It needs the plan, which a device learns of
with its first task; a device whose examples do not fit gives its place in the round back.
"""

import math
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import ArrayLike, DTypeLike, NDArray

from edge_sdk.errors import Corrupt, Misuse, TooLarge
from edge_sdk.interfaces import Batch
from edge_sdk.plan import Plan, TensorSpec

MAX_ARRAY_BYTES = 2 << 30
"""Largest array that `load_npz` reads."""


class ArrayDataset:
    """Examples held in two arrays; an `interfaces.Dataset`.

    Args:
        x: inputs, examples along axis 0.
        y: targets, as many.
        x_dtype: what a batch of inputs is cast to; None keeps the stored dtype.
        y_dtype: the same for targets.

    Raises:
        Misuse: the arrays differ in length, are empty or hold Python objects.
    """

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        *,
        x_dtype: DTypeLike | None = None,
        y_dtype: DTypeLike | None = None,
    ) -> None:
        self._x = _array(x, "x")
        self._y = _array(y, "y")
        if len(self._x) != len(self._y) or len(self._x) == 0:
            raise Misuse(f"{len(self._x)} inputs, {len(self._y)} targets; need as many, over 0")
        self._x_dtype = np.dtype(self._x.dtype if x_dtype is None else x_dtype)
        self._y_dtype = np.dtype(self._y.dtype if y_dtype is None else y_dtype)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._x)

    def __repr__(self) -> str:
        x, y = self._x, self._y
        return f"ArrayDataset({len(self)} examples, x {x.dtype}{x.shape[1:]}, y {y.dtype})"

    def batches(self, *, size: int, seed: int | None) -> Iterator[Batch]:
        """One pass in batches of `size`, the last maybe smaller; new contiguous arrays each.

        With a seed the order is numpy's `Generator(PCG64(seed)).permutation`, else as stored.

        Raises:
            Misuse: `size` is below 1.
        """
        if size < 1:
            raise Misuse(f"batch size {size}")
        count = len(self)
        order = None
        if seed is not None:
            order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
        for start in range(0, count, size):
            end = min(start + size, count)
            which = slice(start, end) if order is None else order[start:end]
            yield (
                np.array(self._x[which], self._x_dtype, order="C"),
                np.array(self._y[which], self._y_dtype, order="C"),
            )

    def fit(self, plan: Plan) -> "ArrayDataset":
        """These examples in the layout and dtypes of `plan`; shares the memory where it can.

        Raises:
            Misuse: shape or dtype cannot be adapted, values are not finite, or a class index is
                outside the plan's classes.
        """
        x, y = _adapt(self._x, plan.input), _adapt(self._y, plan.target)
        if plan.classes is not None:
            _check_classes(y, plan.classes)
        return ArrayDataset(x, y, x_dtype=plan.input.dtype, y_dtype=plan.target.dtype)


def load_npz(
    path: Path | str,
    *,
    split: Literal["train", "test"] = "train",
    user: int | None = None,
    fit: Plan | None = None,
) -> ArrayDataset:
    """Examples from an `.npz` file; nothing in it is ever unpickled.

    Args:
        path: file with `x_train, y_train, x_test, y_test` and perhaps `user_train, user_test`; or
            with plain `x, y` (and perhaps `user`), a device's own shard, read as its train split.
        split: which part to read.
        user: keep only the examples of this user.
        fit: adapt to this plan at once, see `ArrayDataset.fit`.

    Raises:
        Misuse: no such file, it lacks the arrays asked for, or they do not fit.
        Malformed: the file is broken, holds Python objects or an array over `MAX_ARRAY_BYTES`.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            dataset = _read_split(archive, path.name, split, user)
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise Misuse(f"cannot read {path}: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, RuntimeError) as error:
        raise Corrupt(f"{path.name}: {error}") from error
    return dataset if fit is None else dataset.fit(fit)


def _read_split(archive: zipfile.ZipFile, file: str, split: str, user: int | None) -> ArrayDataset:
    names = archive.namelist()
    held = {name.removesuffix(".npy") for name in names if name.endswith(".npy")}
    own_shard = split == "train" and f"x_{split}" not in held
    suffix = "" if own_shard else f"_{split}"
    wanted = [f"x{suffix}", f"y{suffix}"] + ([] if user is None else [f"user{suffix}"])
    missing = [key for key in wanted if key not in held]
    if missing:
        raise Misuse(f"{file} has no {', '.join(missing)}; it holds {', '.join(sorted(held))}")
    x, y, *users = (_read_array(archive, key) for key in wanted)
    if user is not None:
        keep = users[0] == user
        if keep.shape != y.shape[:1] or not keep.any():
            raise Misuse(f"{file} has no examples of user {user} in its {split} split")
        x, y = x[keep], y[keep]
    return ArrayDataset(x, y)


def _read_array(archive: zipfile.ZipFile, key: str) -> NDArray[np.generic]:
    """One array, its size checked against the archive's before numpy allocates it."""
    info = archive.getinfo(f"{key}.npy")
    if info.file_size > MAX_ARRAY_BYTES:
        raise TooLarge(f"{key}: {info.file_size} bytes, limit {MAX_ARRAY_BYTES}")
    with archive.open(info) as stream:
        _check_header(stream, key, info.file_size)
        stream.seek(0)
        return np.asarray(npy.read_array(stream, allow_pickle=False))


def _check_header(stream: IO[bytes], key: str, file_bytes: int) -> None:
    version = npy.read_magic(stream)
    if version not in {(1, 0), (2, 0)}:
        raise Corrupt(f"{key}: .npy version {version}")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != file_bytes - stream.tell():
        raise Corrupt(f"{key}: holds Python objects, or another size than its header says")


def _array(values: ArrayLike, name: str) -> NDArray[np.generic]:
    array = np.asarray(values)
    if array.ndim == 0 or array.dtype.kind not in "biuf":
        raise Misuse(f"{name} must be an array of numbers with examples along axis 0")
    return array


def _adapt(array: NDArray[np.generic], spec: TensorSpec) -> NDArray[np.generic]:
    """`array` in the layout of `spec` (a view where possible), checked against its dtype."""
    have, want = array.shape[1:], spec.shape
    if have == want:
        adapted = array
    elif want in ((1, *have), (*have, 1)) or (want == () and math.prod(have) == 1):
        adapted = array.reshape(len(array), *want)
    elif len(have) > 1 and want == (have[-1], *have[:-1]):  # channels last -> channels first
        adapted = np.moveaxis(array, -1, 1)
    elif len(want) == 1 and math.prod(have) == want[0]:
        adapted = array.reshape(len(array), *want)
    else:
        raise Misuse(f"{spec.name}: examples of shape {have}, the plan takes {want}")
    _check_cast(adapted, spec)
    return adapted


def _check_cast(array: NDArray[np.generic], spec: TensorSpec) -> None:
    """Refuse a cast that would lose more than float precision, and values that are not finite."""
    want = np.dtype(spec.dtype)
    whole_numbers = array.dtype.kind in "biu" and want.kind in "iu"  # the range is checked below
    if not whole_numbers and not np.can_cast(array.dtype, want, "same_kind"):
        raise Misuse(f"{spec.name}: {array.dtype} examples, the plan takes {want}")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise Misuse(f"{spec.name}: the examples hold NaN or infinity")
    if want.kind in "iu":
        limits = np.iinfo(want)
        if int(low) < limits.min or int(high) > limits.max:
            raise Misuse(f"{spec.name}: values {low} to {high} do not fit {want}")


def _check_classes(y: NDArray[np.generic], classes: int) -> None:
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise Misuse(f"targets {low} to {high}, the plan has classes 0 to {classes - 1}")
