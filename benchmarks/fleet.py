"""Small federations of real data in one process: the tasks that codecs are judged by.

The engine, the plans, the codecs and the server's weighted sum are the real ones; only the network
is left out. `digits` uses the bundled ones, the others an `.npz` of `--data-dir`.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from edge_sdk.authoring import build_plan, zoo
from edge_sdk.authoring.architectures import char_lstm, cnn1d
from edge_sdk.datasets import ArrayDataset
from edge_sdk.engines.onnxruntime import OnnxRuntimeEngine
from edge_sdk.plan import Plan
from edge_sdk.values import Layout, TrainSettings, Vector

DIGITS = Path(__file__).parents[1] / "rpi_demo" / "digits.npz"

Array = NDArray[np.generic]


@dataclasses.dataclass(frozen=True, slots=True)
class Fleet:
    """A plan, what its devices hold, and what the model is measured on."""

    name: str
    plan: Plan
    devices: tuple[ArrayDataset, ...]
    test: ArrayDataset
    epochs: int
    batch_size: int
    learning_rate: float

    @property
    def layout(self) -> Layout:
        """Where the tensors lie in an update."""
        return self.plan.layout(0)

    def engine(self) -> OnnxRuntimeEngine:
        """An engine on one thread: the same weights on every run."""
        return OnnxRuntimeEngine(self.plan)

    def update(
        self, engine: OnnxRuntimeEngine, weights: Vector, device: int, *, seed: int
    ) -> Vector:
        """What `device` would send after training from `weights`."""
        settings = TrainSettings(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            seed=seed,
        )
        return engine.train(weights, self.devices[device], settings).weights - weights


def digits(model: str, *, devices: int = 20, seed: int = 0) -> Fleet:
    """The bundled digits, split by Dirichlet(0.5) over the classes; every fifth image is test.

    Sizes, rates and splits are those the codecs were first measured with.
    """
    with np.load(DIGITS, allow_pickle=False) as file:
        x, y = file["x_train"], file["y_train"].astype(np.int64)
        x_test, y_test = file["x_test"], file["y_test"].astype(np.int64)
    shards = _dirichlet(y, devices, seed)
    if model == "mlp":
        forward = zoo.mlp((64,), 10, hidden=(256, 128), scale=1 / 16)
        momentum, rate = 0.0, 0.1
    else:
        forward = zoo.cnn((1, 8, 8), 10, width=128, scale=1 / 16)
        momentum, rate = 0.9, 0.03
    plan = build_plan(forward, loss="cross-entropy", momentum=momentum, name=f"digits-{model}")
    return Fleet(
        name=f"digits-{model}",
        plan=plan,
        devices=tuple(ArrayDataset(x[s], y[s]).fit(plan) for s in shards),
        test=ArrayDataset(x_test, y_test).fit(plan),
        epochs=3,
        batch_size=16,
        learning_rate=rate,
    )


def writers(data_dir: Path, model: str, *, devices: int = 30, tested: int = 2000) -> Fleet:
    """MNIST by real writers: `devices` of those with at least 80 digits."""
    forward = zoo.mlp((1, 28, 28), 10) if model == "mlp" else zoo.cnn((1, 28, 28), 10)
    momentum, rate = (0.0, 0.1) if model == "mlp" else (0.9, 0.04)
    plan = build_plan(forward, loss="cross-entropy", momentum=momentum, name=f"writers-{model}")
    return _by_user(
        f"writers-{model}",
        _arrays(data_dir / "mnist_writers.npz"),
        plan,
        devices=devices,
        least=80,
        tested=tested,
        epochs=3,
        batch_size=16,
        learning_rate=rate,
    )


def sensors(data_dir: Path, *, devices: int = 21) -> Fleet:
    """Human activity from a phone's sensors, one person for each device; others are tested."""
    forward = cnn1d((6, 128), 6, scale=1 / 700)
    plan = build_plan(forward, loss="cross-entropy", momentum=0.9, name="sensors-cnn")
    arrays = _arrays(data_dir / "hapt_phone_har.npz")
    return _by_user(
        "sensors-cnn",
        arrays,
        plan,
        devices=devices,
        least=100,
        tested=len(arrays["y_test"]),
        batch_size=32,
        learning_rate=0.02,
    )


def roles(data_dir: Path, *, devices: int = 20) -> Fleet:
    """The next character of Shakespeare by speaking role, with an LSTM and plain SGD."""
    plan = build_plan(
        char_lstm((80,), 65), loss="cross-entropy", momentum=0.0, name="shakespeare-lstm"
    )
    return _by_user(
        "shakespeare-lstm",
        _arrays(data_dir / "shakespeare_roles.npz"),
        plan,
        devices=devices,
        least=60,
        tested=300,
        batch_size=8,
        learning_rate=1.0,
    )


FLEETS: Mapping[str, Callable[[Path], Fleet]] = MappingProxyType(
    {
        "digits-mlp": lambda _: digits("mlp"),
        "digits-cnn": lambda _: digits("cnn"),
        "writers-mlp": lambda folder: writers(folder, "mlp"),
        "writers-cnn": lambda folder: writers(folder, "cnn"),
        "sensors-cnn": sensors,
        "shakespeare-lstm": roles,
    }
)
"""All by name; those of the digits ignore the folder."""


def _arrays(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files if key != "meta"}


def _by_user(
    name: str,
    arrays: Mapping[str, Array],
    plan: Plan,
    *,
    devices: int,
    least: int,
    tested: int,
    batch_size: int,
    learning_rate: float,
    epochs: int = 1,
) -> Fleet:
    """One device for each user, drawn from those with at least `least` examples.

    Drawn, because neighbouring user numbers are alike: the first writers of MNIST are clerks, half
    of those in the test are pupils. The tested examples are drawn as well.
    """
    x, y, user = arrays["x_train"], arrays["y_train"], arrays["user_train"]
    names, counts = np.unique(user, return_counts=True)
    rng = np.random.default_rng(0)
    chosen = rng.permutation(names[counts >= least])[:devices]
    asked = np.sort(rng.permutation(len(arrays["y_test"]))[:tested])
    return Fleet(
        name=name,
        plan=plan,
        devices=tuple(ArrayDataset(x[user == u], _whole(y[user == u])).fit(plan) for u in chosen),
        test=ArrayDataset(arrays["x_test"][asked], _whole(arrays["y_test"][asked])).fit(plan),
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
    )


def _whole(labels: Array) -> NDArray[np.int64]:
    return labels.astype(np.int64)


def _dirichlet(labels: NDArray[np.int64], devices: int, seed: int) -> list[NDArray[np.int64]]:
    """Examples of each device, at least 10; each class is dealt in shares from Dirichlet(0.5)."""
    rng = np.random.default_rng(seed)
    while True:
        shards: list[list[int]] = [[] for _ in range(devices)]
        for digit in range(10):
            members = rng.permutation(np.flatnonzero(labels == digit))
            edges = (np.cumsum(rng.dirichlet([0.5] * devices))[:-1] * len(members)).astype(int)
            for shard, part in zip(shards, np.split(members, edges), strict=True):
                shard.extend(part.tolist())
        if min(map(len, shards)) >= 10:
            return [np.array(sorted(shard), np.int64) for shard in shards]
