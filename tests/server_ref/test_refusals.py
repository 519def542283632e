"""Promise: bad input on any route gets the documented refusal, and the round goes on unharmed."""

import asyncio
import contextlib
import dataclasses
import gzip
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from edge_sdk.errors import Reason, Refused
from edge_sdk.protocol import (
    CHECK_IN,
    COMMIT,
    DECLINE,
    ENROL,
    HEALTH,
    HTTP_STATUS,
    MODEL,
    PLAN,
    RUN,
    RUNS,
    UPDATE,
    dump_json,
    load_json,
)
from edge_sdk.values import CheckIn, Commit, Decline, Enrol, Finished, Refusal, Task
from edge_sdk.wire import Kind, pack, unpack
from server_ref.app import Listening
from server_ref.store import Database, Folder, identities
from tests.server_ref.serving import (
    DIMENSION,
    ScriptedDevice,
    delta,
    device,
    frames_for,
    http,
    relabelled,
    serving,
    small_plan,
    unpack_snapshot,
)

RANDOM = np.random.Generator(np.random.PCG64(5)).bytes(3000)
STRANGER = "A" * 43


@dataclasses.dataclass(frozen=True)
class Scene:
    """A server with an open round: `a` has work, `b` has work too, `c` has none."""

    at: Listening
    a: ScriptedDevice
    b: ScriptedDevice
    task: Task
    other_task: Task

    def path(self, template: str, **changes: object) -> str:
        """A path of this run and round, with `changes`."""
        fields: dict[str, object] = {
            "run": self.task.run, "round": 1, "version": 0, "digest": self.task.plan,
        }  # fmt: skip
        return template.format(**(fields | changes))

    def token(self, who: str) -> str:
        """What `who` shows."""
        tokens = {"a": self.a.token, "b": self.b.token, "operator": self.at.opened.operator_token}
        return tokens.get(who, who)


@contextlib.asynccontextmanager
async def scene(state: Path, *, silence_s: float = 60.0) -> AsyncIterator[Scene]:
    limits = {"silence_s": silence_s, "header_timeout_s": silence_s}
    async with (
        serving(state, **limits) as at,  # type: ignore[arg-type]  # settings, checked there
        device(at, 0) as a,
        device(at, 1) as b,
    ):
        yield Scene(at, a, b, await a.task(), await b.task())


async def ask(
    scene: Scene,
    method: str,
    path: str,
    *,
    who: str = "",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, Refusal]:
    """One request, which is expected to be refused."""
    async with http(scene.at, scene.token(who)) as client:
        return await _refusal(client, method, path, body, headers)


async def _refusal(
    client: aiohttp.ClientSession,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
) -> tuple[int, Refusal]:
    async with client.request(method, path, data=body, headers=headers) as response:
        content = await response.read()
        assert response.content_type == "application/json", content
        return response.status, load_json(Refusal, content)


def _check(answer: tuple[int, Refusal], reason: Reason) -> None:
    status, refusal = answer
    assert (refusal.reason, status) == (reason.value, HTTP_STATUS[reason]), refusal


async def _still_sound(scene: Scene) -> None:
    """Both devices finish the round, and its model is what they alone make of it."""
    for one, task in ((scene.a, scene.task), (scene.b, scene.other_task)):
        frames = one.frames(task)
        await one.transport.upload(task, frames)
        await one.commit(task, frames)
    following = await scene.a.task()
    assert following.model_version == 1
    data = await scene.a.transport.model(following.run, 1, have=None)
    step = (10 * delta(0).astype(np.float64) + 11 * delta(1).astype(np.float64)) / 21
    expected = (small_plan().initial_weights().astype(np.float64) + step).astype(np.float32)
    assert np.allclose(unpack_snapshot(data, dimension=DIMENSION), expected, atol=1e-7)


# ------------------------------------------------------------------ every route: method, token

DEVICE_ROUTES = [
    ("POST", CHECK_IN), ("GET", PLAN), ("GET", MODEL), ("POST", UPDATE), ("GET", UPDATE),
    ("POST", COMMIT), ("POST", DECLINE),
]  # fmt: skip
OPERATOR_ROUTES = [("GET", RUNS), ("GET", RUN)]
ALL_ROUTES = [*DEVICE_ROUTES, *OPERATOR_ROUTES, ("POST", ENROL), ("GET", HEALTH)]
BODY_ROUTES = [ENROL, CHECK_IN, COMMIT, DECLINE]


async def test_wrong_methods(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        known = {path: {m for m, p in ALL_ROUTES if p == path} for _, path in ALL_ROUTES}
        for path, methods in known.items():
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - methods:
                answer = await ask(s, method, s.path(path), who="a")
                _check(answer, Reason.METHOD_NOT_ALLOWED)
        await _still_sound(s)


async def test_wrong_tokens(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        for method, path in DEVICE_ROUTES:
            strangers = ["", STRANGER, "ä", "x" * 5000]
            strangers += [] if path == PLAN else ["operator"]  # who takes it for the export
            for who in strangers:
                _check(await ask(s, method, s.path(path), who=who), Reason.UNAUTHORISED)
        for method, path in OPERATOR_ROUTES:
            for who in ("", STRANGER, "a", "ä" * 30):
                _check(await ask(s, method, s.path(path), who=who), Reason.UNAUTHORISED)
        for header in ("", "Bearer", "Basic abc", s.a.token):
            answer = await ask(s, "POST", CHECK_IN, body=b"{}", Authorization=header)
            _check(answer, Reason.UNAUTHORISED)
        await _still_sound(s)


async def test_unknown_paths_runs_versions_and_plans(tmp_path: Path) -> None:
    paths = [
        "/v1", "/v1/nothing", "/v1/runs/", "/v2/check-in", "/v1/plans/../../etc/passwd",
        PLAN.format(digest="0" * 64), PLAN.format(digest="..%2f..%2fetc%2fpasswd"),
        MODEL.format(run="0" * 16, version=0), MODEL.format(run="..", version=0),
    ]  # fmt: skip
    async with scene(tmp_path) as s:
        paths += [s.path(MODEL, version=v) for v in (1, 99, "x", "-1", "9" * 30, "0x1", "٣")]
        paths += [
            s.path(UPDATE, run="f" * 16),
            s.path(UPDATE, round="one"),
            s.path(UPDATE, round=""),
        ]
        for path in paths:
            _check(await ask(s, "GET", path, who="a"), Reason.NOT_FOUND)
        _check(await ask(s, "GET", s.path(RUN, run="0" * 16), who="operator"), Reason.NOT_FOUND)
        _check(await ask(s, "POST", s.path(COMMIT, run="0" * 16), who="a"), Reason.NOT_FOUND)
        _check(await ask(s, "GET", s.path(MODEL) + "?have=x", who="a"), Reason.MALFORMED)
        await _still_sound(s)


# ------------------------------------------------------------------ JSON bodies


def _bad_json() -> Iterator[tuple[str, bytes, Reason]]:
    yield "empty", b"", Reason.MALFORMED
    yield "truncated", b'{"wait_s": 1', Reason.MALFORMED
    yield "random", RANDOM, Reason.MALFORMED
    yield "another type", b"[1, 2]", Reason.MALFORMED
    yield "unknown field", b'{"surprise": 1}', Reason.MALFORMED
    yield "deep", b"[" * 30_000, Reason.MALFORMED
    yield "oversized", b'{"a": "' + b"x" * 70_000 + b'"}', Reason.TOO_LARGE


async def test_bad_json_on_every_route_that_reads_it(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        for path in BODY_ROUTES:
            for name, body, reason in _bad_json():
                if (path, name) == (CHECK_IN, "empty"):
                    continue
                answer = await ask(s, "POST", s.path(path), who="a", body=body)
                _check(answer, reason)
        await _still_sound(s)


async def test_compressed_bodies_are_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    async with scene(tmp_path) as s:
        for path in (*BODY_ROUTES, UPDATE):
            answer = await ask(
                s, "POST", s.path(path), who="a", body=bomb, **{"Content-Encoding": "gzip"}
            )
            _check(answer, Reason.MALFORMED)
        await _still_sound(s)


async def test_values_out_of_range(tmp_path: Path) -> None:
    commit = {"chunks": 4, "examples": 10, "codec": "float32"}
    wrong: list[tuple[str, dict[str, object]]] = [
        (CHECK_IN, {"wait_s": -1}), (CHECK_IN, {"wait_s": 1e9}), (CHECK_IN, {"wait_s": "1"}),
        (CHECK_IN, {"holds_version": 2**60}), (CHECK_IN, {"holds_run": "../../x"}),
        (COMMIT, commit | {"examples": 0}), (COMMIT, commit | {"examples": -5}),
        (COMMIT, commit | {"examples": 2**33}), (COMMIT, commit | {"chunks": 0}),
        (COMMIT, commit | {"chunks": 10**6}), (COMMIT, commit | {"codec": "float32\n"}),
        (COMMIT, commit | {"costs": [{}] * 17}), (DECLINE, {"why": "x" * 201}),
        (ENROL, {"join_token": "short"}),
    ]  # fmt: skip
    async with scene(tmp_path) as s:
        for path, message in wrong:
            body = json.dumps(message).encode()
            answer = await ask(s, "POST", s.path(path), who="a", body=body)
            _check(answer, Reason.MALFORMED)
        body = json.dumps(commit).replace("10", "NaN").encode()
        _check(await ask(s, "POST", s.path(COMMIT), who="a", body=body), Reason.MALFORMED)
        await _still_sound(s)


async def test_join_tokens_unknown_used_up_and_expired(tmp_path: Path) -> None:
    async with serving(tmp_path / "one", join_uses=1) as at:
        token = at.opened.join_token
        assert token is not None
        async with http(at) as client:
            for offered, reason in ((STRANGER, True), (token, False), (token, True)):
                body = dump_json(Enrol(join_token=offered))
                async with client.post(ENROL, data=body) as response:
                    assert (response.status == 401) == reason
                    assert offered not in await response.text()
    async with serving(tmp_path / "two", join_expires_s=1e-9) as at:
        with pytest.raises(Refused) as refused:
            async with device(at, 0):
                pass
        assert refused.value.reason is Reason.UNAUTHORISED


# ------------------------------------------------------------------ frames


def _flip(frames: list[bytes]) -> bytes:
    broken = bytearray(frames[0])
    broken[-1] ^= 1
    return bytes(broken)


def _other_header(**changes: object) -> Callable[[Scene], bytes]:
    return lambda s: b"".join(relabelled(s.a.frames(s.task), **changes))


BAD_UPLOADS: dict[str, tuple[Callable[[Scene], bytes], Reason]] = {
    "random bytes": (lambda s: RANDOM, Reason.MALFORMED),  # noqa: ARG005
    "json": (lambda s: b"{}" * 60, Reason.MALFORMED),  # noqa: ARG005
    "truncated": (lambda s: s.a.frames(s.task)[0][:-1], Reason.MALFORMED),
    "header cut off": (lambda s: s.a.frames(s.task)[0][:20], Reason.MALFORMED),
    "a flipped bit": (lambda s: _flip(s.a.frames(s.task)), Reason.MALFORMED),
    "frame over chunk_bytes": (
        lambda s: frames_for(dataclasses.replace(s.task, chunk_bytes=4096), delta(0))[0],
        Reason.TOO_LARGE,
    ),
    "body over all need": (lambda s: b"".join(s.a.frames(s.task)) * 9, Reason.TOO_LARGE),
    "another device's": (lambda s: s.b.frames(s.other_task)[0], Reason.MISMATCH),
    "another seed": (_other_header(seed=1), Reason.MISMATCH),
    "another round": (_other_header(number=2), Reason.MISMATCH),
    "another run": (_other_header(run="0" * 16), Reason.MISMATCH),
    "another stage": (_other_header(stage=1), Reason.MISMATCH),
    "a model": (_other_header(kind=Kind.SNAPSHOT, examples=0), Reason.MISMATCH),
    "another dimension": (
        lambda s: b"".join(frames_for(s.task, np.ones(DIMENSION + 1, np.float32))),
        Reason.MISMATCH,
    ),
    "a codec not offered": (
        lambda s: b"".join(frames_for(s.task, delta(0), codec="float16")),
        Reason.MISMATCH,
    ),
    "an unknown codec": (_other_header(codec=250), Reason.MISMATCH),
    "far too many chunks": (_other_header(count=60_000), Reason.MISMATCH),
}


@pytest.mark.parametrize("name", BAD_UPLOADS)
async def test_bad_uploads(name: str, tmp_path: Path) -> None:
    make, reason = BAD_UPLOADS[name]
    async with scene(tmp_path) as s:
        _check(await ask(s, "POST", s.path(UPDATE), who="a", body=make(s)), reason)
        assert (await s.a.transport.progress(s.task)).held == ()
        await _still_sound(s)


async def test_whole_frames_before_a_bad_one_are_kept(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        frames = s.a.frames(s.task)
        body = frames[0] + frames[1] + RANDOM
        _check(await ask(s, "POST", s.path(UPDATE), who="a", body=body), Reason.MALFORMED)
        assert (await s.a.transport.progress(s.task)).held == ((0, 2),)
        await _still_sound(s)


async def test_another_content_under_the_same_index_is_a_conflict(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        await s.a.transport.upload(s.task, s.a.frames(s.task)[:1])
        other = frames_for(s.task, delta(5))[0]
        _check(await ask(s, "POST", s.path(UPDATE), who="a", body=other), Reason.CONFLICT)
        await _still_sound(s)


async def test_chunks_of_two_updates_do_not_mix(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        await s.a.transport.upload(s.task, s.a.frames(s.task)[:1])
        for other in (
            frames_for(s.task, delta(0), examples=11),
            frames_for(s.task, delta(0), codec="eden:bits=4"),
        ):
            answer = await ask(s, "POST", s.path(UPDATE), who="a", body=other[-1])
            _check(answer, Reason.MISMATCH)
        await _still_sound(s)


async def test_rounds_that_are_not_open(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        body = dump_json(Decline(why="no"))
        answer = await ask(s, "POST", s.path(DECLINE, round=2), who="a", body=body)
        _check(answer, Reason.NOT_ADMITTED)
        for template in (UPDATE, COMMIT):
            body = b"".join(s.a.frames(s.task))
            if template == COMMIT:
                body = dump_json(Commit(chunks=4, examples=10, codec="float32"))
            answer = await ask(s, "POST", s.path(template, round=2), who="a", body=body)
            _check(answer, Reason.NOT_ADMITTED)
            answer = await ask(s, "POST", s.path(template, round=0), who="a", body=body)
            _check(answer, Reason.ROUND_CLOSED)
        await _still_sound(s)
        async with device(s.at, 2) as late:
            for template in (UPDATE, COMMIT):
                body = dump_json(Commit(chunks=4, examples=10, codec="float32"))
                answer = await ask(s, "POST", s.path(template), who=late.token, body=body)
                _check(answer, Reason.ROUND_CLOSED)
                answer = await ask(s, "GET", s.path(UPDATE), who=late.token)
                _check(answer, Reason.ROUND_CLOSED)
            answer = await ask(s, "GET", s.path(UPDATE, round=2), who=late.token)
            _check(answer, Reason.NOT_ADMITTED)


# ------------------------------------------------------------------ commits


async def test_bad_commits(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        good = Commit(chunks=len(s.a.frames(s.task)), examples=10, codec="float32")

        async def commit(**changes: object) -> tuple[int, Refusal]:
            body = dump_json(dataclasses.replace(good, **changes))  # type: ignore[arg-type]  # fields of Commit
            return await ask(s, "POST", s.path(COMMIT), who="a", body=body)

        _check(await commit(), Reason.INCOMPLETE)
        await s.a.transport.upload(s.task, s.a.frames(s.task))
        _check(await commit(examples=11), Reason.MISMATCH)
        _check(await commit(chunks=2), Reason.MISMATCH)
        _check(await commit(codec="eden:bits=4"), Reason.MISMATCH)
        await s.a.transport.commit(s.task, good)
        _check(await commit(examples=11), Reason.CONFLICT)
        await _still_sound(s)
        _check(await commit(examples=11), Reason.CONFLICT)


@pytest.mark.parametrize(
    ("value", "reason"),
    [(np.nan, Reason.NOT_FINITE), (np.inf, Reason.NOT_FINITE), (1e6, Reason.NOT_FINITE)],
)
async def test_unusable_updates_are_dropped_and_the_round_goes_on(
    value: float, reason: Reason, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        at = await stack.enter_async_context(serving(tmp_path, cohort=3, rounds=1))
        a, b, c, bad = [await stack.enter_async_context(device(at, n)) for n in range(4)]
        await a.task()
        task = await bad.task()
        frames = _with_value(task, value)
        await bad.transport.upload(task, frames)
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await bad.transport.commit(
                    task, Commit(chunks=len(frames), examples=10, codec="float32")
                )
            assert refused.value.reason is reason
        await a.take_part()
        await b.take_part()
        await c.take_part()
        end = await a.transport.check_in(CheckIn(wait_s=10))
        assert isinstance(end, Finished)
        data = await a.transport.model(end.run, 1, have=None)
    assert np.abs(unpack_snapshot(data, dimension=DIMENSION)).max() < 3


def _with_value(task: Task, value: float) -> list[bytes]:
    """An update whose first coordinate is `value`, which no codec would encode."""
    vector = np.ones(DIMENSION, np.float32)
    if np.isfinite(value):
        vector[0] = value
        return frames_for(task, vector)
    frames = frames_for(task, vector)
    first = unpack(frames[0])
    payload = np.float32(value).tobytes() + first.payload[4:]
    return [pack(dataclasses.replace(first, payload=payload)), *frames[1:]]


async def test_a_revoked_device_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, device(at, 0) as a:
        token = a.token
    database = Database(Folder(tmp_path).database)
    (one,) = database.read(identities.devices)
    database.write(lambda c: identities.revoke_device(c, one[2])).result()
    database.close()
    async with serving(tmp_path) as at, device(at, 0, token=token) as a:
        with pytest.raises(Refused) as refused:
            await a.task()
        assert refused.value.reason is Reason.REVOKED


async def test_connections_that_stay_silent_do_not_stop_others(tmp_path: Path) -> None:
    async with scene(tmp_path) as s:
        port = int(s.at.url.rsplit(":", 1)[1])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
        for _, writer in idle:
            writer.write(b"POST /v1/check-in HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        await _still_sound(s)
        for _, writer in idle:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


HOSTILE = {
    "token in Latin-1": b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xe4"
    + b"x" * 30,
    "token of broken UTF-8": b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \xff",
    "token of emoji": "GET /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer 🦀".encode(),
    "bad chunk size": b"POST /v1/enrol HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "length and chunked": (
        b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked"
    ),
    "negative length": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nContent-Length: -5",
    "broken escapes in the path": b"GET /v1/runs/%ff%fe%zz HTTP/1.1\r\nHost: x",
    "broken UTF-8 in the path": b"GET /v1/runs/\xff\xfe HTTP/1.1\r\nHost: x",
    "a strange expectation": b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nExpect: miracles",
    "an unknown method": b"BREW /v1/enrol HTTP/1.1\r\nHost: x",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "a long header": b"GET /v1/runs HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 100_000,
}


async def test_no_stranger_gets_a_server_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with scene(tmp_path) as s:
        port = int(s.at.url.rsplit(":", 1)[1])
        for name, head in HOSTILE.items():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(head + b"\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                status = await reader.readline()
            assert status.split()[1].startswith(b"4"), (name, status)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await _still_sound(s)
    assert [r.getMessage() for r in caplog.records if r.exc_info] == []


@pytest.mark.parametrize(("silence_s", "drip_s"), [(0.1, None), (0.3, 0.05)])
async def test_a_body_that_comes_too_slowly_is_given_up_for_later(
    silence_s: float, drip_s: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_ref.api.exchange.SLOWEST_BYTES_PER_S", 1e9)
    async with scene(tmp_path, silence_s=silence_s) as s:
        port = int(s.at.url.rsplit(":", 1)[1])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST {s.path(UPDATE)} HTTP/1.1\r\nHost: x\r\nContent-Length: 3000\r\n"
            f"Authorization: Bearer {s.a.token}\r\n\r\n".encode()
        )
        answer = asyncio.ensure_future(reader.readuntil(b"}"))
        while not answer.done():
            if drip_s is not None:
                writer.write(b"E")
            await asyncio.wait([answer], timeout=drip_s)
        head, _, body = answer.result().partition(b"\r\n\r\n")
        refusal = load_json(Refusal, body)
        assert refusal.reason == Reason.BUSY
        assert refusal.retry_after_s
        assert b"Retry-After" in head
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await _still_sound(s)


async def test_connections_beyond_the_most_are_cut_and_welcome_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server_ref.app.most_connections", lambda: 2)
    async with serving(tmp_path) as at:
        port = int(at.url.rsplit(":", 1)[1])
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        for reader, writer in idle:
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b"200" in await reader.readline()
        with pytest.raises(aiohttp.ClientConnectionError):
            async with http(at) as client, client.get(HEALTH):
                pass
        for _, writer in idle:
            writer.close()
            await writer.wait_closed()
        async with device(at, 0) as a:
            await a.task()
