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

import onnx

from edge_sdk.authoring import architectures, build_plan, zoo
from edge_sdk.datasets import ArrayDataset, load_npz
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.errors import EdgeError
from edge_sdk.values import TrainSettings, Vector


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How one data set is trained, and what it is measured against."""

    model: Callable[[], onnx.ModelProto]
    phases: Sequence[tuple[int, float]]
    """Epochs and learning rate, one after another; momentum starts anew in each."""
    batch: int = 32
    loss: str = "cross-entropy"
    optimizer: str = "sgd"
    judge: str = "cross-entropy"
    """The loss whose evaluation graph counts what is right."""
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
        model=lambda: architectures.cnn1d((6, 128), 6, scale=1 / 720, norm="batch", pooling="max"),
        phases=[(9, 0.05), (3, 0.01)],
        batch=64,
        mark=0.874,
        baseline="MLP-64 on raw windows; logistic regression on 102 window statistics 0.952",
    ),
    "speech_commands_logmel": Recipe(
        model=lambda: architectures.ds_cnn((1, 49, 40), 12, mean=-6.0, scale=1 / 4.9),
        phases=[(10, 0.05), (3, 0.01)],
        mark=0.614,
        baseline="MLP-64",
    ),
    "shakespeare_roles": Recipe(
        model=lambda: architectures.char_lstm((80,), 65),
        phases=[(6, 1.0), (2, 0.3)],
        batch=16,
        mark=0.526,
        baseline="backoff n-gram, 4 characters of context",
    ),
    "dsb2018_nuclei128": Recipe(
        model=lambda: architectures.unet(
            (3, 128, 128), 1, mean=43.6, scale=1 / 68.3, norm="group", width=8
        ),
        phases=[(14, 0.003), (4, 0.0006)],
        batch=4,
        loss="binary-cross-entropy",
        optimizer="adam",
        judge="dice",
        mark=0.912,
        baseline="boosted trees on pixels; logistic regression 0.616",
    ),
    "cifar10_lossless_4k": Recipe(
        model=lambda: architectures.resnet8((3, 32, 32), 10, mean=120.5, scale=1 / 64.0),
        phases=[(16, 0.05), (4, 0.01)],
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
    plan = build_plan(model, loss=recipe.loss, optimizer=recipe.optimizer, name=dataset)
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
    if recipe.judge != recipe.loss:
        engine = OnnxRuntimeEngine(build_plan(model, loss=recipe.judge, name=dataset))
    figures = {
        "train": _quality(engine, weights, train),
        "test": _quality(engine, weights, test),
        "mark": recipe.mark,
        "seconds": round(seconds, 1),
    }
    what = "Dice" if recipe.judge == "dice" else "accuracy"
    print(
        f"{dataset}: {what} {figures['test']:.4f} on the test split, "
        f"{figures['train']:.4f} on the training split, {seconds:.0f} s of training\n"
        f"mark {recipe.mark} ({recipe.baseline})"
    )
    return figures


def _quality(engine: OnnxRuntimeEngine, weights: Vector, data: ArrayDataset) -> float:
    """Share of right answers, or the Dice coefficient over all pixels, as the engine counts."""
    quality = engine.evaluate(weights, data, batch_size=64).accuracy
    if quality is None:
        raise SystemExit("the plan counts no hits")
    return quality


if __name__ == "__main__":
    main()
