"""Steps of one plan on onnxruntime, timed by `pace`: a device's view, without authoring.

python -m benchmarks.our_step PLAN CASE --threads N
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from benchmarks.cases import CASES
from benchmarks.pace import Pace
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.interfaces import Batch
from edge_sdk.plan import load_plan
from edge_sdk.values import TrainSettings


class SameBatch:
    """One batch, again and again: an `interfaces.Dataset` whose pass never ends."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return len(self._batch[0])

    def batches(self, *, size: int, seed: int | None) -> Iterator[Batch]:
        """The batch, for ever; its size and order are fixed."""
        del size, seed
        while True:
            yield self._batch


def main() -> None:
    """Train until the parent closes standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("plan", type=Path)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    plan = load_plan(arguments.plan.read_bytes())
    case = CASES[arguments.case]
    OnnxRuntimeEngine(plan, threads=arguments.threads).train(
        plan.initial_weights(),
        SameBatch(case.draw()),
        TrainSettings(batch_size=case.batch, learning_rate=1e-3),
        keep_going=Pace(),
    )


if __name__ == "__main__":
    main()
