"""Sessions of the stock onnxruntime: how graphs are opened, and its exceptions as ours.

Settings, measured on x86-64 with onnxruntime 1.31: see `edge_sdk.engines.onnxruntime`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoModel,
    NotImplemented,  # noqa: A004 - the runtime's own name
    RuntimeException,
)

from edge_sdk.errors import Corrupt, Unavailable

_BAD_GRAPH = (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoModel,
    RuntimeException,
    RuntimeError,  # what a run with IO binding raises for any failure
)


def open_session(graph: bytes, what: str, *, threads: int, arena: bool) -> ort.InferenceSession:
    """A session on the CPU that gives the same results on every run.

    Args:
        graph: ONNX model.
        what: the graph's name in errors.
        threads: inside an operator.
        arena: let the runtime keep freed memory for itself.

    Raises:
        Corrupt: not a model that this runtime takes.
        Unavailable: it lacks an operator, or memory ran out.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = arena
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors only; they are raised as well
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    with runtime_errors(what):
        return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@contextmanager
def runtime_errors(what: str) -> Iterator[None]:
    """Turn the runtime's exceptions into ours."""
    try:
        yield
    except NotImplemented as error:
        raise Unavailable(f"{what}: this onnxruntime lacks an operator: {error}") from error
    except MemoryError as error:
        raise Unavailable(f"{what}: out of memory") from error
    except _BAD_GRAPH as error:
        # The runtime has no class of its own for a failed allocation.
        if "allocate memory" in str(error) or "bad_alloc" in str(error):
            raise Unavailable(f"{what}: out of memory") from error
        raise Corrupt(f"{what}: {error}"[:2000]) from error
