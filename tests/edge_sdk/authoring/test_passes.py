"""Each pass keeps its contract and the meaning of the graph."""

import dataclasses

import numpy as np
import pytest
from onnx import numpy_helper, parser

from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Graph, Node, Type
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.passes import (
    FOLD_CONSTANTS,
    FREE_RESERVED_NAMES,
    MERGE_EQUAL_NODES,
    REMOVE_IDENTITIES,
    REMOVE_UNUSED,
    TO_FLOAT64,
    Pass,
    run_passes,
)
from edge_sdk.authoring.reading import read_graph

FLOAT = np.dtype(np.float32)
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def graph_of(body: str, **weights: np.ndarray) -> Graph:
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return read_graph(proto)


def result(graph: Graph) -> list[float]:
    feeds = {graph.inputs[0]: X.astype(graph.types[graph.inputs[0]].dtype)}
    return [float(v) for v in np.asarray(run_model(to_model(graph), feeds)[0], float).reshape(-1)]


BUSY = graph_of(
    """g (float[N,3] x) => (float[N,3] y) {
        two = Constant<value_float = 2.0>()
        four = Mul(two, two)
        a = Mul(x, four)
        b = Mul(x, four)
        idle = Relu(a)
        c = Add(a, b)
        shape = Shape(w)
        size = ReduceProd(shape)
        real = Cast<to = 1>(size)
        d = Mul(c, real)
        y = Add(d, w)
    }""",
    w=np.array([1, 2, 3], np.float32),
)


def test_folding_leaves_only_what_depends_on_input_or_weights() -> None:
    folded = run_passes(BUSY, FOLD_CONSTANTS)
    assert [n.op for n in folded.nodes] == ["Mul", "Mul", "Relu", "Add", "Mul", "Add"]
    assert folded.constants["real"].tolist() == [3]
    assert folded.parameters.keys() == {"w"}
    assert result(folded) == result(BUSY)


def test_unused_nodes_and_constants_go() -> None:
    slim = run_passes(BUSY, FOLD_CONSTANTS, REMOVE_UNUSED)
    assert "idle" not in slim.types
    assert slim.constants.keys() == {"four", "real"}
    assert result(slim) == result(BUSY)


def test_equal_nodes_are_computed_once() -> None:
    slim = run_passes(BUSY, FOLD_CONSTANTS, MERGE_EQUAL_NODES, REMOVE_UNUSED)
    assert [n.op for n in slim.nodes] == ["Mul", "Add", "Mul", "Add"]
    assert result(slim) == result(BUSY)


def test_random_nodes_are_neither_folded_nor_merged() -> None:
    graph = graph_of(
        """g (float[N,3] x) => (float[N,3] y) {
            r = RandomNormal<shape = [3], seed = 1.0>()
            s = RandomNormal<shape = [3], seed = 1.0>()
            d = Sub(r, s)
            y = Add(x, d)
        }"""
    )
    kept = run_passes(graph, FOLD_CONSTANTS, MERGE_EQUAL_NODES)
    assert [n.op for n in kept.nodes] == ["RandomNormal", "RandomNormal", "Sub", "Add"]


def test_equal_nodes_that_are_outputs_keep_both_names() -> None:
    builder = Builder()
    x = builder.input("x", Type(FLOAT, ("batch", 3)))
    first, second = x * 2.0, x * 2.0
    graph = run_passes(builder.finish("g", {"a": first, "b": second}), MERGE_EQUAL_NODES)
    a, b = run_model(to_model(graph), {"x": X})
    np.testing.assert_array_equal(a, b)


def test_reserved_names_are_freed_everywhere() -> None:
    graph = graph_of(
        """g (float[N,3] lr) => (float[N,3] loss) {
            correct = Mul(lr, target) loss = Neg(correct)
        }""",
        target=np.array([1, 2, 3], np.float32),
    )
    free = run_passes(graph, FREE_RESERVED_NAMES)
    assert (free.inputs, free.outputs) == (("lr_",), ("loss_",))
    assert free.parameters.keys() == {"target_"}
    assert result(free) == result(graph)


def test_double_precision_keeps_the_meaning() -> None:
    double = run_passes(BUSY, TO_FLOAT64)
    assert double.types["y"].dtype == np.float64
    assert result(double) == result(BUSY)


def test_a_pass_that_breaks_its_promise_is_caught() -> None:
    def lose_nodes(graph: Graph) -> Graph:
        return dataclasses.replace(graph, nodes=graph.nodes[1:])

    with pytest.raises(AssertionError, match="careless ensures"):
        run_passes(BUSY, Pass("careless", lose_nodes))


def test_a_graph_that_breaks_the_requirement_is_caught() -> None:
    twice = dataclasses.replace(BUSY, nodes=(*BUSY.nodes, Node("Relu", ("x",), ("y",))))
    with pytest.raises(AssertionError, match="requires"):
        run_passes(twice, REMOVE_UNUSED)


def test_a_shape_read_from_the_input_becomes_a_constant() -> None:
    graph = graph_of(
        """g (float[N,3] x) => (float[N,3] y) {
            zero = Constant<value_ints = [0]>() minus = Constant<value_ints = [-1]>()
            n = Shape<start = 0, end = 1>(x) shape = Shape(x) last = Gather(shape, minus)
            three = Mul(last, n) flat = Concat<axis = 0>(three, minus)
            column = Reshape(x, flat)
            back = Concat<axis = 0>(n, minus) y = Reshape(column, back)
        }"""
    )
    folded = run_passes(graph, FOLD_CONSTANTS, REMOVE_UNUSED)
    assert [node.op for node in folded.nodes] == ["Reshape", "Reshape"]
    assert [folded.constants[node.inputs[1]].tolist() for node in folded.nodes] == [
        [-1, 1],
        [-1, 3],
    ]
    assert folded.types["y"].shape == ("batch", 3)
    assert result(folded) == result(graph)


def test_a_product_of_batch_sizes_stays_computed() -> None:
    graph = graph_of(
        """g (float[N,2] x) => (float[P] y) {
            n = Shape<start = 0, end = 1>(x) square = Mul(n, n)
            zero = Constant<value = float {1.0}>() y = Expand(zero, square)
        }"""
    )
    assert [n.op for n in run_passes(graph, FOLD_CONSTANTS).nodes] == ["Shape", "Mul", "Expand"]


def test_identities_go_and_outputs_keep_their_names() -> None:
    graph = graph_of(
        """g (float[N,3] x) => (float[N,3] y) {
            a = Identity(x) b = Cast<to = 1>(a) c = Relu(b) d = Identity(c) e = Neg(d)
            y = Identity(e)
        }"""
    )
    slim = run_passes(graph, REMOVE_IDENTITIES, REMOVE_UNUSED)
    assert [(node.op, node.outputs) for node in slim.nodes] == [("Relu", ("c",)), ("Neg", ("y",))]
    assert result(slim) == result(graph)


def test_an_identity_of_an_input_or_a_second_output_stays() -> None:
    graph = graph_of(
        """g (float[N,3] x) => (float[N,3] y, float[N,3] z, float[N,3] u) {
            h = Relu(x) y = Identity(h) z = Identity(h) u = Identity(x)
        }"""
    )
    slim = run_passes(graph, REMOVE_IDENTITIES)
    assert [node.op for node in slim.nodes] == ["Relu", "Identity", "Identity"]
    before, after = (run_model(to_model(g), {"x": X}) for g in (graph, slim))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)
