import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Malformed, Unavailable
from edge_sdk.runtime.records import (
    load_record,
    remove_durably,
    save_record,
    set_aside,
    write_atomically,
)


def test_a_record_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "record"
    save_record(path, b"header", [b"one", b"", b"two"])
    record = load_record(path)
    assert record is not None
    assert (record.header, record.body) == (b"header", b"onetwo")
    save_record(path, b"", [])
    assert load_record(path) is not None
    assert load_record(tmp_path / "none") is None


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    write_atomically(path, [b"token"])
    assert path.stat().st_mode & 0o777 == 0o600


@given(
    flips=st.lists(st.tuples(st.integers(0, 79), st.integers(1, 255)), max_size=3),
    size=st.integers(0, 90),
)
def test_anything_but_the_record_itself_is_malformed(
    flips: list[tuple[int, int]], size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    save_record(path, b"some header", [b"twenty-one bytes long"])
    whole = path.read_bytes()
    broken = bytearray(whole)
    for at, mask in flips:
        broken[at] ^= mask
    path.write_bytes(broken[:size] + b"\0" * max(0, size - len(broken)))
    if path.read_bytes() == whole:
        assert load_record(path) is not None
        return
    with pytest.raises(Malformed):
        load_record(path)


def test_lengths_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"ESR1" + b"\xff" * 12 + b"\0" * 32)
    with pytest.raises(Malformed):
        load_record(path)


def test_bytes_are_on_disk_before_the_name_is_and_the_name_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "record"
    events: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        folder = os.path.isdir(f"/proc/self/fd/{descriptor}")  # noqa: PTH112 - a descriptor's link
        events.append("fsync folder" if folder else "fsync file")
        fsync(descriptor)

    def watched_replace(self: Path, target: Path) -> Path:
        events.append("rename")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", watched_fsync)
    monkeypatch.setattr(Path, "replace", watched_replace)
    write_atomically(path, [b"bytes"])
    assert events == ["fsync file", "rename", "fsync folder"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "record"
    save_record(path, b"old", [])

    def parts() -> Iterator[bytes]:
        yield b"new"
        raise OSError(28, "No space left on device")

    with pytest.raises(Unavailable, match="No space left"):
        write_atomically(path, parts())
    record = load_record(path)
    assert record is not None
    assert record.header == b"old"
    assert list(tmp_path.iterdir()) == [path], "nothing half-written takes room"
    write_atomically(path, [b"again"])


def test_what_cannot_be_read_is_kept_for_a_person(tmp_path: Path) -> None:
    path = tmp_path / "record"
    path.write_bytes(b"rubbish")
    assert set_aside(path).read_bytes() == b"rubbish"
    assert not path.exists()
    remove_durably(path)
