"""`./demo`: an aggregator and a fleet of devices as real processes, on real data, end to end."""

import argparse
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from edge_sdk import ArrayDataset, load_npz
from edge_sdk.authoring import build_plan, zoo
from edge_sdk.codecs import codec_from_spec
from edge_sdk.errors import EdgeError, Misuse, Unavailable
from edge_sdk.interfaces import Batch
from edge_sdk.values.summaries import RunSummary
from rpi_demo import partition, processes, report, watch
from rpi_demo.operator_api import Operator

ROUND_DEADLINE_S = 120
"""After this a round goes on without the missing devices."""

DIGITS = Path(__file__).parent / "digits.npz"


@dataclass(frozen=True, slots=True)
class Shared:
    """A data set and how it is dealt to the devices."""

    x_train: NDArray[np.generic]
    y_train: NDArray[np.generic]
    x_test: NDArray[np.generic]
    y_test: NDArray[np.generic]
    parts: list[partition.Indices]
    split: str
    """One sentence on who holds what."""

    @property
    def classes(self) -> int:
        """Number of classes, from the labels."""
        return int(max(self.y_train.max(), self.y_test.max())) + 1

    @property
    def input_shape(self) -> tuple[int, ...]:
        """One example as a convolution takes it: images get their channels first."""
        shape = self.x_train.shape[1:]
        if len(shape) == 2:
            return (1, *shape)
        if len(shape) == 3 and shape[-1] in {1, 3}:
            return (shape[-1], *shape[:2])
        return shape


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./demo", description=__doc__)
    parser.add_argument("--data", type=Path, default=DIGITS, metavar="FILE.npz")
    parser.add_argument("--model", choices=["mlp", "cnn"], default="cnn")
    bits = [*range(1, 9), 16, 32]
    parser.add_argument("--bits", type=int, choices=bits, default=2, help="per parameter, up")
    parser.add_argument(
        "--codec", metavar="SPEC", help="any codec instead, e.g. blockwise:rate=0.1"
    )
    parser.add_argument(
        "--downlink-codec",
        default="float32",
        metavar="SPEC",
        help="of what each version adds, e.g. eden:bits=4,scale=mse (default: versions as float32)",
    )
    parser.add_argument(
        "--memory",
        choices=["none", "error-feedback", "artemis"],
        default="none",
        help="what devices keep of their updates",
    )
    parser.add_argument("--devices", type=_count, default=10)
    parser.add_argument("--rounds", type=_count, default=25)
    parser.add_argument("--stages", type=_count, default=1, help="let the model grow (ProgFed)")
    parser.add_argument("--epochs", type=_count, default=3, help="local passes per round")
    parser.add_argument("--batch-size", type=_count, default=16)
    parser.add_argument("--learning-rate", type=_positive, default=0.02)
    parser.add_argument(
        "--alpha",
        type=_positive,
        default=0.5,
        help="of the Dirichlet split, where no users are known",
    )
    parser.add_argument("--seed", type=_count, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")
    return parser.parse_args()


def _count(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= 10_000):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 10000")
    return int(text)


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number")
    return value


def _stop(*_: object) -> None:
    """A closed terminal or a `kill` ends the fleet as Ctrl-C does."""
    raise KeyboardInterrupt


def main() -> int:
    """Run the demonstration; the exit status is 0 when the run finished."""
    arguments = _arguments()
    console = Console(width=None if sys.stdout.isatty() else 120)  # a file has no edge to wrap at
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        _demonstrate(arguments, console)
    except EdgeError as error:
        console.print(f"{type(error).__name__.lower()}: {error}", style="red", markup=False)
        return 1
    except OSError as error:
        console.print(f"{error.strerror}: {error.filename}", style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("stopped")
        return 130
    return 0


def _demonstrate(arguments: argparse.Namespace, console: Console) -> None:
    began_s = time.monotonic()
    data = load(
        arguments.data, devices=arguments.devices, alpha=arguments.alpha, seed=arguments.seed
    )
    output: Path = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    name = _name(arguments)
    plot, figures = output / f"{name}.png", output / f"{name}.json"
    for path in (plot, figures, arguments.json or figures):
        path.touch()
    console.print(f"{arguments.data.name}: {len(data.y_train):,} examples; {data.split}")
    with tempfile.TemporaryDirectory(prefix="edge-sdk-demo-") as scratch:
        run = _train(arguments, console, data, Path(scratch), logs=output / "logs")
    result = report.result_of(run, seconds=time.monotonic() - began_s)
    report.show_table(console, result)
    title = f"{name}: {arguments.devices} devices, {result.rounds} rounds"
    report.draw(run, plot, title=title)
    for path in {figures, arguments.json or figures}:
        report.write_json(result, path)
    console.print(f"plot    {plot.resolve()}", soft_wrap=True)
    console.print(f"figures {(arguments.json or figures).resolve()}", soft_wrap=True)


def _name(arguments: argparse.Namespace) -> str:
    """Of the files that the run leaves: what it trained, and what travelled how."""
    words = [arguments.data.stem, arguments.model, _codec(arguments)]
    if (down := _downlink(arguments)) != "float32":
        words += ["down", down]
    if arguments.memory != "none":
        words.append(arguments.memory)
    return "-".join(words).replace(":", "-").replace(",", "-")


def load(path: Path, *, devices: int, alpha: float, seed: int) -> Shared:
    """Read an npz with `x_train, y_train, x_test, y_test[, user_train]` and deal it out.

    Raises:
        Misuse: no such file, or arrays are missing or do not fit together.
        Malformed: the file is broken.
    """
    x_train, y_train = _whole(load_npz(path))
    x_test, y_test = _whole(load_npz(path, split="test"))
    if not np.issubdtype(y_train.dtype, np.integer) or y_train.ndim != 1 or int(y_train.min()) < 0:
        raise Misuse(f"{path}: y_train must be one class index per example")
    users = _users(path)
    if users is not None:
        if users.shape != y_train.shape:
            raise Misuse(f"{path}: {len(users)} users for {len(y_train)} examples")
        known = users.astype(np.int64) >= 0
        parts = partition.by_user(users[known], devices, seed=seed)
        parts = [np.flatnonzero(known)[part] for part in parts]
        split = f"{devices} of {len(np.unique(users[known]))} real users are the devices"
    else:
        parts = partition.by_dirichlet(y_train, devices, alpha=alpha, seed=seed)
        split = f"Dirichlet({alpha}) over {devices} devices"
    sizes = [len(part) for part in parts]
    split += f", {min(sizes)} to {max(sizes)} examples each, {sum(sizes):,} in all (seed {seed})"
    return Shared(x_train, y_train, x_test, y_test, parts, split)


def _whole(data: ArrayDataset) -> Batch:
    (batch,) = data.batches(size=len(data), seed=None)
    return batch


def _users(path: Path) -> NDArray[np.generic] | None:
    with np.load(path, allow_pickle=False) as file:
        return np.asarray(file["user_train"]) if "user_train" in file.files else None


def _train(
    arguments: argparse.Namespace, console: Console, data: Shared, scratch: Path, *, logs: Path
) -> RunSummary:
    logs.mkdir(parents=True, exist_ok=True)
    plan = scratch / "demo.plan"
    plan.write_bytes(_plan(arguments, data))
    test = scratch / "test.npz"
    np.savez(test, x_test=data.x_test, y_test=data.y_test)
    running: list[processes.Process] = []
    try:
        announcement = scratch / "announcement.json"
        server = processes.start(
            "aggregator",
            ["server_ref", str(plan), *_server_arguments(arguments, scratch, test, announcement)],
            log=logs / "aggregator.log",
        )
        running.append(server)
        told = processes.wait_announced(server, announcement)
        console.print(
            f"aggregator at {told.url}; {arguments.devices} device processes; logs in {logs}"
        )
        for number, part in enumerate(data.parts):
            shard = scratch / f"device-{number:02}.npz"
            np.savez(shard, x_train=data.x_train[part], y_train=data.y_train[part])
            running.append(_start_device(told, shard, logs=logs))
        operator = Operator(told.url, told.operator_token)
        run = operator.only_run()

        def check_alive() -> None:
            for process in running:
                if process.popen.poll() not in {None, 0}:
                    raise Unavailable(f"{process.name} ended:\n{process.tail()}")

        return watch.follow(console, lambda: operator.run(run), check_alive)
    finally:
        processes.stop(list(reversed(running)))


def _plan(arguments: argparse.Namespace, data: Shared) -> bytes:
    sample = data.x_train[:: max(1, len(data.x_train) // 1000)].astype(np.float32)
    mean, scale = float(sample.mean()), 1.0 / max(float(sample.std()), 1e-6)
    make = zoo.mlp if arguments.model == "mlp" else zoo.cnn
    model = make(data.input_shape, data.classes, mean=mean, scale=scale, seed=arguments.seed)
    name = f"demo-{arguments.model}"
    built = build_plan(
        model, loss="cross-entropy", momentum=0.9, name=name, stages=arguments.stages
    )
    return built.data


def _codec(arguments: argparse.Namespace) -> str:
    plain = {16: "float16", 32: "float32"}
    spec: str = arguments.codec or plain.get(arguments.bits, f"eden:bits={arguments.bits}")
    return codec_from_spec(spec).spec


def _downlink(arguments: argparse.Namespace) -> str:
    return codec_from_spec(arguments.downlink_codec).spec


def _server_arguments(
    arguments: argparse.Namespace, scratch: Path, test: Path, announcement: Path
) -> list[str]:
    options = {
        "--state": scratch / "server",
        "--port": 0,
        "--rounds": arguments.rounds,
        "--run-seed": arguments.seed,
        "--cohort": arguments.devices,
        "--round-deadline": ROUND_DEADLINE_S,
        "--codec": _codec(arguments),
        "--downlink-codec": _downlink(arguments),
        "--memory": arguments.memory,
        "--epochs": arguments.epochs,
        "--batch-size": arguments.batch_size,
        "--lr": arguments.learning_rate,
        "--evaluate": test,
        "--join-uses": arguments.devices,
        "--announce": announcement,
    }
    return [str(word) for option in options.items() for word in option]


def _start_device(told: processes.Announcement, shard: Path, *, logs: Path) -> processes.Process:
    name = shard.stem
    words = [
        "--server",
        told.url,
        "--data",
        shard,
        "--state",
        shard.with_suffix(""),
        "--name",
        name,
    ]
    return processes.start(
        name,
        ["rpi_demo", *(str(word) for word in words)],
        log=logs / f"{name}.log",
        EDGE_SDK_JOIN_TOKEN=told.join_token,
    )


if __name__ == "__main__":
    sys.exit(main())
