"""Are the gradients of this model right? Central differences in float64 along random directions."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx

from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Array, Graph, Type
from edge_sdk.authoring.losses import Loss, chosen_loss
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.authoring.passes import REMOVE_UNUSED, TO_FLOAT64, run_passes
from edge_sdk.authoring.training import forward_graph, gradient_graph
from edge_sdk.plan.conventions import BATCH_AXIS, LOSS, TARGET, new_name

Run = Callable[[bytes, Mapping[str, Array]], list[Array]]
"""Runs an ONNX model on named inputs and gives its outputs in order."""

Doubles = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

_SMALLEST = 1e-5
"""Gradients that many times smaller than the largest are measured against that instead: a weight
whose scale a normalisation takes out again has none but rounding."""


@dataclasses.dataclass(frozen=True, slots=True)
class GradientCheck:
    """Largest relative error found, by parameter."""

    errors: Mapping[str, float]

    @property
    def worst(self) -> float:
        """Largest of all."""
        return max(self.errors.values())


def check_gradients(
    model: bytes | Path | onnx.ModelProto,
    *,
    loss: str | Loss,
    batch: tuple[Array, Array] | None = None,
    batch_size: int = 3,
    directions: int = 3,
    step: float = 1e-6,
    seed: int = 0,
    run: Run = run_model,
) -> GradientCheck:
    """Compare generated gradients with finite differences of the loss.

    For each parameter and some random directions d: <gradient, d> against
    (L(w + step d) - L(w - step d)) / (2 step), as a share of the gradient's usual size along a
    random direction.

    Args:
        model: the forward model.
        loss: as for `build_plan`.
        batch: inputs and targets; drawn at random where None (normal floats, zero integers).
        batch_size: of the drawn batch.
        directions: per parameter.
        step: of the differences; d has length 1.
        seed: of batch and directions.
        run: how to run float64 graphs; the onnx library's reference by default.

    Raises:
        Malformed: as `build_plan`.
    """
    graph = gradient_graph(run_passes(forward_graph(model), TO_FLOAT64), chosen_loss(loss))
    parameters = {name: np.asarray(a, np.float64) for name, a in graph.parameters.items()}
    inputs = (*graph.inputs, *parameters)
    rng = np.random.default_rng(seed)
    feeds = {**_batch(graph, batch, batch_size, rng), **parameters}
    outputs = dict(zip(graph.outputs, run(to_model(graph, inputs=inputs), feeds), strict=True))
    loss_only = run_passes(dataclasses.replace(graph, outputs=(LOSS,)), REMOVE_UNUSED)
    loss_model = to_model(loss_only, inputs=inputs)
    gradients = {
        name: np.asarray(outputs.get(new_name(name), np.zeros_like(weight)), np.float64)
        for name, weight in parameters.items()
    }
    least = max(1e-8, _SMALLEST * max(map(_usual, gradients.values())))
    errors: dict[str, float] = {}
    for name, weight in parameters.items():
        gradient = gradients[name]

        def loss_at(moved: Doubles, name: str = name) -> float:
            return float(run(loss_model, {**feeds, name: moved})[0])

        misses = [_miss(loss_at, weight, gradient, step, rng) for _ in range(directions)]
        errors[name] = max(misses) / max(_usual(gradient), least)
    return GradientCheck(errors)


def _usual(gradient: Doubles) -> float:
    """Size of a gradient along a random direction of length 1."""
    return float(np.sqrt(np.mean(np.square(gradient))))


def _miss(
    loss_at: Callable[[Doubles], float],
    weight: Doubles,
    gradient: Doubles,
    step: float,
    rng: np.random.Generator,
) -> float:
    """Distance of <gradient, d> from the difference quotient, for one random d of length 1.

    Of two steps the better counts: a kink within the step spoils one, seldom both, while a wrong
    gradient is wrong at every step.
    """
    direction = rng.normal(size=weight.shape)
    direction /= np.linalg.norm(direction)
    found = float((gradient * direction).sum())
    misses = []
    for length in (step, step / 30):
        ahead, behind = (loss_at(weight + side * length * direction) for side in (1, -1))
        misses.append(abs(found - (ahead - behind) / (2 * length)))
    return min(misses)


def _batch(
    graph: Graph, batch: tuple[Array, Array] | None, size: int, rng: np.random.Generator
) -> dict[str, Array]:
    """Input and target by name, floats as float64."""
    names = (graph.inputs[0], TARGET)
    given = batch or tuple(_drawn(graph.types[name], size, rng) for name in names)
    return {
        name: np.asarray(array, graph.types[name].dtype)
        for name, array in zip(names, given, strict=True)
    }


def _drawn(kind: Type, size: int, rng: np.random.Generator) -> Array:
    shape = [size if dim == BATCH_AXIS else dim for dim in kind.shape or ()]
    sizes = [dim if isinstance(dim, int) else size for dim in shape]
    return rng.normal(size=sizes) if kind.is_float else np.zeros(sizes, kind.dtype)
