"""`edge-sdk simulate FLEET.toml`."""

import argparse
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from edge_sdk.errors import Misuse, Unavailable
from server_ref.simulate.federation import OnRound, simulate
from server_ref.simulate.fleet import load_fleet
from server_ref.simulate.outcome import Outcome, RoundRecord, dump_outcome
from server_ref.simulate.plans import plan_of
from server_ref.simulate.report import (
    GROUP_HEADS,
    ROUND_HEADS,
    aligned,
    closing_lines,
    group_rows,
    round_rows,
)


class Command(NamedTuple):
    """What `edge-sdk` needs of a subcommand."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "fleet", type=Path, metavar="FLEET.toml", help="devices, links, data, server"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures here")
    parser.add_argument("--plot", type=Path, metavar="FILE.png", help="draw here")
    parser.add_argument("--rounds", type=int, help="instead of the file's")
    parser.add_argument("--seed", type=int, help="instead of the file's")
    parser.add_argument("--no-progress", action="store_true", help="no progress bar")


def _run(arguments: argparse.Namespace) -> int:
    fleet = load_fleet(arguments.fleet)
    for key in ("rounds", "seed"):
        given = getattr(arguments, key)
        if given is not None:
            if given < (key == "rounds"):
                raise Misuse(f"--{key} {given}")
            fleet = fleet.model_copy(update={key: given})
    plan = plan_of(fleet)
    with _progress(fleet.rounds, shown=not arguments.no_progress) as on_round:
        outcome = simulate(fleet, plan, name=arguments.fleet.stem, on_round=on_round)
    _show(outcome)
    if arguments.json is not None:
        arguments.json.write_text(dump_outcome(outcome), encoding="utf-8")
    if arguments.plot is not None:
        try:
            plot = importlib.import_module("server_ref.simulate.plot")
        except ModuleNotFoundError as error:
            raise Unavailable(f"--plot needs {error.name}: pip install {error.name}") from None
        plot.draw([outcome], arguments.plot)
    return 0


@contextmanager
def _progress(rounds: int, *, shown: bool) -> Iterator[OnRound]:
    """A bar on the terminal that each version moves on; nothing without rich or a terminal."""
    try:
        progress = importlib.import_module("rich.progress")
        console = importlib.import_module("rich.console").Console(stderr=True)
    except ModuleNotFoundError:
        shown = False
    if not shown or not console.is_terminal:
        yield lambda _: None
        return
    columns = (
        progress.TextColumn("round {task.completed}/{task.total}"),
        progress.BarColumn(),
        progress.TextColumn("{task.description}"),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=rounds)

        def on_round(record: RoundRecord) -> None:
            accuracy = record.round.accuracy
            told = "" if accuracy is None else f"accuracy {accuracy:.4f}"
            made = record.round.state == "published"
            bar.update(task, advance=int(made), description=told)

        yield on_round


def _show(outcome: Outcome) -> None:
    for heads, rows in ((ROUND_HEADS, round_rows(outcome)), (GROUP_HEADS, group_rows(outcome))):
        for line in aligned([list(heads), *rows]):
            print(line)
        print()
    for line in closing_lines(outcome):
        print(line)


COMMAND = Command(
    "simulate", "Run a whole fleet on this machine, in virtual time.", _add_arguments, _run
)
