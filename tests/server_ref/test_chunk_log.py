"""Promise: what was acknowledged is in the log, whatever the disk or the power does."""

import errno
import os
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_sdk.errors import Reason, Refused
from server_ref.store import ChunkLog, Entry

DEVICE = "ab" * 16
OTHER = "cd" * 16


def write(path: Path, *frames: bytes) -> list[Entry]:
    log = ChunkLog(path)
    entries = [log.append(DEVICE, frame).result(10) for frame in frames]
    log.close()
    return entries


def frames_in(path: Path) -> list[bytes]:
    log = ChunkLog(path)
    frames = [log.read(entry) for entry in log.entries()]
    log.close()
    return frames


class Disk:
    """An fsync that can be held back, counted and made to fail."""

    def __init__(self) -> None:
        self.calls = 0
        self.failure: OSError | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def sync(self, handle: int) -> None:
        """See `Sync`."""
        assert self.may_go_on.wait(10)
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        os.fsync(handle)


def test_frames_come_back_in_order_with_their_owner(tmp_path: Path) -> None:
    log = ChunkLog(tmp_path / "deep" / "1.log")
    first = log.append(DEVICE, b"one").result(10)
    second = log.append(OTHER, b"two" * 1000).result(10)
    assert (log.read(first), log.read(second)) == (b"one", b"two" * 1000)
    log.close()
    again = ChunkLog(tmp_path / "deep" / "1.log")
    assert list(again.entries()) == [first, second]
    assert [entry.device for entry in again.entries()] == [DEVICE, OTHER]
    assert again.append(DEVICE, b"three").result(10).offset > second.offset
    again.close()


def test_nothing_is_acknowledged_before_it_is_synced(tmp_path: Path) -> None:
    disk = Disk()
    log = ChunkLog(tmp_path / "1.log", sync=disk.sync)
    disk.may_go_on.clear()
    waiting = log.append(DEVICE, b"x")
    with pytest.raises(TimeoutError):
        waiting.result(0.05)
    disk.may_go_on.set()
    assert waiting.result(10).size == 1
    log.close()


def test_uploads_that_arrive_together_share_one_sync(tmp_path: Path) -> None:
    disk = Disk()
    log = ChunkLog(tmp_path / "1.log", sync=disk.sync)
    disk.may_go_on.clear()
    first = log.append(DEVICE, b"x")
    while log._queue.qsize():
        pass
    crowd = [log.append(DEVICE, b"%d" % n) for n in range(50)]
    before = disk.calls
    disk.may_go_on.set()
    entries = [one.result(10) for one in (first, *crowd)]
    assert disk.calls - before <= 2
    assert [e.offset for e in entries] == sorted(e.offset for e in entries)
    log.close()


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_torn_tail_is_cut_off_and_what_is_before_it_stays(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "1.log"
    path.unlink(missing_ok=True)
    frames = [b"first" * 5, b"second" * 7, b"third" * 9]
    entries = write(path, *frames)
    whole = path.read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    path.write_bytes(whole[:cut] + data.draw(st.binary(max_size=40)))
    complete = [f for f, e in zip(frames, entries, strict=True) if e.offset + e.size <= cut]
    found = frames_in(path)
    assert found[: len(complete)] == complete
    assert len(found) in {len(complete), len(complete) + (cut == len(whole))}
    write(path, b"after")
    assert frames_in(path) == [*found, b"after"]


def test_a_flipped_bit_is_not_handed_out(tmp_path: Path) -> None:
    path = tmp_path / "1.log"
    log = ChunkLog(path)
    entry = log.append(DEVICE, b"precious").result(10)
    with path.open("r+b") as file:
        file.seek(entry.offset)
        file.write(b"P")
    with pytest.raises(Refused) as refused:
        log.read(entry)
    assert refused.value.reason is Reason.STORAGE
    log.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_disk_refuses_and_a_later_try_works(code: int, tmp_path: Path) -> None:
    disk = Disk()
    path = tmp_path / "1.log"
    log = ChunkLog(path, sync=disk.sync)
    kept = log.append(DEVICE, b"kept").result(10)
    disk.failure = OSError(code, "no")
    with pytest.raises(Refused) as refused:
        log.append(DEVICE, b"lost").result(10)
    assert refused.value.reason is Reason.STORAGE
    assert refused.value.retry_after_s is not None
    disk.failure = None
    later = log.append(DEVICE, b"later").result(10)
    assert log.read(kept) == b"kept"
    assert log.read(later) == b"later"
    log.close()
    assert frames_in(path) == [b"kept", b"later"]


def test_close_finishes_what_was_queued(tmp_path: Path) -> None:
    log = ChunkLog(tmp_path / "1.log")
    queued: list[Future[Entry]] = [log.append(DEVICE, b"x" * 100) for _ in range(200)]
    log.close()
    assert all(one.done() for one in queued)
    assert len(frames_in(tmp_path / "1.log")) == 200
