"""Targets of a batch to bytes and back, in as few as the plan's classes need."""

import math

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Corrupt, Misuse, NotFinite
from edge_sdk.plan import Plan

Array = NDArray[np.generic]


def pack_targets(targets: Array, plan: Plan) -> bytes:
    """Section P.2 of FORMAT.md.

    Raises:
        Misuse: another shape than the plan's, or a class it does not have.
    """
    if targets.shape[1:] != plan.target.shape:
        raise Misuse(f"targets of shape {targets.shape[1:]}, the plan has {plan.target.shape}")
    data = targets.astype(_dtype(plan)).tobytes()
    back = np.frombuffer(data, _dtype(plan)).reshape(targets.shape)
    if not np.array_equal(back, targets.astype(plan.target.dtype)):
        raise Misuse("targets do not fit the plan")
    return data


def unpack_targets(data: bytes, examples: int, plan: Plan) -> Array:
    """Targets of the plan's dtype, shape (examples, *target's).

    Raises:
        Corrupt: another length, NaN, an infinity or a class that the plan does not have.
    """
    dtype = _dtype(plan)
    if len(data) != examples * math.prod(plan.target.shape) * dtype.itemsize:
        raise Corrupt(f"targets of {len(data)} bytes for {examples} examples")
    targets = np.frombuffer(data, dtype).reshape(examples, *plan.target.shape)
    if dtype.kind == "f" and not np.isfinite(targets).all():
        raise NotFinite("the targets hold NaN or an infinity")
    if plan.classes is not None and dtype.kind in "iu" and targets.size:
        # One more than the classes may stand for what is to be ignored.
        low, high = int(targets.min()), int(targets.max())
        if low < 0 or high > plan.classes:
            raise Corrupt(f"targets {low} to {high}, the plan has {plan.classes} classes")
    return targets.astype(plan.target.dtype)


def _dtype(plan: Plan) -> np.dtype[np.generic]:
    own = np.dtype(plan.target.dtype).newbyteorder("<")
    if plan.classes is None or own.kind not in "iu" or plan.classes > 65_535:
        return own
    return np.dtype("<u1" if plan.classes <= 255 else "<u2")
