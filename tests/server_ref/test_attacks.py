"""Promise: what an attacker can send is refused as documented, and memory stays bounded.

The table of `docs/security.md` names these tests and those of `test_refusals.py`. Memory is that of
the whole test process, so an attack's own buffers are in it; it is measured coarsely.
"""

import asyncio
import contextlib
import io
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from edge_sdk.errors import Malformed, Reason, Refused
from edge_sdk.plan import load_plan
from edge_sdk.protocol import (
    CHECK_IN,
    COMMIT,
    DECLINE,
    DEVICE_REVOKE,
    ENROL,
    HTTP_STATUS,
    MODEL,
    PLAN,
    RUN,
    UPDATE,
    WEIGHTS,
    dump_json,
    load_json,
)
from edge_sdk.values import CheckIn, Commit, Decline, Finished, Refusal
from edge_sdk.wire import HEADER_BYTES, unpack
from edge_sdk.wire.frame import HEADER
from tests.server_ref.serving import (
    DIMENSION,
    device,
    frames_for,
    http,
    relabelled,
    serving,
    unpack_snapshot,
)
from tests.server_ref.test_refusals import Scene, ask, scene

ROOM_BYTES = 48 << 20
"""What an attack may add to the process, where without a bound it would add ten times as much."""


def resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def contents(folder: Path) -> bytes:
    """All files of a folder, one after another."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def check(answer: tuple[int, Refusal], reason: Reason) -> None:
    status, refusal = answer
    assert (refusal.reason, status) == (reason.value, HTTP_STATUS[reason]), refusal


def commit_of(s: Scene, *, examples: int = 10) -> bytes:
    return dump_json(Commit(chunks=len(s.a.frames(s.task)), examples=examples, codec="float32"))


async def take_part(s: Scene) -> None:
    """Both devices of the scene finish the round."""
    for one, task in ((s.a, s.task), (s.b, s.other_task)):
        frames = one.frames(task)
        await one.transport.upload(task, frames)
        await one.commit(task, frames)


# ------------------------------------------------------------------ tokens


async def test_a_revoked_token_stops_working_on_every_path_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        await s.a.transport.upload(s.task, s.a.frames(s.task)[:1])
        mine, _ = s.at.opened.coordinator.devices.device_of(s.a.token)
        revoke = DEVICE_REVOKE.format(device=mine)
        async with http(s.at, s.token("operator")) as client, client.post(revoke) as response:
            assert response.status == 200
        bodies = {
            CHECK_IN: b"{}", UPDATE: s.a.frames(s.task)[1], COMMIT: commit_of(s),
            DECLINE: dump_json(Decline(why="no")),
        }  # fmt: skip
        for path, body in bodies.items():
            check(await ask(s, "POST", s.path(path), who="a", body=body), Reason.REVOKED)
        for path in (PLAN, MODEL, UPDATE):
            check(await ask(s, "GET", s.path(path), who="a"), Reason.REVOKED)
        await s.b.transport.upload(s.other_task, s.b.frames(s.other_task))


async def test_tokens_are_neither_logged_nor_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    wrong = "Z" * 43
    async with scene(tmp_path) as s:
        check(await ask(s, "POST", CHECK_IN, who=wrong), Reason.UNAUTHORISED)
        check(await ask(s, "GET", s.path(RUN), who="a"), Reason.UNAUTHORISED)
        body = b'{"join_token": "' + wrong.encode() + b'"}'
        check(await ask(s, "POST", ENROL, body=body), Reason.UNAUTHORISED)
        devices = [s.a.token, s.b.token]
        secrets = [*devices, s.at.opened.operator_token, s.at.opened.join_token or "", wrong]
    kept = contents(tmp_path)
    for secret in secrets:
        assert secret not in caplog.text
    for secret in devices:
        assert secret.encode() not in kept, "only a hash is kept"


# ------------------------------------------------------------------ replays, other devices


async def test_a_replayed_round_counts_once_and_not_in_the_next(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        frames = s.a.frames(s.task)
        await take_part(s)
        first = await s.a.transport.commit(
            s.task, Commit(chunks=len(frames), examples=10, codec="float32")
        )
        following = await s.a.task()
        assert following.round == 2
        body = b"".join(frames)
        answer = await ask(s, "POST", s.path(UPDATE), who="a", body=body)
        check(answer, Reason.ROUND_CLOSED)
        answer = await ask(s, "POST", s.path(UPDATE, round=2), who="a", body=body)
        check(answer, Reason.MISMATCH)
        moved = b"".join(relabelled(frames, number=2))
        answer = await ask(s, "POST", s.path(UPDATE, round=2), who="a", body=moved)
        check(answer, Reason.MISMATCH)
        answer = await ask(s, "POST", s.path(COMMIT, round=2), who="a", body=commit_of(s))
        check(answer, Reason.INCOMPLETE)
        again = await s.a.transport.commit(
            s.task, Commit(chunks=len(frames), examples=10, codec="float32")
        )
        assert again == first


async def test_a_device_cannot_speak_for_another(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        await s.a.transport.upload(s.task, s.a.frames(s.task))
        answer = await ask(s, "POST", s.path(COMMIT), who="b", body=commit_of(s))
        check(answer, Reason.INCOMPLETE)
        answer = await ask(s, "POST", s.path(UPDATE), who="b", body=s.a.frames(s.task)[0])
        check(answer, Reason.MISMATCH)
        async with device(s.at, 2) as stranger:
            for path, body in ((COMMIT, commit_of(s)), (DECLINE, dump_json(Decline(why="no")))):
                answer = await ask(s, "POST", s.path(path), who=stranger.token, body=body)
                check(answer, Reason.NOT_ADMITTED)
            body = s.a.frames(s.task)[0]
            answer = await ask(s, "POST", s.path(UPDATE), who=stranger.token, body=body)
            check(answer, Reason.MISMATCH)
        assert len((await s.a.transport.progress(s.task)).held) == 1, "untouched"
        await take_part(s)


# ------------------------------------------------------------------ bombs and floods


def test_a_plan_that_would_unpack_to_a_gigabyte_is_not_unpacked() -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (64 << 20))
    claim = bytearray(bomb.getvalue())
    claim[22:26] = (2**32 - 1).to_bytes(4, "little")
    stored = io.BytesIO()
    with zipfile.ZipFile(stored, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("manifest.json", b"[" * 500_000)
    tracemalloc.start()
    for data in (bomb.getvalue(), bytes(claim), stored.getvalue()):
        with pytest.raises(Malformed):
            load_plan(data)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 16 << 20


CLAIMS = {
    "two thousand million coordinates": {"dimension": 2**31},
    "all chunks there can be": {"count": 65_535},
    "a stage far off": {"stage": 254},
}


@pytest.mark.parametrize("name", CLAIMS)
async def test_headers_that_claim_much_allocate_nothing(name: str, tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        body = relabelled(s.a.frames(s.task), **CLAIMS[name])[0]
        before = resident_bytes()
        answer = await ask(s, "POST", s.path(UPDATE), who="a", body=body)
        check(answer, Reason.MISMATCH)
        assert resident_bytes() - before < ROOM_BYTES
        await take_part(s)


async def test_a_payload_length_of_four_gigabytes_is_refused_at_the_header(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        fields = list(HEADER.unpack(s.a.frames(s.task)[0][:HEADER_BYTES]))
        fields[-2] = 2**32 - 1
        body = HEADER.pack(*fields) + b"x" * 100
        answer = await ask(s, "POST", s.path(UPDATE), who="a", body=body)
        check(answer, Reason.TOO_LARGE)
        await take_part(s)


async def flood(piece: bytes, *, most: int) -> AsyncIterator[bytes]:
    """`piece` again and again, without a length said beforehand."""
    for _ in range(most // len(piece)):
        yield piece


@pytest.mark.parametrize("path", [CHECK_IN, COMMIT, UPDATE])
async def test_an_endless_body_is_cut_off_at_its_limit(path: str, tmp_path: Path) -> None:
    """JSON without end, or the same valid chunk a million times over."""
    async with scene(tmp_path) as s:
        piece = s.a.frames(s.task)[0] if path == UPDATE else b'{"wait_s": 1, ' * 1000
        before = resident_bytes()
        async with http(s.at, s.a.token) as client:
            try:
                async with client.post(s.path(path), data=flood(piece, most=1 << 30)) as response:
                    answer = response.status, load_json(Refusal, await response.read())
                check(answer, Reason.TOO_LARGE)
            except aiohttp.ClientConnectionError:
                pass  # cut before the answer could be read, as the peer goes on sending
        assert resident_bytes() - before < ROOM_BYTES
        await take_part(s)


async def test_a_million_chunks_of_one_update_are_not_taken(tmp_path: Path) -> None:
    """A count of a million has no room in a header; what has room is over the task's most."""
    async with scene(tmp_path) as s:
        first = unpack(s.a.frames(s.task)[0])
        for count in (1_000, 65_535):
            body = b"".join(
                relabelled([first.raw], count=count, index=index)[0] for index in range(10)
            )
            answer = await ask(s, "POST", s.path(UPDATE), who="a", body=body)
            check(answer, Reason.MISMATCH)
        check(
            await ask(s, "POST", s.path(COMMIT), who="a", body=b'{"chunks": 1000000}'),
            Reason.MALFORMED,
        )
        assert (await s.a.transport.progress(s.task)).held == ()
        await take_part(s)


# ------------------------------------------------------------------ slow and silent peers


@pytest.mark.parametrize("drip", [b"", b"X-Slow: 1\r\n"])
async def test_a_head_that_does_not_come_to_its_end_is_cut(drip: bytes, tmp_path: Path) -> None:
    async with serving(tmp_path, header_timeout_s=0.5) as at:
        port = int(at.url.rsplit(":", 1)[1])
        slow = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        for _, writer in slow:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n" if drip else b"")
        async with asyncio.timeout(20):
            for reader, writer in slow:
                await until_cut(reader, writer, drip)
        async with device(at, 0) as one:
            await one.take_part()


async def until_cut(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, drip: bytes
) -> None:
    """Go on sending a header line now and then until the other side hangs up."""
    ended = asyncio.ensure_future(reader.read())
    while not ended.done():
        with contextlib.suppress(ConnectionError):
            writer.write(drip)
        await asyncio.wait([ended], timeout=0.05)
    with contextlib.suppress(ConnectionError):
        assert ended.result() == b""
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()


async def test_a_connection_that_asked_something_may_be_silent_for_longer(tmp_path: Path) -> None:
    async with serving(tmp_path, header_timeout_s=0.3) as at:
        port = int(at.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(2):
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await reader.readuntil(b"}")
            await asyncio.sleep(0.5)
        writer.close()
        await writer.wait_closed()


# ------------------------------------------------------------------ paths


TRICKS = (
    "..%2f..", "%2e%2e", "%2e%2e%2f%2e%2e%2fstate.db", "a%00b", "%0d%0aX:y", "C:%5Cx", "~", "-1",
    "0x10", "1e3", "%D9%A3", "9" * 400, "%ff", ";ls", "'--", "%E2%80%AE1", "%252e%252e", "*", "%",
)  # fmt: skip
"""As they stand on the wire: nothing between here and the server makes them harmless."""


@pytest.mark.parametrize(
    ("template", "field", "who"),
    [
        (PLAN, "digest", "a"), (MODEL, "run", "a"), (MODEL, "version", "a"), (UPDATE, "run", "a"),
        (UPDATE, "round", "a"), (WEIGHTS, "version", "operator"), (RUN, "run", "operator"),
    ],
)  # fmt: skip
async def test_path_tricks_find_nothing(
    template: str, field: str, who: str, tmp_path: Path
) -> None:
    async with scene(tmp_path) as s:
        port = int(s.at.url.rsplit(":", 1)[1])
        for trick in TRICKS:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            path = s.path(template, **{field: trick})
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                f"Authorization: Bearer {s.token(who)}\r\n\r\n".encode()
            )
            async with asyncio.timeout(10):
                answer = await reader.read()
            assert answer.split()[1] in {b"400", b"404", b"405"}, (path, answer[:200])
            assert b"X:y" not in answer.partition(b"\r\n\r\n")[0]
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await take_part(s)


# ------------------------------------------------------------------ poisonous updates


@pytest.mark.parametrize("value", [np.nan, -np.inf, 3e38, 1e6])
@pytest.mark.parametrize("at_deadline", [False, True])
async def test_one_poisonous_update_neither_ends_nor_enters_a_round(
    value: float, at_deadline: bool, tmp_path: Path
) -> None:
    """Committed, or left lying until the deadline: it never counts, and the other one does."""
    async with (
        serving(tmp_path, round_deadline_s=2.0, rounds=1) as at,
        device(at, 0) as a,
        device(at, 1) as bad,
    ):
        task, other = await a.task(), await bad.task()
        frames = frames_for(other, np.ones(DIMENSION, np.float32))
        payload = np.float32(value).tobytes() + unpack(frames[0]).payload[4:]
        await bad.transport.upload(other, [*relabelled(frames[:1], payload=payload), *frames[1:]])
        if not at_deadline:
            commit = Commit(chunks=len(frames), examples=10, codec="float32")
            with pytest.raises(Refused) as refused:
                await bad.transport.commit(other, commit)
            assert refused.value.reason is Reason.NOT_FINITE
        await a.transport.upload(task, a.frames(task))
        await a.commit(task, a.frames(task))
        end = await a.transport.check_in(CheckIn(wait_s=20))
        assert isinstance(end, Finished)
        (only,) = (await at.opened.coordinator.summary()).rounds
        assert only.committed + only.partial == 1
        data = await a.transport.model(task.run, 1, have=None)
    assert np.abs(unpack_snapshot(data, dimension=DIMENSION)).max() < 3
