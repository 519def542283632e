"""Measures model versions on the operator's own data. Imported only when that is asked for."""

from collections.abc import Callable
from pathlib import Path

from edge_sdk.datasets import load_npz
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan
from edge_sdk.values import Evaluation, Vector


def evaluator(plan: Plan, path: Path) -> Callable[[Vector], Evaluation]:
    """A function from exact weights to loss and accuracy on the test split of `path`.

    Weights are those of all parameters; what is measured is the plan's last stage.

    Not for two threads at once.

    Raises:
        Misuse: the file is missing, lacks `x_test` and `y_test`, or does not fit the plan.
        Malformed: the file is broken.
    """
    data = load_npz(path, split="test", fit=plan)
    whole = plan.stages - 1
    where = plan.segments().stage(whole)
    engine = OnnxRuntimeEngine(plan, stage=whole)
    return lambda weights: engine.evaluate(where.take(weights), data)
