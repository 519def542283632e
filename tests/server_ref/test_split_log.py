"""Promises of a split session's log and result: what was kept is there, a torn tail is not."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.errors import Reason, Refused
from server_ref.split.results import Results
from server_ref.split.session_log import SessionLog


def filled(path: Path) -> SessionLog:
    log = SessionLog(path)
    log.begin(7)
    for message in (b"one", b"", b"three" * 100):
        log.append(message)
    return log


def test_what_was_kept_is_read(tmp_path: Path) -> None:
    filled(tmp_path / "new" / "a.session")
    assert SessionLog(tmp_path / "new" / "a.session").read() == (7, [b"one", b"", b"three" * 100])
    assert SessionLog(tmp_path / "b.session").read() is None


@pytest.mark.parametrize("cut", [1, 100, 507])
def test_a_torn_record_is_cut_off_by_the_next(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a.session"
    filled(path)
    os.truncate(path, path.stat().st_size - cut)
    log = SessionLog(path)
    assert log.read() == (7, [b"one", b""])
    log.append(b"again")
    assert SessionLog(path).read() == (7, [b"one", b"", b"again"])


def test_a_flipped_bit_ends_the_log_there(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    filled(path)
    data = bytearray(path.read_bytes())
    data[20] ^= 1
    path.write_bytes(data)
    assert SessionLog(path).read() == (7, [])
    path.write_bytes(b"nonsense")
    assert SessionLog(path).read() is None


def test_a_new_attempt_throws_the_old_away(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    filled(path).begin(8)
    assert SessionLog(path).read() == (8, [])


def test_a_full_disk_is_refused_and_nothing_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.session"
    full = False

    def sync(handle: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "full")
        os.fsync(handle)

    log = SessionLog(path, sync=sync)
    log.begin(1)
    log.append(b"kept")
    full = True
    with pytest.raises(Refused) as refused:
        log.append(b"lost")
    assert refused.value.reason is Reason.STORAGE
    full = False
    log.append(b"later")
    assert SessionLog(path).read() == (1, [b"kept", b"later"])


def test_results_are_whole_or_incomplete(tmp_path: Path) -> None:
    results = Results(tmp_path, 4)
    with pytest.raises(Refused) as refused:
        results.read("aa")
    assert refused.value.reason is Reason.INCOMPLETE
    change = np.array([1, -2, 0.5, 3], np.float32)
    results.write("aa", change)
    np.testing.assert_array_equal(results.read("aa"), change)
    path = tmp_path / "aa.result"
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    with pytest.raises(Refused):
        results.read("aa")
    results.drop("aa")
    results.drop("aa")
    with pytest.raises(Refused):
        results.read("aa")
