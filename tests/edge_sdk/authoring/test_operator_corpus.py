"""The onnx library's own examples of operators: gradients are right or refused with a reason."""

import importlib
import sys
from pathlib import Path

import onnx
import onnx.backend.test.case.node as corpus
import pytest
from onnx.backend.test.case.test_case import TestCase as Example

from edge_sdk.authoring.differentiate.table import RULES

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "scripts"))
TABLE = importlib.import_module("make_operator_table")
PAGE = (ROOT / "docs/operators.md").read_text(encoding="utf-8")

SAMPLE = (
    "celu", "clip", "concat", "conv", "convtranspose", "depthtospace", "einsum", "gathernd", "gemm",
    "hardswish",
    "instance_normalization", "logsoftmax", "lstm", "matmul", "maxpool", "pad", "reducel2",
    "scatterelements", "slice", "split", "tile", "where",
)  # fmt: skip


def rows() -> dict[str, list[str]]:
    """The page's table: cells by operator."""
    lines = [
        line for line in PAGE.splitlines() if line.startswith("| ") and "operator |" not in line
    ]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in cells}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample_of_examples_is_right(name: str) -> None:
    before = len(corpus._NodeTestCases)
    importlib.import_module(f"onnx.backend.test.case.node.{name}")
    examples: list[Example] = [c for c in corpus._NodeTestCases[before:] if TABLE.is_single(c)]
    expected = rows()
    for example in examples[:4]:
        result = TABLE.outcome(example)
        listed = expected[TABLE.operator(example)]
        assert result in ("right", "no gradient", "another precision") or result in listed[2], (
            f"{example.name}: {result}"
        )


def test_every_operator_of_the_page_that_gets_gradients_has_a_rule_or_a_definition() -> None:
    with_gradient = {name for name, cells in rows().items() if cells[0] != "-"}
    assert len(with_gradient) > 100
    written_out = {
        "Attention", "CausalConvWithState", "CenterCropPad", "CastLike", "GroupNormalization",
        "LinearAttention",
        "MeanVarianceNormalization", "NegativeLogLikelihoodLoss", "RMSNormalization", "Range",
        "RotaryEmbedding", "SoftmaxCrossEntropyLoss", "SwiGLU", "Swish",
    }  # fmt: skip
    assert with_gradient - RULES.keys() <= written_out


def test_no_example_of_the_page_is_wrong() -> None:
    assert "wrong" not in PAGE
    assert f"({onnx.__version__})" in PAGE, "made for another release: run the script again"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore")
def test_the_page_is_current() -> None:
    assert TABLE.table() == PAGE
