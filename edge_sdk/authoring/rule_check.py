"""Is the gradient rule of one operator right? For whoever writes rules.

A case is one node with inputs. Its outputs are weighed with random cotangents; the gradients of
that sum must equal central differences in float64 along random directions.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from edge_sdk.authoring.builder import Builder, Value
from edge_sdk.authoring.checking import Run
from edge_sdk.authoring.differentiate import differentiate
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array, Node, Type
from edge_sdk.authoring.onnx_form import infer_outputs, to_model
from edge_sdk.plan.conventions import BATCH_AXIS


@dataclasses.dataclass(frozen=True, slots=True)
class RuleCase:
    """One operator call to check. Float inputs are differentiated, others are constants."""

    node: Node
    inputs: Mapping[str, Array]
    batched: Sequence[str] = ()
    """Inputs whose axis 0 is the open batch axis."""
    settings: Sequence[str] = ()
    """Float inputs that are constants all the same."""
    seed: int = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """Inputs that get a gradient, each once, in the node's order."""
        names = [n for n in self.node.inputs if n and n not in self.settings]
        floats = [name for name in names if self.inputs[name].dtype.kind == "f"]
        return tuple(dict.fromkeys(floats))


def gradient_model(case: RuleCase, dtype: type[np.floating]) -> tuple[bytes, dict[str, Array]]:
    """A model whose outputs are the weighed sum and each wanted gradient, and what to feed it."""
    builder = Builder()
    rng = np.random.default_rng(case.seed)
    feeds: dict[str, Array] = {}
    for name, array in case.inputs.items():
        converted = np.asarray(array, dtype if array.dtype.kind == "f" else array.dtype)
        if name in case.wanted:
            feeds[name] = converted
            builder.input(name, _type(converted, is_open=name in case.batched))
        else:
            builder.constants[name] = converted
            builder.types[name] = Type(converted.dtype, converted.shape)
    builder.types |= _inferred(case.node, builder)
    builder.nodes.append(case.node)
    floats = [n for n in case.node.outputs if n and builder.types[n].is_float]
    results = run_model(to_model(builder.finish("f", {n: builder.value(n) for n in floats})), feeds)
    seeds: dict[str, Value] = {}
    total: Value | None = None
    for name, result in zip(floats, results, strict=True):
        weight = builder.input(f"{name}.cotangent", builder.types[name])
        feeds[weight.name] = np.asarray(rng.normal(size=result.shape), dtype)
        seeds[name] = weight
        weighed = (builder.value(name) * weight).sum()
        total = weighed if total is None else total + weighed
    if total is None:
        raise ValueError(f"{case.node} has no float output")
    gradients = differentiate(builder, seeds, case.wanted)
    outputs = {"sum": total} | {f"{name}.gradient": g for name, g in gradients.items()}
    missing = set(case.wanted) - gradients.keys()
    if missing:
        raise AssertionError(f"{case.node}: no gradient for {sorted(missing)}")
    return to_model(builder.finish("gradient", outputs)), feeds


def check_rule(
    case: RuleCase, *, directions: int = 3, step: float = 1e-6, run: Run = run_model
) -> float:
    """Largest error along a random direction, as a share of the gradient's usual size there."""
    model, feeds = gradient_model(case, np.float64)
    rng = np.random.default_rng(case.seed + 1)
    worst = 0.0
    for name, output in zip(case.wanted, run(model, feeds)[1:], strict=True):
        gradient, value = np.asarray(output, np.float64), np.asarray(feeds[name], np.float64)
        if gradient.shape != value.shape:
            raise AssertionError(f"{name}: gradient {gradient.shape}, value {value.shape}")
        usual = max(float(np.sqrt(np.mean(np.square(gradient)))), 1e-6)
        for _ in range(directions):
            direction = rng.normal(size=value.shape)
            direction /= np.linalg.norm(direction)
            ahead = run(model, {**feeds, name: value + step * direction})[0]
            behind = run(model, {**feeds, name: value - step * direction})[0]
            difference = (float(ahead) - float(behind)) / (2 * step)
            worst = max(worst, abs(float((gradient * direction).sum()) - difference) / usual)
    return worst


def _inferred(node: Node, builder: Builder) -> dict[str, Type]:
    """Types of the outputs; some operators have no form in double precision on paper."""
    single = {n: _as(np.float32, kind) for n, kind in builder.types.items()}
    known = {n: a.astype(single[n].dtype) for n, a in builder.constants.items()}
    kinds = infer_outputs(node, single, known)
    if "to" in node.attributes:
        return kinds
    wide = next((k.dtype for k in builder.types.values() if k.is_float), np.dtype(np.float64))
    return {name: _as(wide, kind) for name, kind in kinds.items()}


def _as(dtype: np.dtype[np.generic] | type[np.floating], kind: Type) -> Type:
    return Type(np.dtype(dtype), kind.shape) if kind.is_float else kind


def _type(array: Array, *, is_open: bool) -> Type:
    shape = (BATCH_AXIS, *array.shape[1:]) if is_open else array.shape
    return Type(array.dtype, shape)
