"""Federations for split learning: real writers with FedLite's network, and people with a phone."""

import dataclasses
from pathlib import Path

import numpy as np

from benchmarks.fleet import sensors
from edge_sdk.authoring import build_plan, propose_cuts
from edge_sdk.authoring.architectures import cnn1d
from edge_sdk.authoring.architectures.net import Net
from edge_sdk.datasets import ArrayDataset
from edge_sdk.plan import Plan


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SplitFleet:
    """A plan with a split, what its devices hold, and what the model is measured on."""

    name: str
    plan: Plan
    devices: tuple[ArrayDataset, ...]
    test: ArrayDataset
    batch_size: int
    learning_rate: float
    per_round: int


def femnist_cnn(*, channels: tuple[int, int] = (32, 64), width: int = 128, seed: int = 0) -> bytes:
    """FedLite's network for FEMNIST, which is TFF's, for ten classes and without its dropout.

    Two 3x3 convolutions without padding, a 2x2 maximum, two fully connected layers.
    """
    net = Net("femnist-cnn", (1, 28, 28), seed=seed)
    x = net.scaled(0.0, 1 / 255)
    x = net.relu(net.conv(x, "conv1", channels[0], 3))
    x = net.relu(net.conv(x, "conv2", channels[1], 3))
    x = net.flatten(net.max_pool(x))
    x = net.relu(net.linear(x, "fc1", width))
    return bytes(net.finish(net.linear(x, "fc2", 10, gain=3.0)).SerializeToString())


def pooled(model: bytes) -> str:
    """The cut at the pooled maps: the paper's, behind the convolutions."""
    return next(p.name for p in propose_cuts(model) if p.name.startswith("MaxPool"))


def writers_paper(data_dir: Path) -> SplitFleet:
    """MNIST by real writers with FedLite's FEMNIST network and its cut: d = 9216, B = 20."""
    return writers(data_dir, channels=(32, 64))


def writers(
    data_dir: Path, *, channels: tuple[int, int] = (16, 32), devices: int = 60, tested: int = 1500
) -> SplitFleet:
    """The same with half the channels, a quarter of the computation: d = 4608."""
    model = femnist_cnn(channels=channels)
    plan = build_plan(
        model, loss="cross-entropy", momentum=0.9, name="femnist-cnn", cut=pooled(model)
    )
    with np.load(data_dir / "mnist_writers.npz", allow_pickle=False) as file:
        x, y, user = file["x_train"], file["y_train"], file["user_train"]
        x_test, y_test = file["x_test"][:tested], file["y_test"][:tested]
    users, counts = np.unique(user, return_counts=True)
    chosen = np.random.default_rng(0).permutation(users[counts >= 100])[:devices]
    return SplitFleet(
        name="writers",
        plan=plan,
        devices=tuple(ArrayDataset(x[user == u], y[user == u]).fit(plan) for u in chosen),
        test=ArrayDataset(x_test, y_test).fit(plan),
        batch_size=20,
        learning_rate=0.04,
        per_round=5,
    )


def phones(data_dir: Path) -> SplitFleet:
    """Activities by a phone's sensors, one person for each device, other people tested."""
    whole = sensors(data_dir)
    model = cnn1d((6, 128), 6, scale=1 / 700)
    plan = build_plan(model, loss="cross-entropy", momentum=0.9, name="sensors-cnn", cut="auto")
    return SplitFleet(
        name="phones",
        plan=plan,
        devices=whole.devices,
        test=whole.test,
        batch_size=32,
        learning_rate=0.02,
        per_round=5,
    )
