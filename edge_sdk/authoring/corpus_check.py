"""Are the gradients of an example right whose inputs are all given? For corpora of operators.

The example's inputs become weights; what of them can be trained is differentiated. Its float
outputs are weighed with random cotangents, and the gradients of that sum held against central
differences in float64.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.differentiate import differentiate, trainable
from edge_sdk.authoring.differentiate.table import RULES
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array, Graph
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.passes import FOLD_CONSTANTS, REMOVE_UNUSED, TO_FLOAT64, run_passes
from edge_sdk.authoring.reading import read_graph

JITTER = 1e-2
"""Added to every drawn float, so that no two are equal and none sits on a kink."""


def check_example(model: onnx.ModelProto, inputs: Mapping[str, Array], *, seed: int = 0) -> float:
    """Largest error along a random direction, as a share of the gradient's usual size there.

    Args:
        model: an example in any operator set that `read_graph` takes.
        inputs: content of each of its inputs.
        seed: of cotangents, directions and jitter.

    Returns:
        The error; NaN where no float output depends on a float input.

    Raises:
        Malformed: the example cannot be read, or (`Unsupported`) has no gradient; why.
    """
    rng = np.random.default_rng(seed)
    graph = read_graph(_stored(model, inputs, rng))
    graph = run_passes(graph, FOLD_CONSTANTS, REMOVE_UNUSED, TO_FLOAT64)
    gradient, feeds = _gradient_graph(graph, rng)
    if gradient is None:
        return float("nan")
    data = to_model(gradient, inputs=tuple(feeds))
    _, *gradients = run_model(data, feeds)
    names = gradient.outputs[1:]
    return max(
        _error(data, feeds, name.removesuffix(".gradient"), np.asarray(array, np.float64), rng)
        for name, array in zip(names, gradients, strict=True)
    )


def _stored(
    model: onnx.ModelProto, inputs: Mapping[str, Array], rng: np.random.Generator
) -> onnx.ModelProto:
    """The model with its inputs stored in it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.ir_version = max(copy.ir_version, 9)  # older ones list stored tensors among the inputs
    del copy.graph.input[:]
    for name, array in inputs.items():
        kept = array
        if array.dtype == np.float32 and array.ndim:
            moved = np.asarray(array, np.float64) + JITTER * rng.uniform(0.1, 1, array.shape)
            kept = moved.astype(np.float32)
        copy.graph.initializer.append(numpy_helper.from_array(kept, name))
    return copy


def _gradient_graph(
    graph: Graph, rng: np.random.Generator
) -> tuple[Graph | None, dict[str, Array]]:
    """Outputs: the weighed sum, then `<name>.gradient` of each trainable input; what to feed."""
    names = trainable(graph)
    feeds: dict[str, Array] = {name: graph.parameters[name] for name in names}
    frozen = {name: a for name, a in graph.parameters.items() if name not in names}
    graph = dataclasses.replace(
        graph, parameters=dict(feeds), constants={**graph.constants, **frozen}
    )
    builder = Builder(graph)
    seeds: dict[str, Value] = {}
    total: Value | None = None
    for name in _smooth_outputs(graph):
        seed = builder.input(f"{name}.cotangent", builder.types[name])
        seeds[name] = seed
        weighed = (builder.value(name) * seed).sum()
        total = weighed if total is None else total + weighed
    gradients = differentiate(builder, seeds, names) if names and seeds else {}
    if total is None or not gradients:
        return None, {}
    results = run_model(to_model(graph, inputs=names), feeds)
    for name, result in zip(graph.outputs, results, strict=True):
        if name in seeds:
            feeds[seeds[name].name] = rng.normal(size=result.shape)
    outputs = {"sum": total} | {f"{name}.gradient": g for name, g in gradients.items()}
    return builder.finish("example", outputs), feeds


def _smooth_outputs(graph: Graph) -> list[str]:
    """Float outputs, save those that rules take no cotangents of: statistics, mostly."""
    takes = {op for op, rule in RULES.items() if rule.every_output}
    side = {name for node in graph.nodes if node.op not in takes for name in node.outputs[1:]}
    return [n for n in graph.outputs if graph.types[n].is_float and n not in side]


def _error(
    data: bytes,
    feeds: Mapping[str, Array],
    name: str,
    gradient: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    rng: np.random.Generator,
) -> float:
    """Distance of the gradient from the difference quotient, for two directions."""
    value = np.asarray(feeds[name], np.float64)
    usual = max(float(np.sqrt(np.mean(np.square(gradient)))) if gradient.size else 0.0, 1e-3)
    worst = 0.0
    for _ in range(2):
        direction = rng.normal(size=value.shape)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        ahead, behind = (
            float(run_model(data, {**feeds, name: value + side * 1e-6 * direction})[0])
            for side in (1, -1)
        )
        found = float((gradient * direction).sum())
        worst = max(worst, abs(found - (ahead - behind) / 2e-6) / usual)
    return worst
