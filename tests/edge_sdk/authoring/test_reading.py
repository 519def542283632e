"""Runtime fusions, newer operators and a fixed batch are read, and mean the same."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper, parser

from edge_sdk.authoring import check_gradients
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.reading import read_graph
from edge_sdk.errors import Unsupported

RNG = np.random.default_rng(9)


def model(body: str, *, opset: int = 20, **weights: Any) -> onnx.ModelProto:
    """A model from ONNX text; weights by shape or content."""
    imports = f'opset_import: ["" : {opset}, "com.microsoft" : 1]'
    proto = parser.parse_model(f"<ir_version: 8, {imports}> {body}")
    for name, given in weights.items():
        array = RNG.normal(size=given).astype(np.float32) if isinstance(given, tuple) else given
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return proto


def fusion(call: str, **weights: Any) -> onnx.ModelProto:
    return model(f"m (float[N,2,3] x) => (float[N,a,b] y) {{ {call} }}", **weights)


def image_fusion(call: str, **weights: Any) -> onnx.ModelProto:
    return model(f"m (float[N,2,5,5] x) => (float[N,a,b,c] y) {{ {call} }}", **weights)


FUSIONS: dict[str, onnx.ModelProto] = {
    "matmul": fusion("y = com.microsoft.FusedMatMul <alpha = 0.5> (x, w)", w=(3, 4)),
    "matmul, right transposed": fusion(
        "y = com.microsoft.FusedMatMul <transB = 1> (x, w)", w=(4, 3)
    ),
    "matmul, left transposed": fusion(
        "y = com.microsoft.FusedMatMul <transA = 1, alpha = 2.0> (x, w)", w=(2, 4)
    ),
    "gelu": fusion("h = MatMul(x, w) y = com.microsoft.Gelu(h)", w=(3, 4)),
    "bias gelu": fusion("h = MatMul(x, w) y = com.microsoft.BiasGelu(h, b)", w=(3, 4), b=(4,)),
    "fast gelu": fusion("h = MatMul(x, w) y = com.microsoft.FastGelu(h, b)", w=(3, 4), b=(4,)),
    "fast gelu without bias": fusion("h = MatMul(x, w) y = com.microsoft.FastGelu(h)", w=(3, 4)),
    "quick gelu": fusion("h = MatMul(x, w) y = com.microsoft.QuickGelu(h)", w=(3, 4)),
    "skip and layer norm": fusion(
        "y, a, b, s = com.microsoft.SkipLayerNormalization <epsilon = 0.01> (x, x, g, c, d)",
        g=(3,), c=(3,), d=(3,),
    ),
    "skip and rms norm": fusion(
        "h = MatMul(x, w) y = com.microsoft.SkipSimplifiedLayerNormalization (h, x, g)",
        g=(3,), w=(3, 3),
    ),
    "conv and relu": image_fusion(
        'y = com.microsoft.FusedConv <activation = "Relu", pads = [1, 1, 1, 1]> (x, w, b)',
        w=(3, 2, 3, 3), b=(3,),
    ),
    "conv, addition and clip": image_fusion(
        'y = com.microsoft.FusedConv <activation = "Clip", activation_params = [-0.5, 0.75], '
        "pads = [1, 1, 1, 1]> (x, w, b, x)", w=(2, 2, 3, 3), b=(2,),
    ),
    "conv and leaky relu": image_fusion(
        'y = com.microsoft.FusedConv <activation = "LeakyRelu", activation_params = [0.2], '
        "strides = [2, 2]> (x, w)", w=(2, 2, 3, 3),
    ),
}  # fmt: skip


def draw(proto: onnx.ModelProto, batch: int) -> dict[str, Array]:
    info = proto.graph.input[0]
    sizes = [dim.dim_value for dim in info.type.tensor_type.shape.dim[1:]]
    return {info.name: RNG.normal(size=(batch, *sizes)).astype(np.float32)}


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_is_written_out_exactly(name: str) -> None:
    proto = FUSIONS[name]
    graph = read_graph(proto)
    assert not any("microsoft" in node.op for node in graph.nodes)
    feeds = draw(proto, 3)
    (right, *_), (found, *_) = (
        ort.InferenceSession(m).run(None, feeds)
        for m in (proto.SerializeToString(), to_model(graph))
    )
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_is_trained(name: str) -> None:
    assert check_gradients(FUSIONS[name], loss="mse", directions=2).worst < 1e-4


def test_a_fusion_in_an_old_operator_set_is_written_out() -> None:
    proto = model(
        "m (float[N,3] x) => (float[N,2] y) { h = MatMul(x, w) y = com.microsoft.Gelu(h) }",
        opset=13, w=(3, 2),
    )  # fmt: skip
    assert "Gelu" in {node.op for node in read_graph(proto).nodes}


NEWER: dict[str, onnx.ModelProto] = {
    "attention": model(
        "m (float[N,5,4] x) => (float[N,5,4] y) { q = MatMul(x, w) k = MatMul(x, v)"
        " y = Attention <is_causal = 1, q_num_heads = 2, kv_num_heads = 2> (q, k, x) }",
        opset=23, w=(4, 4), v=(4, 4),
    ),
    "attention with a mask": model(
        "m (float[N,2,5,4] x) => (float[N,2,5,4] y) { q = MatMul(x, w)"
        " y = Attention <scale = 0.7> (q, x, x, mask) }",
        opset=24, w=(4, 4), mask=np.triu(np.full((5, 5), -1e4, np.float32), 1),
    ),
    "rms norm": model(
        "m (float[N,5] x) => (float[N,5] y) { h = MatMul(x, w)"
        " y = RMSNormalization <epsilon = 0.01> (h, g) }",
        opset=23, w=(5, 5), g=(5,),
    ),
    "swish": model(
        "m (float[N,5] x) => (float[N,2] y) { h = MatMul(x, w) y = Swish <alpha = 1.5> (h) }",
        opset=24, w=(5, 2),
    ),
    "rotary embedding": model(
        "m (float[N,2,3,4] x) => (float[N,2,3,4] y) { h = MatMul(x, w)"
        " c = Cast <to = 1> (cos) s = Cast <to = 1> (sin)"
        " y = RotaryEmbedding (h, c, s, places) }",
        opset=23, w=(4, 4), cos=np.cos(np.arange(6.0).reshape(3, 2)),
        sin=np.sin(np.arange(6.0).reshape(3, 2)), places=np.arange(3)[None],
    ),
    "group norm by channels": model(
        "m (float[N,4,3] x) => (float[N,4,3] y) { y = GroupNormalization"
        " <num_groups = 2> (x, g, b) }",
        opset=21, g=(4,), b=(4,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [n for n in NEWER if n != "rotary embedding"])
def test_a_newer_operator_is_written_out_by_its_definition(name: str) -> None:
    proto = NEWER[name]
    feeds = draw(proto, 2)
    expected = onnx.reference.ReferenceEvaluator(proto).run(None, dict(feeds))
    assert isinstance(expected, list)
    found = run_model(to_model(read_graph(proto)), feeds)
    np.testing.assert_allclose(
        np.asarray(found[0], float), np.asarray(expected[0], float), rtol=1e-4, atol=1e-5
    )
    assert check_gradients(proto, loss="mse", directions=2).worst < 1e-4


def test_a_newer_operator_without_a_definition_is_named() -> None:
    proto = model(
        "m (float[N,3] x) => (float[N,3] y) { h = Mul(x, w) y = CumProd(h, one) }",
        opset=26, w=(3,), one=np.array(1, np.int64),
    )  # fmt: skip
    with pytest.raises(Unsupported, match=r"'y' \(CumProd\).*export with 20"):
        read_graph(proto)


FIXED = {
    "plain": model("m (float[1,3] x) => (float[1,2] y) { y = MatMul(x, w) }", w=(3, 2)),
    "reshape to the batch": model(
        "m (float[1,2,3] x) => (float[1,2] y) { h = Reshape(x, s) y = MatMul(h, w) }",
        w=(6, 2), s=np.array([1, -1], np.int64),
    ),
    "reshape that hides the batch": model(
        "m (float[2,4,3] x) => (float[2,4,2] y) { h = Reshape(x, s) g = MatMul(h, w)"
        " y = Reshape(g, t) }",
        w=(3, 2), s=np.array([-1, 3], np.int64), t=np.array([2, 4, 2], np.int64),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FIXED)
def test_a_fixed_batch_is_made_open(name: str) -> None:
    graph = read_graph(FIXED[name])
    assert graph.types[graph.inputs[0]].shape is not None
    feeds = draw(FIXED[name], 6)
    y = np.asarray(run_model(to_model(graph), feeds)[0], float)
    fixed = FIXED[name].graph.input[0].type.tensor_type.shape.dim[0].dim_value
    parts = [
        run_model(FIXED[name].SerializeToString(), {"x": feeds["x"][i : i + fixed]})[0]
        for i in range(0, 6, fixed)
    ]
    np.testing.assert_allclose(y, np.concatenate(parts), rtol=1e-5)


def test_a_fixed_batch_whose_examples_mix_is_refused() -> None:
    proto = model(
        "m (float[2,3] x) => (float[2,3] y) { n = ReduceMean(x, z) d = Sub(x, n) y = Mul(d, w) }",
        w=(3,), z=np.array([0], np.int64),
    )  # fmt: skip
    with pytest.raises(Unsupported, match="mixes its examples"):
        read_graph(proto)


def test_a_fixed_batch_that_a_shape_needs_is_refused() -> None:
    proto = model(
        "m (float[2,3] x) => (float[2,3] y) { h = Transpose(x) f = Reshape(h, s)"
        " g = Transpose(f) y = Mul(g, w) }",
        w=(3,), s=np.array([3, 2], np.int64),
    )  # fmt: skip
    with pytest.raises(Unsupported, match="export with a dynamic batch axis"):
        read_graph(proto)


def test_the_batch_axis_may_have_any_name() -> None:
    for name in ("N", "batch_size", "unk__17", "B"):
        proto = model(f"m (float[{name},3] x) => (float[{name},2] y) {{ y = MatMul(x, w) }}",
                      w=(3, 2))  # fmt: skip
        assert read_graph(proto).types["y"].shape == ("batch", 2)


@pytest.mark.parametrize("opset", range(13, onnx.defs.onnx_opset_version() + 1))
def test_every_operator_set_since_13_is_read(opset: int) -> None:
    axes = "h = ReduceMean <axes = [1]> (x)" if opset < 18 else "h = ReduceMean (x, one)"
    proto = model(
        f"m (float[N,2,3] x) => (float[N,1,4] y) {{ {axes} g = MatMul(h, w) y = Softmax(g) }}",
        opset=opset, w=(3, 4), one=np.array([1], np.int64),
    )  # fmt: skip
    assert check_gradients(proto, loss="mse", directions=1).worst < 1e-4


def test_a_mask_of_minus_infinity_is_no_weight() -> None:
    mask = np.triu(np.full((3, 3), -np.inf, np.float32), 1)
    proto = model(
        "m (float[N,3] x) => (float[N,3,3] y) { q = Mul(x, w) o = Unsqueeze(q, one)"
        " s = Add(o, mask) y = Softmax(s) }",
        w=(3,), mask=mask, one=np.array([1], np.int64),
    )  # fmt: skip
    assert read_graph(proto).parameters.keys() == {"w"}
    assert check_gradients(proto, loss="mse").worst < 1e-4
