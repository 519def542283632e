"""What a person sees while the fleet trains: a bar per round, then a line when it is done."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from edge_sdk.errors import Unavailable
from edge_sdk.values.summaries import RoundSummary, RunSummary

PERIOD_S = 0.15


def follow(
    console: Console, ask: Callable[[], RunSummary], check_alive: Callable[[], None]
) -> RunSummary:
    """Show the run until it is finished; `check_alive` raises when the fleet is dead."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=12),
        MofNCompleteColumn(),
        TextColumn("{task.fields[figures]}"),
        console=console,
    ) as progress:
        bars: dict[int, TaskID] = {}
        while True:
            run = ask()
            for one in run.rounds:
                _show(progress, bars, one, run.rounds_wanted)
            _refuse_abandoned(run)
            if run.state == "finished" and not _still_evaluating(run):
                return run
            check_alive()
            time.sleep(PERIOD_S)


def _refuse_abandoned(run: RunSummary) -> None:
    """A demonstration has nothing to wait for once its devices give up on a round.

    Raises:
        Unavailable: a round was abandoned.
    """
    for one in run.rounds:
        if one.state == "abandoned":
            raise Unavailable(
                f"round {one.round} was abandoned: too few usable updates; training may have "
                "diverged (try a smaller --learning-rate); the devices' logs say more"
            )


def _still_evaluating(run: RunSummary) -> bool:
    last = next((r for r in reversed(run.rounds) if r.state == "published"), None)
    return last is not None and last.accuracy is None and last.loss is None


def _show(progress: Progress, bars: dict[int, TaskID], one: RoundSummary, wanted: int) -> None:
    total = max(one.admitted, 1)
    if one.round not in bars:
        bars[one.round] = progress.add_task(
            f"round {one.round:>2}/{wanted}", total=total, figures=""
        )
    accuracy = "accuracy …     " if one.accuracy is None else f"accuracy {one.accuracy:.4f}"
    progress.update(
        bars[one.round],
        total=total,
        completed=one.committed + one.partial,
        figures=f"{accuracy} ↑{_size(one.bytes_up)} ↓{_size(one.bytes_down)} {one.seconds:5.1f} s",
    )


def _size(count: int) -> str:
    return f"{count / 1e3:6.1f} kB" if count < 1e6 else f"{count / 1e6:6.2f} MB"
