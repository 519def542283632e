"""Checks that tests of every rule family share."""

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

import edge_sdk  # noqa: F401  # switches onnxruntime's telemetry off before its first use
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array
from edge_sdk.authoring.rule_check import RuleCase, check_rule, gradient_model


def run_onnxruntime(model: bytes, feeds: dict[str, Array]) -> list[Array]:
    """Outputs of a model on the stock runtime, one thread, plain graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return [np.asarray(output) for output in session.run(None, dict(feeds))]


def _assert_rule(case: RuleCase) -> None:
    assert check_rule(case) < 1e-5
    exact_model, exact_feeds = gradient_model(case, np.float64)
    model, feeds = gradient_model(case, np.float32)
    exact = [np.asarray(a, np.float64) for a in run_model(exact_model, exact_feeds)]
    for mine, right in zip(run_onnxruntime(model, feeds), exact, strict=True):
        scale = max(float(np.max(np.abs(right), initial=0.0)), 1.0)
        np.testing.assert_allclose(
            np.asarray(mine, np.float64), right, rtol=1e-4, atol=1e-5 * scale
        )


@pytest.fixture(scope="session")
def assert_rule() -> Callable[[RuleCase], None]:
    """Holds a rule against finite differences in float64, and onnxruntime in float32 against it."""
    return _assert_rule


@pytest.fixture(scope="session")
def run() -> Callable[[bytes, dict[str, Array]], list[Array]]:
    """Runs a model on the stock runtime."""
    return run_onnxruntime
