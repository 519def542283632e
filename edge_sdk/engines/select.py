"""Picks the engine, and loads its library only then."""

import importlib.util

from edge_sdk.errors import Unavailable
from edge_sdk.interfaces import Engine
from edge_sdk.plan import Plan


def select_engine(
    plan: Plan,
    *,
    stage: int = 0,
    warm_up: bool = False,
    threads: int = 1,
    low_memory: bool = False,
) -> Engine:
    """An engine for `stage` of `plan`, or for its warm-up, on this machine.

    Raises:
        Unavailable: no engine's library is installed, or it lacks what the plan needs.
        Malformed: the plan's graphs break their conventions.
    """
    if importlib.util.find_spec("onnxruntime") is None:
        raise Unavailable("no training engine is installed; try: pip install onnxruntime")
    from edge_sdk.engines.onnxruntime import (  # noqa: PLC0415 - loads the runtime, only now
        OnnxRuntimeEngine,
    )

    return OnnxRuntimeEngine(
        plan, stage=stage, warm_up=warm_up, threads=threads, low_memory=low_memory
    )
