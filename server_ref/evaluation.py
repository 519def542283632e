"""Measures model versions on the operator's own data. Imported only when that is asked for."""

from collections.abc import Callable
from pathlib import Path

from edge_sdk.datasets import load_npz
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan
from edge_sdk.values import Evaluation, Vector


def evaluator(plan: Plan, path: Path) -> Callable[[Vector, int], Evaluation]:
    """A function from exact weights to loss and accuracy on the test split of `path`.

    Weights are those of all parameters; what is measured is one stage, with its own head.

    Not for two threads at once.

    Raises:
        Misuse: the file is missing, lacks `x_test` and `y_test`, or does not fit the plan.
        Malformed: the file is broken.
    """
    data = load_npz(path, split="test", fit=plan)
    segments = plan.segments()
    engines = {plan.stages - 1: OnnxRuntimeEngine(plan, stage=plan.stages - 1)}

    def evaluate(weights: Vector, stage: int) -> Evaluation:
        if stage not in engines:
            engines[stage] = OnnxRuntimeEngine(plan, stage=stage)
        return engines[stage].evaluate(segments.stage(stage).take(weights), data)

    return evaluate
