"""One process that trains as a device would, whole or split, and says what that took.

    python -m benchmarks.fedlite_child PLAN WAY STEPS BATCH

prints one line of JSON. Imports only what a device has. Inputs are random, and so are the gradients
that a server would send: neither changes what is computed.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.engines.split import Half, SplitTerms, default_activations
from edge_sdk.engines.split_device import DeviceHalf
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.plan import Plan, load_plan
from edge_sdk.values import TrainSettings
from edge_sdk.wire.batch import BatchKind, unpack_batch


def main() -> None:
    """Measure in this process."""
    file, way, steps, size = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    plan = load_plan(file.read_bytes())
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps * size, *plan.input.shape), np.float32)
    y = np.zeros((steps * size, *plan.target.shape), plan.target.dtype)
    data = ArrayDataset(x, y)
    work = whole if way == "full" else split
    work(plan, data, 1, size)  # opens sessions, warms caches
    began_s = time.process_time()
    sent, received, parameters = work(plan, data, steps, size)
    found = {
        "peak_mb": peak_mb(),
        "cpu_s": time.process_time() - began_s,
        "sent_bytes": sent,
        "received_bytes": received,
        "parameters": parameters,
    }
    sys.stdout.write(json.dumps(found) + "\n")


_kept: dict[str, object] = {}


def whole(plan: Plan, data: ArrayDataset, steps: int, size: int) -> tuple[int, int, int]:
    """The whole model; no bytes while training."""
    engine = _kept.setdefault("engine", OnnxRuntimeEngine(plan))
    if not isinstance(engine, OnnxRuntimeEngine):
        raise TypeError("not the engine")
    settings = TrainSettings(batch_size=size, learning_rate=1e-4, most_steps=steps)
    engine.train(plan.initial_weights(), data, settings)
    return 0, 0, plan.layout().size


def split(plan: Plan, data: ArrayDataset, steps: int, size: int) -> tuple[int, int, int]:
    """The device's part; messages up and down."""
    engine = _kept.setdefault("engine", PartEngine(plan, 0))
    if not isinstance(engine, PartEngine) or plan.split is None:
        raise TypeError("not the engine")
    terms = SplitTerms(
        run="0" * 16,
        round=1,
        seed=0,
        learning_rate=1e-4,
        activations=default_activations(plan),
        gradients="eden:bits=4",
        correction=1e-4,
    )
    tensors = plan.layout().split(plan.initial_weights())
    device = DeviceHalf(plan, [engine], [plan.split.layout(0).flatten(tensors)], terms)
    server = Half(terms)
    sent = received = 0
    for number, (x, y) in enumerate(data.batches(size=size, seed=None)):
        if number == steps:
            break
        message = device.begin(x, y)
        shape = (len(x), *plan.split.cuts[0].shape)
        drawn = np.random.default_rng(number).standard_normal(shape, np.float32)
        gradient = drawn * np.float32(1e-3)
        answer, _ = server._write(BatchKind.COTANGENTS, 0, unpack_batch(message).batch, gradient)
        device.take(answer)
        sent, received = sent + len(message), received + len(answer)
    return sent, received, engine.layout.size


def peak_mb() -> float:
    """Peak resident memory of this address space, 10**6 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("no VmHWM in /proc/self/status")


if __name__ == "__main__":
    main()
