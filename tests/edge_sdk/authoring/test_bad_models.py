"""Broken and unsupported files: one line that names the cause, and nothing is written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from edge_sdk.authoring import build_plan
from edge_sdk.cli.command import main
from edge_sdk.errors import Malformed

RNG = np.random.default_rng(10)
Change = Callable[[onnx.ModelProto], object]


def linear(change: Change | None = None, *, opset: int = 20) -> bytes:
    """A sound model of one layer, then broken."""
    proto = parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : {opset}]>'
        "linear (float[N,3] x) => (float[N,2] y) { h = MatMul(x, w) y = Relu(h) }"
    )
    weight = RNG.normal(size=(3, 2)).astype(np.float32)
    proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    if change is not None:
        change(proto)
    return bytes(proto.SerializeToString())


def body(text: str, opset: int = 20, **weights: tuple[int, ...]) -> bytes:
    """A model from its text."""
    domains = '"com.microsoft" : 1, "ai.onnx.ml" : 3'
    proto = parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}, {domains}]> m {text}')
    for name, shape in weights.items():
        array = RNG.normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return bytes(proto.SerializeToString())


def tensor(**fields: object) -> Change:
    """Set fields of the stored weight."""

    def change(proto: onnx.ModelProto) -> None:
        for name, value in fields.items():
            if isinstance(value, list):
                proto.graph.initializer[0].ClearField(name)
                getattr(proto.graph.initializer[0], name).extend(value)
            else:
                setattr(proto.graph.initializer[0], name, value)

    return change


SCAN = """(float[N,3] x) => (float[N,3] y) {
    t = Constant<value = int64 {2}>() c = Constant<value = bool {1}>() s = Mul(x, w)
    y = Loop(t, c, s) <body = b (int64 i, bool k, float[M,3] u) => (bool j, float[M,3] v)
        { j = Identity(k) v = Mul(u, u) }>
}"""

BAD: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "not a sound ONNX model"),
    "text file": (b"import torch\n" * 20, "not an ONNX file"),
    "truncated": (linear()[:-9], "ONNX"),
    "no graph": (onnx.ModelProto(ir_version=9).SerializeToString(), "not a sound"),
    "weight shorter than its shape": (linear(tensor(dims=[3, 9])), "w"),
    "weight of negative size": (linear(tensor(dims=[-3, 2])), "w"),
    "weight of unknown type": (linear(tensor(data_type=99)), "type 99"),
    "weight of text": (
        linear(lambda m: m.graph.initializer[0].CopyFrom(
            TensorProto(name="w", data_type=TensorProto.STRING, dims=[3, 2],
                        string_data=[b"a"] * 6))), "w|type"),
    "weight in another file": (
        linear(lambda m: (tensor(data_location=1)(m), m.graph.initializer[0].ClearField("raw_data"),
                          m.graph.initializer[0].external_data.add(key="location", value="w.bin"))),
        "weights|w.bin"),
    "weight twice": (linear(lambda m: m.graph.initializer.append(m.graph.initializer[0])), "w"),
    "weight missing": (linear(lambda m: m.graph.ClearField("initializer")), "w"),
    "infinite weight": (
        linear(lambda m: m.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.full((3, 2), np.inf, np.float32), "w"))), "'w' holds NaN"),
    "nodes out of order": (linear(lambda m: m.graph.node.reverse()), "sorted|h"),
    "cycle": (linear(lambda m: m.graph.node[0].input.__setitem__(0, "y")), "y"),
    "unknown attribute": (
        linear(lambda m: m.graph.node[1].attribute.append(helper.make_attribute("speed", 3))),
        "speed"),
    "unknown operator": (linear(lambda m: setattr(m.graph.node[1], "op_type", "Rilu")), "Rilu"),
    "operator set 12": (linear(opset=12), "operator set 12"),
    "two models' shapes": (body("(float[N,5] x) => (float[N,2] y) { y = MatMul(x, w) }", w=(3, 2)),
                           "shapes"),
    "quantised": (
        body("(float[N,3] x) => (float[N,2] y) { q, s, z = DynamicQuantizeLinear(x)"
             " f = DequantizeLinear(q, s, z) g = Mul(f, v) r, t, u = DynamicQuantizeLinear(g)"
             " h = DequantizeLinear(r, t, u) y = MatMul(h, w) }", v=(3,), w=(3, 2)),
        "DequantizeLinear|DynamicQuantizeLinear"),
    "trees": (body("(float[N,3] x) => (float[N,1] y) { h = ai.onnx.ml.Normalizer(x)"
                   " y = MatMul(h, w) }", w=(3, 1)), "ai.onnx.ml"),
    "loop": (body(SCAN, w=(3,)), "control flow.*unrolled"),
    "runtime's own operator": (
        body("(float[N,3] x) => (float[N,3] y) { h = Mul(x, w) y = com.microsoft.Inverse(h) }",
             w=(3,)), "com.microsoft"),
    "length of a sequence open": (
        body("(float[N,T,3] x) => (float[N,T,2] y) { y = MatMul(x, w) }", w=(3, 2)),
        "axis 1 is open"),
    "no gradient rule": (
        body("(float[N,3,3] x) => (float[N] y) { h = MatMul(x, w) y = Det(h) }", w=(3, 3)),
        "Det.*freeze what stands before it"),
}  # fmt: skip


def test_there_are_more_than_twenty() -> None:
    assert len(BAD) > 20
    build_plan(linear(), loss="mse", name="sound")


@pytest.mark.parametrize("case", BAD)
def test_one_line_names_the_cause(case: str) -> None:
    data, words = BAD[case]
    with pytest.raises(Malformed, match=words) as caught:
        build_plan(data, loss="mse", name="bad")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("case", BAD)
def test_the_command_says_it_and_writes_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, plan = tmp_path / "model.onnx", tmp_path / "out.plan"
    model.write_bytes(BAD[case][0])
    arguments = ["plan", "build", str(model), "--loss", "mse", "-o", str(plan)]
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main(arguments))
    assert stopped.value.code
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert "Traceback" not in said.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx"]
