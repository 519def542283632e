"""What a person takes home: table, plot and figures of a finished run."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from edge_sdk.values.summaries import RoundSummary, RunSummary

FLOAT32_BYTES = 4


@dataclass(frozen=True, slots=True)
class Result:
    """A finished run in figures; bytes are HTTP bodies, counted by the server."""

    accuracy: float
    """Of the last version, on the test split."""
    rounds: int
    seconds: float
    bytes_up: int
    bytes_down: int
    updates: int
    """Updates counted, over all rounds."""
    dimension: int

    @property
    def bytes_up_factor(self) -> float:
        """Bytes of the same updates as float32 over the bytes really sent."""
        return self.updates * self.dimension * FLOAT32_BYTES / self.bytes_up

    @property
    def bytes_down_factor(self) -> float:
        """Bytes of one float32 model per update over the bytes really received."""
        return self.updates * self.dimension * FLOAT32_BYTES / self.bytes_down


def result_of(run: RunSummary, *, seconds: float) -> Result:
    """Add up a finished run."""
    done = _published(run)
    return Result(
        accuracy=next((r.accuracy for r in reversed(done) if r.accuracy is not None), 0.0),
        rounds=len(done),
        seconds=seconds,
        bytes_up=sum(r.bytes_up for r in run.rounds),
        bytes_down=sum(r.bytes_down for r in run.rounds),
        updates=sum(r.committed + r.partial for r in done),
        dimension=run.dimension,
    )


def _published(run: RunSummary) -> list[RoundSummary]:
    return [r for r in run.rounds if r.state == "published"]


def show_table(console: Console, result: Result) -> None:
    """Print the closing table."""
    each = max(result.updates, 1)
    table = Table(title="Federated training, measured", title_justify="left")
    table.add_column("what")
    table.add_column("figure", justify="right")
    table.add_row("rounds", str(result.rounds))
    table.add_row("accuracy on the test split", f"{result.accuracy:.4f}")
    table.add_row("trainable parameters", f"{result.dimension:,}")
    table.add_row("bytes up per device and round", f"{result.bytes_up / each:,.0f}")
    table.add_row("bytes down per device and round", f"{result.bytes_down / each:,.0f}")
    table.add_row("fewer bytes up than float32", f"{result.bytes_up_factor:.1f} x")
    table.add_row("fewer bytes down than float32", f"{result.bytes_down_factor:.1f} x")
    table.add_row("seconds", f"{result.seconds:.1f}")
    console.print(table)


def write_json(result: Result, path: Path) -> None:
    """Write the figures for programs."""
    figures = asdict(result) | {
        "bytes_up_factor": result.bytes_up_factor,
        "bytes_down_factor": result.bytes_down_factor,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + "\n")


def draw(run: RunSummary, path: Path, *, title: str) -> None:
    """Plot accuracy against cumulative bytes up, beside what float32 updates would have cost."""
    done = [r for r in _published(run) if r.accuracy is not None]
    accuracy = [r.accuracy for r in done if r.accuracy is not None]
    sent, plain = [], []
    total = total_plain = 0
    for r in done:
        total += r.bytes_up
        total_plain += (r.committed + r.partial) * run.dimension * FLOAT32_BYTES
        sent.append(total / 1e6)
        plain.append(total_plain / 1e6)
    mpl.use("Agg")
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(sent, accuracy, "o-", color="#0b6e4f", label="measured: compressed updates")
    axes.plot(
        plain, accuracy, "s--", color="#9a9a9a", label="computed: the same updates as float32"
    )
    axes.set_xscale("log")
    axes.set_xlabel("bytes sent by all devices so far, MB (HTTP bodies)")
    axes.set_ylabel("accuracy on the test split")
    axes.set_title(title, loc="left")
    axes.grid(visible=True, which="both", alpha=0.25)
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
