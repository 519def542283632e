import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_sdk.errors import Unreachable
from edge_sdk.runtime.spool import Spool, TrainedUpdate, deliver, missing_chunks
from edge_sdk.testing import ScriptedServer
from edge_sdk.values import Commit, Progress, Task

TASK = Task(
    run="0123456789abcdef",
    round=4,
    plan="ab" * 32,
    model_version=3,
    codecs=("float32",),
    seed=9,
    deadline_s=100.0,
)
UPDATE = TrainedUpdate(
    TASK,
    Commit(chunks=3, examples=10, steps=2, loss=0.5, codec="float32", why="because"),
    (b"first", b"second", b"third one"),
)


def test_an_update_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "update.spool")
    assert spool.load() is None
    spool.save(UPDATE)
    assert Spool(tmp_path / "update.spool").load() == UPDATE
    spool.clear()
    assert spool.load() is None
    spool.clear()


@pytest.mark.parametrize("damage", ["empty", "garbage", "cut", "flipped", "other header"])
def test_a_damaged_spool_is_set_aside_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    path = tmp_path / "update.spool"
    spool = Spool(path)
    spool.save(UPDATE)
    whole = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "garbage": b"\xde\xad" * 100,
            "cut": whole[:-1],
            "flipped": whole[:200] + bytes([whole[200] ^ 1]) + whole[201:],
            "other header": whole.replace(b'"chunks":3', b'"chunks":2'),
        }[damage]
    )
    with caplog.at_level(logging.WARNING):
        assert spool.load() is None
    assert "set aside" in caplog.text
    assert (tmp_path / "update.spool.bad").exists()
    assert spool.load() is None
    spool.save(UPDATE)
    assert spool.load() == UPDATE


@given(
    count=st.integers(0, 50),
    held=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 2**53 - 1)), max_size=5),
)
def test_exactly_what_is_not_held_is_missing(count: int, held: list[tuple[int, int]]) -> None:
    expected = [i for i in range(count) if not any(a <= i < b for a, b in held)]
    assert missing_chunks(count, held) == expected


class Forgetful(ScriptedServer):
    """Answers every upload as if nothing had arrived."""

    async def upload(self, task: Task, frames: object) -> Progress:
        del task, frames
        return Progress(held=((0, 1),))


async def test_a_server_that_lacks_chunks_is_asked_again_later() -> None:
    with pytest.raises(Unreachable, match="lacks 2 of 3"):
        await deliver(Forgetful([TASK]), UPDATE, first_try=True)
