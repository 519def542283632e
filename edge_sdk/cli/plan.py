"""`edge-sdk plan build|show|cuts|zoo`: from an ONNX model to a training plan."""

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from edge_sdk.cli.command import Command
from edge_sdk.cli.plan_cuts import cut_measure, cuts_table
from edge_sdk.cli.plan_measure import Measured, measure, measure_split
from edge_sdk.cli.plan_table import aligned, describe
from edge_sdk.errors import Misuse, Unavailable
from edge_sdk.plan import Plan, load_plan

_TOLERANCE = 1e-3
"""Largest relative gradient error that `--check` lets pass."""

_OPTIONS = (
    "loss", "label_smoothing", "ignore_index", "class_weights", "optimizer", "momentum",
    "weight_decay", "clip_norm", "proximal", "correction", "accumulate", "batch_norm", "freeze",
    "stages", "cut", "recompute",
)  # fmt: skip
"""Options of `build` that are called as the arguments of `build_plan`."""


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 1x28x28") from None
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 1x28x28")
    return shape


def _numbers(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list like 1,0.5,2") from None


def _stages(text: str) -> int | str | list[str]:
    """A number, `auto`, or tensor names."""
    if text.isdecimal():
        return int(text)
    return text if text == "auto" else text.split(",")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)
    _add_build(verbs.add_parser("build", help="make a plan from a forward ONNX model"))

    show = verbs.add_parser("show", help="describe a plan")
    show.add_argument("plan", type=Path, help="plan bundle")
    _add_measuring(show)

    cuts = verbs.add_parser("cuts", help="list where a model can be cut, for --stages and --cut")
    cuts.add_argument("model", type=Path, help="forward ONNX file")
    _add_measuring(cuts)

    zoo = verbs.add_parser("zoo", help="write a small model to start from, as an ONNX file")
    zoo.add_argument(
        "architecture", help="mlp, cnn, lenet5, resnet8, …; a wrong name lists them all"
    )
    zoo.add_argument("--input", type=_shape, required=True, help="one example, e.g. 1x28x28")
    zoo.add_argument("--classes", type=int, required=True, help="outputs of the last layer")
    zoo.add_argument("--scale", type=float, help="input is multiplied by this inside the graph")
    zoo.add_argument("--seed", type=int, default=0, help="of the first weights (default 0)")
    zoo.add_argument("-o", "--output", type=Path, required=True, help="ONNX file to write")


def _add_build(build: argparse.ArgumentParser) -> None:
    build.add_argument("model", type=Path, help="forward ONNX file, weights as initializers")
    build.add_argument(
        "--loss", required=True, help="cross-entropy, binary-cross-entropy, dice, mse, l1 or huber"
    )
    build.add_argument("--label-smoothing", type=float, metavar="SHARE", help="of cross-entropy")
    build.add_argument(
        "--ignore-index", type=int, metavar="CLASS", help="target left out of the loss"
    )
    build.add_argument("--class-weights", type=_numbers, metavar="W,...", help="of cross-entropy")
    build.add_argument("--optimizer", default="sgd", help="sgd, nesterov, adam or adamw")
    build.add_argument("--momentum", type=float, help="default 0.9; of Adam the first decay rate")
    build.add_argument("--weight-decay", type=float, help="default 0")
    build.add_argument("--clip-norm", type=float, help="longest gradient")
    build.add_argument("--proximal", action="store_true", help="inputs for FedProx")
    build.add_argument("--correction", action="store_true", help="a term added to each gradient")
    build.add_argument("--accumulate", action="store_true", help="gather small batches")
    build.add_argument(
        "--recompute", action="store_true", help="less memory for a little more time"
    )
    build.add_argument(
        "--batch-norm",
        choices=["train", "frozen"],
        default="train",
        help="statistics of each batch, or those the model came with (default train)",
    )
    build.add_argument("--freeze", metavar="REGEX", help="weights that stay as they are")
    build.add_argument(
        "--stages",
        type=_stages,
        default=1,
        metavar="N|auto|TENSOR,...",
        help="train in stages of growing depth",
    )
    build.add_argument(
        "--no-warm-up", action="store_true", help="no train graphs of each stage's newest block"
    )
    build.add_argument(
        "--cut",
        action="append",
        metavar="TENSOR|auto",
        help="split the model here too; give it twice to keep targets on the device",
    )
    build.add_argument(
        "--check",
        action="store_true",
        help="first compare all gradients with finite differences in float64",
    )
    build.add_argument("--name", help="what people see (default: the file's name)")
    build.add_argument("-o", "--output", type=Path, help="default: the model's name with .plan")
    _add_measuring(build)


def _add_measuring(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch-size", type=int, default=32, help="of the steps that are timed")
    parser.add_argument("--threads", type=int, default=1, help="for the steps that are timed")
    parser.add_argument("--no-measure", action="store_true", help="time nothing")


def _run(arguments: argparse.Namespace) -> int:
    verbs = {"build": _build, "show": _show, "cuts": _cuts, "zoo": _zoo}
    return verbs[arguments.verb](arguments)


def _build(arguments: argparse.Namespace) -> int:
    _check_file(arguments.model)
    authoring = _authoring("edge_sdk.authoring")
    if arguments.check and not _gradients_hold(authoring, arguments):
        return 1
    output = arguments.output or arguments.model.with_suffix(".plan")
    plan = authoring.build_plan(
        arguments.model,
        name=arguments.name or arguments.model.stem,
        warm_up=not arguments.no_warm_up,
        **{option: getattr(arguments, option) for option in _OPTIONS},
    )
    unfinished = output.with_name(output.name + ".partial")
    unfinished.write_bytes(plan.data)
    unfinished.replace(output)
    _print(plan, arguments, output)
    print(f"written: {output}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    _check_file(arguments.plan)
    _print(load_plan(arguments.plan.read_bytes()), arguments, arguments.plan)
    return 0


def _gradients_hold(authoring: ModuleType, arguments: argparse.Namespace) -> bool:
    """Print the worst parameters; whether all are right."""
    found: Mapping[str, float] = authoring.check_gradients(
        arguments.model, loss=arguments.loss
    ).errors
    worst = sorted(found, key=lambda name: -found[name])
    rows = [[name, f"{found[name]:.1e}"] for name in worst[:5]]
    for line in aligned([["gradient of", "relative error"], *rows]):
        print(line)
    holds = found[worst[0]] <= _TOLERANCE
    verdict = "all gradients are right" if holds else f"over {_TOLERANCE:g}: not written"
    print(f"{len(found)} parameters checked by finite differences: {verdict}\n")
    return holds


def _cuts(arguments: argparse.Namespace) -> int:
    _check_file(arguments.model)
    authoring = _authoring("edge_sdk.authoring")
    size, threads = arguments.batch_size, arguments.threads
    measuring = None
    if not arguments.no_measure:
        measuring = cut_measure(authoring, arguments.model, batch_size=size, threads=threads)
    for line in cuts_table(authoring.propose_cuts(arguments.model), measuring):
        print(line)
    return 0


def _zoo(arguments: argparse.Namespace) -> int:
    model = _authoring("edge_sdk.authoring.zoo").make(
        arguments.architecture,
        arguments.input,
        arguments.classes,
        scale=arguments.scale,
        seed=arguments.seed,
    )
    arguments.output.write_bytes(model)
    print(f"written: {arguments.output}")
    return 0


def _authoring(module: str) -> ModuleType:
    """A module that needs the `authoring` extra; `plan show` does without."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Unavailable(
            f"{error.name} is not installed; do: pip install 'edge-sdk[authoring]'"
        ) from None


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise Misuse(f"no such file: {path}")


def _print(plan: Plan, arguments: argparse.Namespace, file: Path) -> None:
    size, threads = arguments.batch_size, arguments.threads

    def of_stage(stage: int, warm_up: bool) -> Measured | str:
        return measure(file, stage=stage, warm_up=warm_up, batch_size=size, threads=threads)

    def of_split() -> Measured | str:
        return measure_split(file, batch_size=size, threads=threads)

    lines = describe(plan) if arguments.no_measure else describe(plan, of_stage, of_split)
    for line in lines:
        print(line)


COMMAND = Command(
    "plan", "Make a training plan from an ONNX model, or describe one.", _add_arguments, _run
)
