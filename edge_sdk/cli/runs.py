"""`edge-sdk runs`: look at a running server's run, hold it, turn it back, take its model."""

import argparse
import importlib
from pathlib import Path

from edge_sdk.cli.command import Command
from edge_sdk.cli.operating import add_server_arguments, ask, show, size, sure, table
from edge_sdk.errors import Unavailable
from edge_sdk.transport.operator import OperatorClient
from edge_sdk.values.summaries import RoundSummary, RunSummary

SHOWN_ROUNDS = 15

HEAD = ("round", "state", "updates", "up", "down", "loss", "accuracy", "seconds")

ACTIONS = {
    "show": "state and latest rounds",
    "pause": "nobody gets new work; who has some may finish it",
    "resume": "work is given again",
    "stop": "end the run for good with the round that is open",
    "rollback": "publish an old version as a new one and train on from there",
    "export": "write the model as ONNX, for any onnxruntime",
}


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, text in ACTIONS.items():
        action = actions.add_parser(name, help=text)
        add_server_arguments(action)
        if name in {"stop", "rollback"}:
            action.add_argument("--yes", action="store_true", help="do not ask")
        if name == "rollback":
            action.add_argument("version", type=int, help="0 is the plan's own weights")
        if name == "export":
            _add_export_arguments(action)


def _add_export_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="FILE.onnx")
    add("--version", type=int, help="default: the newest")
    add("--averaged", action="store_true", help="mean of all versions up to it (Polyak-Ruppert)")
    add(
        "--model",
        type=Path,
        metavar="FILE.onnx",
        help="what the plan was built from: it gets the new weights and stays as it is otherwise. "
        "Without it, the model is what the loss reads (scores before a final softmax)",
    )


def _run(arguments: argparse.Namespace) -> int:
    if arguments.action == "export":
        return _export(arguments)
    if not _meant(arguments):
        return 1

    async def order(server: OperatorClient) -> RunSummary:
        (only,) = await server.runs()
        match arguments.action:
            case "pause":
                await server.pause(only.run)
            case "resume":
                await server.resume(only.run)
            case "stop":
                await server.stop(only.run)
            case "rollback":
                await server.roll_back(only.run, arguments.version)
        return await server.run(only.run)

    run = ask(arguments, order)
    show(arguments, run, _lines(run))
    return 0


def _meant(arguments: argparse.Namespace) -> bool:
    if arguments.action == "stop":
        return sure(arguments, "Stop the run? It cannot be resumed.")
    if arguments.action == "rollback":
        return sure(arguments, "Go back? The round that is open is abandoned.")
    return True


def _lines(run: RunSummary) -> list[str]:
    head = (
        f"run {run.run}: {run.state}, version {run.model_version} of {run.rounds_wanted}, "
        f"{run.devices} devices, {run.dimension:,} parameters"
    )
    return [head, *table(HEAD, [_row(one) for one in run.rounds[-SHOWN_ROUNDS:]])]


def _row(one: RoundSummary) -> tuple[str, ...]:
    updates = f"{one.committed}" + (f"+{one.partial}" if one.partial else "")
    return (
        str(one.round),
        one.state,
        f"{updates}/{one.admitted}",
        size(one.bytes_up),
        size(one.bytes_down),
        "-" if one.loss is None else f"{one.loss:.4g}",
        "-" if one.accuracy is None else f"{one.accuracy:.3f}",
        f"{one.seconds:.1f}",
    )


def _export(arguments: argparse.Namespace) -> int:
    try:
        room = importlib.import_module("edge_sdk.cli.export")
    except ModuleNotFoundError as error:
        raise Unavailable(f"export needs {error.name}: pip install 'edge-sdk[authoring]'") from None

    async def fetch(server: OperatorClient) -> tuple[RunSummary, bytes, bytes, int]:
        (only,) = await server.runs()
        version = only.model_version if arguments.version is None else arguments.version
        weights = await server.weights(only.run, version, averaged=arguments.averaged)
        return only, await server.plan(only.plan), weights, version

    run, plan, weights, version = ask(arguments, fetch)
    written = room.write_model(
        arguments.output, run, plan, weights, version=version, model=arguments.model
    )
    print(f"wrote {arguments.output} ({size(written)})")
    return 0


COMMAND = Command("runs", "Show, hold, turn back and export a run.", _add_arguments, _run)
