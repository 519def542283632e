"""`edge-sdk plan build|show|zoo`: from an ONNX model to a training plan."""

import argparse
import importlib
from pathlib import Path
from types import ModuleType

from edge_sdk.cli.command import Command
from edge_sdk.errors import Misuse, Unavailable
from edge_sdk.plan import Plan, load_plan


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.replace("x", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 1x28x28") from None
    if not shape or min(shape) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape like 1x28x28")
    return shape


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="verb", required=True)

    build = verbs.add_parser("build", help="make a plan from a forward ONNX model")
    build.add_argument("model", type=Path, help="forward ONNX file, weights as initializers")
    build.add_argument("--loss", required=True, choices=["cross-entropy", "mse"])
    build.add_argument("--optimizer", default="sgd", choices=["sgd"])
    build.add_argument("--momentum", type=float, default=0.9)
    build.add_argument("--name", help="what people see (default: the file's name)")
    build.add_argument("-o", "--output", type=Path, help="default: the model's name with .plan")

    show = verbs.add_parser("show", help="describe a plan")
    show.add_argument("plan", type=Path)

    zoo = verbs.add_parser("zoo", help="write a small model to start from, as an ONNX file")
    zoo.add_argument("architecture", choices=["mlp", "cnn"])
    zoo.add_argument("--input", type=_shape, required=True, help="one example, e.g. 1x28x28")
    zoo.add_argument("--classes", type=int, required=True)
    zoo.add_argument("--scale", type=float, default=1 / 255, help="input is multiplied by this")
    zoo.add_argument("--seed", type=int, default=0)
    zoo.add_argument("-o", "--output", type=Path, required=True)


def _run(arguments: argparse.Namespace) -> int:
    return {"build": _build, "show": _show, "zoo": _zoo}[arguments.verb](arguments)


def _build(arguments: argparse.Namespace) -> int:
    if not arguments.model.is_file():
        raise Misuse(f"no such file: {arguments.model}")
    output = arguments.output or arguments.model.with_suffix(".plan")
    plan = _authoring("edge_sdk.authoring").build_plan(
        arguments.model,
        loss=arguments.loss,
        optimizer=arguments.optimizer,
        momentum=arguments.momentum,
        name=arguments.name or arguments.model.stem,
    )
    partial = output.with_name(output.name + ".partial")
    partial.write_bytes(plan.data)
    partial.replace(output)
    _describe(plan)
    print(f"written: {output}")
    return 0


def _show(arguments: argparse.Namespace) -> int:
    if not arguments.plan.is_file():
        raise Misuse(f"no such file: {arguments.plan}")
    _describe(load_plan(arguments.plan.read_bytes()))
    return 0


def _zoo(arguments: argparse.Namespace) -> int:
    zoo = _authoring("edge_sdk.authoring.zoo")
    make = {"mlp": zoo.mlp, "cnn": zoo.cnn}[arguments.architecture]
    model = make(arguments.input, arguments.classes, scale=arguments.scale, seed=arguments.seed)
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


def _describe(plan: Plan) -> None:
    print(f"plan     {plan.name}  {plan.digest[:12]}  {len(plan.data):,} bytes")
    print(f"input    {plan.input.name} {plan.input.dtype} {plan.input.shape}")
    print(f"target   {plan.target.name} {plan.target.dtype} {plan.target.shape}")
    for number in range(plan.stages):
        layout = plan.layout(number)
        print(f"stage {number}  {layout.size:,} parameters in {len(layout.parameters)} tensors")
        for parameter in layout.parameters:
            print(f"         {parameter.name:32} {parameter.shape!s:20} {parameter.size:>12,}")
        print("         bytes up per round: " + _rates(layout.size))


def _rates(dimension: int) -> str:
    return "  ".join(f"{bits} bit {dimension * bits // 8:,}" for bits in (1, 2, 4, 8, 32))


COMMAND = Command(
    "plan", "Make a training plan from an ONNX model, or describe one.", _add_arguments, _run
)
