"""Write docs/operators.md: which operators get gradients, held against the onnx library's examples.

    python scripts/make_operator_table.py

Takes every example of an operator that the onnx library tests back ends with, and checks its
gradients by `edge_sdk.authoring.corpus_check`. About two minutes.
"""

import collections
import contextlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case import node as cases
from onnx.backend.test.case.test_case import TestCase

from edge_sdk.authoring.corpus_check import check_example
from edge_sdk.errors import Malformed

TABLE = Path(__file__).parent.parent / "docs/operators.md"
TOLERANCE = 1e-4

REASONS: Mapping[str, str] = {
    "quantised": "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QLinearConv "
    "QLinearMatMul QuantizeLinear BitCast",
    "control flow; export it unrolled": "If Loop Scan SequenceMap",
    "sequences, optionals and text are not tensors of numbers": "ImageDecoder LabelEncoder "
    "OptionalGetElement OptionalHasElement RegexFullMatch SequenceInsert SplitToSequence "
    "StringConcat StringNormalizer StringSplit TfIdfVectorizer",
    "an optimizer, which plans bring themselves": "Adagrad Adam Momentum",
    "random": "Bernoulli",
}
"""Why operators are not checked at all."""

NOT_CHECKED = {name: why for why, names in REASONS.items() for name in names.split()}


def is_single(case: TestCase) -> bool:
    """Whether an example is one call of its operator with everything given as tensors."""
    name = str(case.name)
    return "_expanded" not in name and len(model_of(case).graph.node) == 1 and bool(case.data_sets)


def model_of(case: TestCase) -> onnx.ModelProto:
    """The example's model, which every example here has."""
    return case.model or onnx.ModelProto()


def operator(case: TestCase) -> str:
    """What an example is of."""
    return str(model_of(case).graph.node[0].op_type)


def outcome(case: TestCase) -> str:
    """`right`, `no gradient` where there is nothing to differentiate, or why it is neither."""
    inputs: dict[str, np.ndarray] = {}
    given: Sequence[object] = (case.data_sets or [([], [])])[0][0]
    for info, value in zip(model_of(case).graph.input, given, strict=False):
        array = numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value
        if not isinstance(array, np.ndarray | np.generic):
            return "not a tensor"
        inputs[info.name] = np.asarray(array)
    if not any(array.dtype.kind == "f" for array in inputs.values()):
        return "no gradient"
    if any(array.dtype.kind not in "fiub" for array in inputs.values()):
        return "another precision"
    model = in_single_precision(model_of(case))
    inputs = {n: a.astype(np.float32) if a.dtype.kind == "f" else a for n, a in inputs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            error = check_example(model, inputs)
        except Malformed as refusal:
            return _reason(str(refusal))
    if np.isnan(error):
        return "no gradient"
    return "right" if error < TOLERANCE else f"wrong by {error:.1e}"


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The example with float32 for every other float type that it feeds or gives."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    kinds = (onnx.TensorProto.DOUBLE, onnx.TensorProto.FLOAT16)
    if copy.graph.node[0].op_type != "Cast":
        for info in (*copy.graph.input, *copy.graph.output):
            if info.type.tensor_type.elem_type in kinds:
                info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def _reason(message: str) -> str:
    """Why, without the node's name."""
    _, _, after = message.partition("): ")
    why = (after or message).removeprefix("no gradient: ")
    if "no gradient rule" in why:
        return "no rule"
    return why.split(";")[0][:90].replace("|", "/")


def rows(found: Iterable[tuple[str, str]]) -> Iterator[str]:
    """One line of the table for each operator, from pairs of operator and outcome."""
    by_operator: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    for name, result in found:
        by_operator[name][result] += 1
    for name, results in sorted(by_operator.items()):
        right = results.pop("right", 0)
        for quiet in ("another precision", "no gradient"):
            if right:
                results.pop(quiet, 0)
        why = "; ".join(f"{text} ({count})" for text, count in sorted(results.items()))
        if not right and set(results) <= {"no gradient", "another precision"}:
            why = "passes through: nothing to differentiate"
        mark = ("yes" if not results else "partly") if right else "-"
        yield f"| {name} | {mark} | {right} | {why} |"


def table() -> str:
    """The whole page."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        every = [case for case in cases.collect_testcases(None) if is_single(case)]
    found = []
    for case in every:
        why = NOT_CHECKED.get(operator(case))
        found.append((operator(case), why or outcome(case)))
    return HEAD.format(version=onnx.__version__) + "\n".join(rows(found)) + "\n"


HEAD = """# Operators

Which ONNX operators get gradients. Made by `scripts/make_operator_table.py` from the examples that
the onnx library ({version}) tests back ends with: each example's float inputs are differentiated,
and the gradients held against central differences in float64 (error under 1e-4 of their size).

*yes*: every example is right. *partly*: the others, with their number, are refused with the reason
given. *-*: none. Examples of an operator's written-out form and of types that numpy lacks are left
out. An operator without a gradient is no obstacle where nothing behind the trained weights depends
on it: shape arithmetic, masks and preprocessing pass through untouched.

| operator | gradient | examples checked | otherwise |
|---|---|---|---|
"""


def main() -> None:
    """Write the page."""
    with contextlib.suppress(BrokenPipeError):
        TABLE.write_text(table(), encoding="utf-8")
        sys.stdout.write(f"{TABLE}\n")


if __name__ == "__main__":
    main()
