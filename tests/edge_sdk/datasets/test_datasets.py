import contextlib
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from edge_sdk.datasets import ArrayDataset, load_npz
from edge_sdk.errors import Malformed, Misuse
from edge_sdk.plan import Plan, StageParts, TensorSpec, load_plan, pack_plan
from edge_sdk.plan.manifest import DType
from edge_sdk.values import Parameter


def plan(
    shape: tuple[int, ...],
    *,
    dtype: DType = "float32",
    target: tuple[int, ...] = (),
    target_dtype: DType = "int64",
    classes: int | None = 10,
) -> Plan:
    return load_plan(
        pack_plan(
            name="a plan",
            loss="any",
            optimizer="sgd",
            classes=classes,
            input_spec=TensorSpec(name="input", dtype=dtype, shape=shape),
            target_spec=TensorSpec(name="target", dtype=target_dtype, shape=target),
            parameters=(Parameter("w", (1,)),),
            weights=np.zeros(1, np.float32),
            stages=(StageParts(name="all", parameters=(0,), state=(), train=b"t", evaluate=b"e"),),
        )
    )


def numbered(count: int) -> ArrayDataset:
    return ArrayDataset(np.arange(count), np.arange(count) % 3)


@settings(deadline=None)
@given(count=st.integers(1, 60), size=st.integers(1, 70), seed=st.none() | st.integers(0, 2**53))
def test_one_pass_gives_every_example_once(count: int, size: int, seed: int | None) -> None:
    batches = list(numbered(count).batches(size=size, seed=seed))
    assert [len(x) for x, _ in batches[:-1]] == [size] * (len(batches) - 1)
    assert 0 < len(batches[-1][0]) <= size
    x = np.concatenate([x for x, _ in batches])
    y = np.concatenate([y for _, y in batches])
    np.testing.assert_array_equal(np.sort(x), np.arange(count))
    np.testing.assert_array_equal(y, x % 3)


def test_order_belongs_to_the_seed() -> None:
    def order(seed: int | None) -> list[int]:
        return [int(i) for x, _ in numbered(50).batches(size=7, seed=seed) for i in x]

    assert order(3) == order(3) != order(4)
    assert order(None) == list(range(50))
    # Golden: a device must draw the same order in every release and on every machine.
    assert (
        order(3)[:5]
        == [int(i) for i in np.random.Generator(np.random.PCG64(3)).permutation(50)][:5]
    )


def test_only_batches_are_cast_and_they_are_copies() -> None:
    x = np.arange(12, dtype=np.uint8).reshape(3, 4)
    fitted = ArrayDataset(x, np.array([0, 1, 2], np.uint8)).fit(plan((4,)))
    ((batch, labels),) = fitted.batches(size=8, seed=None)
    assert batch.dtype == np.float32
    assert labels.dtype == np.int64
    assert batch.flags.c_contiguous
    batch[...] = 99
    assert x.max() == 11


@pytest.mark.parametrize(
    ("stored", "wanted"),
    [
        ((6,), (6,)),
        ((8, 8), (1, 8, 8)),
        ((8, 8), (8, 8, 1)),
        ((4, 5, 3), (3, 4, 5)),
        ((128, 6), (6, 128)),
        ((4, 5, 3), (60,)),
        ((8, 8), (64,)),
        ((1,), ()),
    ],
)
def test_layout_is_adapted(stored: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    x = np.arange(2 * np.prod(stored)).reshape(2, *stored).astype(np.float32)
    fitted = ArrayDataset(x, np.zeros(2)).fit(plan(wanted, target_dtype="float32", classes=None))
    ((batch, _),) = fitted.batches(size=2, seed=None)
    assert batch.shape == (2, *wanted)
    if len(stored) > 1 and wanted == (stored[-1], *stored[:-1]):
        np.testing.assert_array_equal(batch, np.moveaxis(x, -1, 1))
    else:
        np.testing.assert_array_equal(batch, x.reshape(2, *wanted))


def test_an_exact_shape_is_never_transposed() -> None:
    x = np.arange(9).reshape(1, 3, 3)
    fitted = ArrayDataset(x, [0]).fit(plan((3, 3)))
    ((batch, _),) = fitted.batches(size=1, seed=None)
    np.testing.assert_array_equal(batch, x)


def test_what_does_not_fit_is_refused_with_both_shapes() -> None:
    data = ArrayDataset(np.zeros((2, 7, 7)), np.zeros(2, np.int64))
    with pytest.raises(Misuse, match=r"\(7, 7\).*\(1, 8, 8\)"):
        data.fit(plan((1, 8, 8)))
    with pytest.raises(Misuse, match=r"float64.*uint8"):
        data.fit(plan((7, 7), dtype="uint8"))
    with pytest.raises(Misuse, match=r"target.*float64"):
        ArrayDataset(np.zeros((2, 3)), np.zeros(2)).fit(plan((3,)))
    with pytest.raises(Misuse, match="300"):
        ArrayDataset(np.full((2, 3), 300), [0, 1]).fit(plan((3,), dtype="uint8"))
    with pytest.raises(Misuse, match="NaN"):
        ArrayDataset(np.array([[0, np.nan, 1]]), [0]).fit(plan((3,)))


@pytest.mark.parametrize("label", [-1, 10])
def test_a_label_outside_the_classes_is_refused(label: int) -> None:
    with pytest.raises(Misuse, match="classes 0 to 9"):
        ArrayDataset(np.zeros((2, 3)), [0, label]).fit(plan((3,)))


def test_arrays_that_are_no_examples_are_refused() -> None:
    pairs: list[tuple[ArrayLike, ArrayLike]] = [([1, 2], [1]), ([], []), (5, 5), (["a"], [1])]
    for x, y in pairs:
        with pytest.raises(Misuse):
            ArrayDataset(x, y)
    with pytest.raises(Misuse):
        next(numbered(3).batches(size=0, seed=None))


# ---------------------------------------------------------------------- files


@pytest.fixture
def shared_file(tmp_path: Path) -> Path:
    path = tmp_path / "shared.npz"
    np.savez_compressed(
        path,
        x_train=np.arange(24, dtype=np.uint8).reshape(6, 2, 2),
        y_train=np.array([0, 1, 2, 0, 1, 2], np.uint8),
        user_train=np.array([7, 7, 8, 8, 8, 9], np.int16),
        x_test=np.zeros((2, 2, 2), np.uint8),
        y_test=np.array([1, 2], np.uint8),
        meta=np.array("{}"),
    )
    return path


def test_splits_and_users_are_read(shared_file: Path) -> None:
    assert len(load_npz(shared_file)) == 6
    assert len(load_npz(shared_file, split="test")) == 2
    ((x, y),) = load_npz(shared_file, user=8).batches(size=9, seed=None)
    np.testing.assert_array_equal(x[:, 0, 0], [8, 12, 16])
    np.testing.assert_array_equal(y, [2, 0, 1])
    assert x.dtype == np.uint8
    ((x, _),) = load_npz(shared_file, fit=plan((1, 2, 2))).batches(size=9, seed=None)
    assert x.shape == (6, 1, 2, 2)


def test_a_plain_shard_is_the_train_split(tmp_path: Path) -> None:
    path = tmp_path / "shard.npz"
    np.savez(path, x=np.zeros((3, 4)), y=np.zeros(3))
    assert len(load_npz(path)) == 3
    with pytest.raises(Misuse, match="x_test"):
        load_npz(path, split="test")


def test_what_is_asked_for_and_not_there_is_named(shared_file: Path, tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="user 3"):
        load_npz(shared_file, user=3)
    with pytest.raises(Misuse, match="user_test"):
        load_npz(shared_file, split="test", user=7)
    with pytest.raises(Misuse, match="cannot read"):
        load_npz(tmp_path / "missing.npz")


def archive(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, body in members.items():
            file.writestr(f"{name}.npy", body)
    return buffer.getvalue()


def npy(
    array: np.ndarray[tuple[int, ...], np.dtype[np.generic]], *, pickled: bool = False
) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


def test_nothing_is_unpickled_and_no_header_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    y = npy(np.zeros(2))
    honest = npy(np.zeros((2, 3)))
    for x in (
        npy(np.array([{}, {}], object), pickled=True),
        honest.replace(b"(2, 3)", b"(9, 9)"),  # more than there is
        honest.replace(b"'<f8'", b"'|O'  "[:5]),
        honest[:40],
        b"",
        b"\x93NUMPY\x07\x00",
    ):
        path.write_bytes(archive(x=x, y=y))
        with pytest.raises(Malformed):
            load_npz(path)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_bytes_give_examples_or_malformed_or_misuse(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = bytearray(archive(x=npy(np.zeros((2, 3))), y=npy(np.zeros(2))))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    with contextlib.suppress(Malformed, Misuse):
        load_npz(path)
