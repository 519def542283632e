"""Train on real data, offline and without a server, and compare with a plain baseline.

    python -m benchmarks.sanity DATASET --data-dir DIR [--threads N] [--json FILE]

Builds the model, makes a plan of it, trains it with the engine on this machine and measures on the
test split. Each data set is one recipe, fixed with its seed; the marks beside the result are the
baselines stated with the data (scikit-learn, n-grams, boosted trees). Ends with 1 below the mark.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edge_sdk.authoring import architectures, build_plan, zoo
from edge_sdk.datasets import ArrayDataset, load_npz
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.errors import EdgeError
from edge_sdk.plan import Plan
from edge_sdk.values import TrainSettings, Vector


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one data set is trained, and what it is measured against."""

    model: Callable[[], onnx.ModelProto]
    phases: Sequence[tuple[int, float]]
    """Epochs and learning rate, one after another; momentum starts anew in each."""
    batch: int = 32
    loss: str = "cross-entropy"
    momentum: float = 0.9
    measure: str = "accuracy"
    mark: float
    """What a plain baseline reaches on the same test split."""
    baseline: str


RECIPES: Mapping[str, Recipe] = {
    "sk_digits": Recipe(
        model=lambda: onnx.load_model_from_string(zoo.cnn((1, 8, 8), 10, scale=1 / 16)),
        phases=[(15, 0.05), (5, 0.01)],
        mark=0.964,
        baseline="logistic regression",
    ),
    "mnist_writers": Recipe(
        model=lambda: architectures.lenet5((1, 28, 28), 10, mean=33.3, scale=1 / 78.6),
        phases=[(2, 0.02), (1, 0.004)],
        batch=64,
        mark=0.967,
        baseline="MLP-64, 6 epochs",
    ),
    "hapt_phone_har": Recipe(
        model=lambda: architectures.cnn1d((6, 128), 6, scale=1 / 720),
        phases=[(15, 0.02), (5, 0.004)],
        batch=64,
        mark=0.952,
        baseline="logistic regression on 102 window statistics; MLP-64 on raw 0.874",
    ),
    "speech_commands_logmel": Recipe(
        model=lambda: architectures.ds_cnn((1, 49, 40), 12, mean=-6.0, scale=1 / 4.9),
        phases=[(12, 0.05), (4, 0.01)],
        mark=0.614,
        baseline="MLP-64",
    ),
    "shakespeare_roles": Recipe(
        model=lambda: architectures.char_lstm((80,), 65),
        phases=[(10, 1.0), (3, 0.3)],
        batch=16,
        mark=0.526,
        baseline="backoff n-gram, 4 characters of context",
    ),
    "dsb2018_nuclei128": Recipe(
        model=lambda: architectures.unet((3, 128, 128), 1, mean=43.6, scale=1 / 68.3),
        phases=[(20, 0.05), (5, 0.01)],
        batch=8,
        loss="dice",
        measure="dice",
        mark=0.912,
        baseline="boosted trees on pixels; logistic regression 0.616",
    ),
    "cifar10_lossless_4k": Recipe(
        model=lambda: architectures.resnet8((3, 32, 32), 10, mean=120.5, scale=1 / 64.0),
        phases=[(20, 0.05), (5, 0.01)],
        mark=0.40,
        baseline="MLP-128",
    ),
}


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sanity", description=__doc__)
    parser.add_argument("dataset", choices=RECIPES)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0, help="of the order of the examples")
    parser.add_argument("--json", type=Path, metavar="FILE")
    arguments = parser.parse_args()
    try:
        figures = _trained(
            arguments.dataset,
            arguments.data_dir / f"{arguments.dataset}.npz",
            threads=arguments.threads,
            seed=arguments.seed,
        )
    except EdgeError as error:
        sys.exit(f"{arguments.dataset}: {error}")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    if figures["test"] < figures["mark"]:
        sys.exit("below the mark")


def _trained(dataset: str, file: Path, *, threads: int, seed: int) -> dict[str, float]:
    recipe = RECIPES[dataset]
    model = recipe.model()
    plan = build_plan(model, loss=recipe.loss, momentum=recipe.momentum, name=dataset)
    train, test = (load_npz(file, split=split, fit=plan) for split in ("train", "test"))
    print(f"{plan}\n{len(train)} examples to train on, {len(test)} to test on")
    engine = OnnxRuntimeEngine(plan, threads=threads)
    weights, began = plan.initial_weights(), time.perf_counter()
    for number, (epochs, rate) in enumerate(recipe.phases):
        settings = TrainSettings(
            epochs=epochs,
            batch_size=recipe.batch,
            learning_rate=rate,
            seed=seed + number,
        )
        trained = engine.train(weights, train, settings)
        weights = trained.weights
        seconds = time.perf_counter() - began
        print(f"{seconds:6.1f} s  {epochs} epochs at {rate:g}: loss {trained.loss:.4f}", flush=True)
    seconds = time.perf_counter() - began
    score = _MEASURES[recipe.measure]
    figures = {
        "train": score(plan, engine, model, weights, train),
        "test": score(plan, engine, model, weights, test),
        "mark": recipe.mark,
        "seconds": round(seconds, 1),
    }
    print(
        f"{dataset}: {recipe.measure} {figures['test']:.4f} on the test split, "
        f"{figures['train']:.4f} on the training split, {seconds:.0f} s of training\n"
        f"mark {recipe.mark} ({recipe.baseline})"
    )
    return figures


def _accuracy(
    plan: Plan,
    engine: OnnxRuntimeEngine,
    model: onnx.ModelProto,
    weights: Vector,
    data: ArrayDataset,
) -> float:
    """Share of right answers, as the engine counts them."""
    del plan, model
    accuracy = engine.evaluate(weights, data).accuracy
    if accuracy is None:
        raise SystemExit("the plan counts no hits")
    return accuracy


def _dice(
    plan: Plan,
    engine: OnnxRuntimeEngine,
    model: onnx.ModelProto,
    weights: Vector,
    data: ArrayDataset,
) -> float:
    """2 |A and B| / (|A| + |B|) over all pixels of all images, at logit 0."""
    import onnxruntime as ort  # noqa: PLC0415 - after edge_sdk, which silences its telemetry

    del engine
    both = either = 0
    session = ort.InferenceSession(
        _with_weights(model, plan.layout().split(weights)),
        providers=["CPUExecutionProvider"],
    )
    for x, y in data.batches(size=32, seed=None):
        (logits,) = session.run(None, {plan.input.name: x})
        found, true = np.asarray(logits) > 0, np.asarray(y, np.float32) > 0
        both += int((found & true).sum())
        either += int(found.sum()) + int(true.sum())
    return 2 * both / max(either, 1)


def _with_weights(model: onnx.ModelProto, weights: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The forward model with trained weights in it."""
    trained = onnx.ModelProto()
    trained.CopyFrom(model)
    for tensor in trained.graph.initializer:
        if tensor.name in weights:
            tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name], tensor.name))
    data: bytes = trained.SerializeToString()
    return data


_MEASURES = {"accuracy": _accuracy, "dice": _dice}


if __name__ == "__main__":
    main()
