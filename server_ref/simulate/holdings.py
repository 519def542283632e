"""Who holds which examples: rows of one shared data set, a few bytes an example."""

import zipfile
from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.interfaces import Batch
from edge_sdk.plan import Plan
from server_ref.simulate.fleet import DataTable

Array = NDArray[np.generic]
Rows = NDArray[np.int32]


class SharedRows:
    """Some rows of arrays that many devices share; an `interfaces.Dataset`, fitted to a plan.

    Rows are copied out only while a device trains on them.
    """

    __slots__ = ("_plan", "_rows", "_x", "_y")

    def __init__(self, x: Array, y: Array, rows: Rows, plan: Plan) -> None:
        self._x = x
        self._y = y
        self._rows = rows
        self._plan = plan

    def __len__(self) -> int:
        """Number of examples."""
        return len(self._rows)

    def batches(self, *, size: int, seed: int | None) -> Iterator[Batch]:
        """See `ArrayDataset.batches`."""
        own = ArrayDataset(self._x[self._rows], self._y[self._rows])
        return own.fit(self._plan).batches(size=size, seed=seed)


def load_holdings(
    table: DataTable, plan: Plan, *, devices: int, seed: int
) -> tuple[list[SharedRows], ArrayDataset]:
    """What each device holds, and what versions are measured on.

    Raises:
        Misuse: the file lacks an array or people, or does not fit the plan.
        Malformed: the file is broken.
    """
    try:
        with np.load(table.file, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files if key.endswith(("_train", "_test"))}
    except OSError as error:
        raise Misuse(f"cannot read {table.file}: {error.strerror}") from None
    except (ValueError, zipfile.BadZipFile, EOFError) as error:
        raise Corrupt(f"{table.file.name}: {error}") from None
    wanted = ["x_train", "y_train", "x_test", "y_test"]
    wanted += ["user_train"] if table.partition == "user" else []
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise Misuse(f"{table.file.name} has no {', '.join(missing)}")
    draw = np.random.Generator(np.random.PCG64([seed, 1]))
    x, y = arrays["x_train"], _whole(arrays["y_train"])
    ArrayDataset(x, y).fit(plan)  # refuses what does not fit, once for all
    dealt = deal(
        y,
        arrays.get("user_train"),
        how=table.partition,
        devices=devices,
        alpha=table.alpha,
        least=table.least_examples,
        draw=draw,
    )
    x_test, y_test = arrays["x_test"], _whole(arrays["y_test"])
    asked = np.sort(draw.permutation(len(y_test))[: table.test_examples])
    test = ArrayDataset(x_test[asked], y_test[asked]).fit(plan)
    return [SharedRows(x, y, rows, plan) for rows in dealt], test


def deal(
    y: Array,
    user: Array | None,
    *,
    how: Literal["user", "even", "dirichlet"],
    devices: int,
    alpha: float,
    least: int,
    draw: np.random.Generator,
) -> list[Rows]:
    """Rows of each device; nobody has none.

    Raises:
        Misuse: fewer examples than devices, or nobody with `least`.
    """
    if how == "user" and user is not None:
        return _by_user(user, devices, least, draw)
    if how == "dirichlet":
        return _by_class(y, devices, alpha, draw)
    order = draw.permutation(len(y)).astype(np.int32)
    if len(order) < devices:
        raise Misuse(f"{devices} devices, but {len(order)} examples")
    return [np.sort(part) for part in np.array_split(order, devices)]


def _by_user(user: Array, devices: int, least: int, draw: np.random.Generator) -> list[Rows]:
    """A person for each device, in drawn order; people are shared out evenly when too few."""
    names, counts = np.unique(user, return_counts=True)
    people = draw.permutation(names[counts >= least])
    if not len(people):
        raise Misuse(f"nobody has {least} examples")
    sharers = [devices // len(people) + (i < devices % len(people)) for i in range(len(people))]
    parts: list[list[Rows]] = []
    for name, share in zip(people, sharers, strict=True):
        if share:
            rows = np.flatnonzero(user == name).astype(np.int32)
            parts.append([rows[start::share] for start in range(share)])
    dealt = [part[turn] for turn in range(max(sharers)) for part in parts if turn < len(part)]
    if any(len(rows) == 0 for rows in dealt):
        raise Misuse(f"{devices} devices share {len(people)} people: some would hold nothing")
    return dealt


def _by_class(y: Array, devices: int, alpha: float, draw: np.random.Generator) -> list[Rows]:
    """Each class in shares from Dirichlet(alpha); who got nothing takes a row of the richest."""
    shards: list[list[int]] = [[] for _ in range(devices)]
    for label in np.unique(y):
        members = draw.permutation(np.flatnonzero(y == label))
        edges = (np.cumsum(draw.dirichlet([alpha] * devices))[:-1] * len(members)).astype(int)
        for shard, part in zip(shards, np.split(members, edges), strict=True):
            shard.extend(part.tolist())
    if len(y) < devices:
        raise Misuse(f"{devices} devices, but {len(y)} examples")
    for shard in shards:
        if not shard:
            shard.append(max(shards, key=len).pop())
    return [np.array(sorted(shard), np.int32) for shard in shards]


def _whole(labels: Array) -> Array:
    """Labels of any integer type as int64, which every plan with classes takes."""
    return labels.astype(np.int64) if labels.dtype.kind in "biu" else labels
