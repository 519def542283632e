"""A participation from check-in to receipt, over good links and bad ones."""

import asyncio
import dataclasses
import hashlib
import json
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from edge_sdk.adaptation import FixedPolicy
from edge_sdk.codecs import codec_from_spec
from edge_sdk.datasets import ArrayDataset
from edge_sdk.errors import Malformed, Misuse, Reason, Refused, Unreachable
from edge_sdk.interfaces import Transport
from edge_sdk.plan import Plan
from edge_sdk.runtime.client import Client
from edge_sdk.testing import (
    JOIN_TOKEN,
    Fault,
    FlakyTransport,
    ScriptedClock,
    ScriptedEngine,
    ScriptedSensor,
    ScriptedServer,
    scripted_plan,
    seeded_faults,
)
from edge_sdk.testing.codecs import decode_all
from edge_sdk.values import (
    CheckIn,
    Commit,
    Enrol,
    Enrolled,
    Finished,
    Progress,
    Receipt,
    Task,
    TrainSettings,
    Wait,
)

PLAN = scripted_plan(inputs=200, classes=3)
SIZE = 603
TARGET = np.linspace(-1, 1, SIZE).astype(np.float32)
X = np.linspace(0, 1, 4000).reshape(20, 200)
Y = np.arange(20) % 3
RUN = "0123456789abcdef"
TASK = Task(
    run=RUN,
    round=1,
    plan=hashlib.sha256(PLAN).hexdigest(),
    model_version=1,
    codecs=("float32",),
    seed=77,
    epochs=2,
    batch_size=8,
    deadline_s=3600.0,
    chunk_bytes=512,
)
CHUNKS = 6  # 603 float32 values in frames of at most 512 bytes


def task(number: int) -> Task:
    return dataclasses.replace(TASK, round=number, model_version=number, seed=70 + number)


def make_client(
    state: Path,
    transport: Transport,
    *,
    engine: ScriptedEngine | None = None,
    token: str | None = JOIN_TOKEN,
    clock: ScriptedClock | None = None,
    policy: FixedPolicy | None = None,
    data: tuple[ArrayLike, ArrayLike] = (X, Y),
) -> Client:
    trains = ScriptedEngine(TARGET) if engine is None else engine

    def make_engine(plan: Plan, stage: int, /, *, warm_up: bool = False) -> ScriptedEngine:
        del plan, stage, warm_up
        return trains

    return Client(
        "https://fl.example.org",
        token=token,
        data=data,
        state=state,
        seed=1,
        transport=transport,
        engine=make_engine,
        sensor=ScriptedSensor(),
        clock=ScriptedClock() if clock is None else clock,
        policy=policy,
    )


def server(*answers: Task | Wait) -> ScriptedServer:
    return ScriptedServer(answers, plan=PLAN)


# ---------------------------------------------------------------------- the straight line


async def test_one_participation_ends_in_a_receipt(tmp_path: Path) -> None:
    peer = server(TASK)
    engine = ScriptedEngine(TARGET)
    receipt = await make_client(tmp_path, peer, engine=engine).participate()
    assert receipt == Receipt(run=RUN, round=1, chunks=((0, CHUNKS),), examples=20)
    commit = peer.commit_of(1)
    assert (commit.chunks, commit.examples, commit.steps) == (CHUNKS, 20, 6)
    assert commit.codec == "float32"
    assert commit.why
    assert commit.loss is not None
    assert [cost.phase for cost in commit.costs] == ["wait", "download", "train", "encode"]
    assert np.all(np.sign(peer.update_of(1)) == np.sign(TARGET)), "the update leads to the target"
    assert not (tmp_path / "update.spool").exists()


async def test_the_update_is_new_minus_old(tmp_path: Path) -> None:
    old = np.full(SIZE, 0.25, np.float32)
    peer = ScriptedServer([TASK], plan=PLAN, weights=old)
    await make_client(tmp_path, peer).participate()
    data = ArrayDataset(X, Y, x_dtype=np.float32, y_dtype=np.int64)
    settings = TrainSettings(epochs=2, batch_size=8, learning_rate=0.1, seed=77)
    trained = ScriptedEngine(TARGET).train(old, data, settings)
    np.testing.assert_array_equal(peer.update_of(1), trained.weights - old)


async def test_nothing_to_do_is_none_and_the_answer_says_why(tmp_path: Path) -> None:
    client = make_client(tmp_path, server(Wait(retry_after_s=5.0, why="no round")))
    answers = []
    for _ in range(2):
        assert await client.participate() is None
        answers.append(client.answer)
    assert answers == [
        Wait(retry_after_s=5.0, why="no round"),
        Finished(run="0" * 16, model_version=0),
    ]


async def test_a_policy_that_sits_out_costs_no_download(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = FlakyTransport(server(TASK), [])
    client = make_client(tmp_path, link, policy=FixedPolicy(codec="float16"))
    with caplog.at_level(logging.INFO):
        assert await client.participate() is None
    assert [name for name, _ in link.calls] == ["enrol", "check_in", "decline"]
    assert "sits out" in caplog.text
    assert "float16" in caplog.text


async def test_codecs_of_a_later_release_are_passed_over(tmp_path: Path) -> None:
    newer = dataclasses.replace(TASK, codecs=("quantum:bits=0", "float16"))
    peer = server(newer)
    assert await make_client(tmp_path, peer).participate() is not None
    assert peer.commit_of(1).codec == "float16"
    only = server(dataclasses.replace(TASK, codecs=("quantum:bits=0",)))
    assert await make_client(tmp_path / "b", only).participate() is None


@pytest.mark.parametrize("spec", ["lowrank:rate=1", "fedzip:keep=0.25,k=4"])
async def test_codecs_that_know_tensors_are_given_those_of_the_plan(
    tmp_path: Path, spec: str
) -> None:
    plan = scripted_plan(inputs=64, classes=32)
    # One matrix of rank one, then biases a hundred times larger: who knows of neither codes badly.
    rng = np.random.default_rng(3)
    matrix = np.outer(rng.standard_normal(64), rng.standard_normal(32))
    target = np.concatenate([matrix.reshape(-1), 100 * rng.standard_normal(32)])
    offer = dataclasses.replace(
        TASK, plan=hashlib.sha256(plan).hexdigest(), codecs=(spec,), chunk_bytes=65536
    )
    peer = ScriptedServer([offer], plan=plan)
    engine = ScriptedEngine(target.astype(np.float32))
    client = make_client(tmp_path, peer, engine=engine, data=(X[:, :64], Y))
    assert await client.participate() is not None

    data = ArrayDataset(X[:, :64], Y, x_dtype=np.float32, y_dtype=np.int64)
    settings = TrainSettings(epochs=2, batch_size=8, learning_rate=0.1, seed=77)
    delta = engine.train(np.zeros(64 * 32 + 32, np.float32), data, settings).weights
    codec = codec_from_spec(spec)
    blind = decode_all(codec, codec.encode(delta, seed=77, chunk_bytes=65000), len(delta), 77)
    weights = slice(0, 64 * 32)

    def error(vector: NDArray[np.float32]) -> float:
        return float(np.sum((vector - delta)[weights] ** 2))

    assert error(peer.update_of(1)) < 0.5 * error(blind)


async def test_plan_and_identity_are_kept_across_restarts(tmp_path: Path) -> None:
    peer = server(task(1), task(2))
    first = FlakyTransport(peer, [])
    client = make_client(tmp_path, first)
    await client.participate()
    await client.close()
    second = FlakyTransport(peer, [])
    assert await make_client(tmp_path, second, token=None).participate() is not None
    names = [name for name, _ in second.calls]
    assert names == ["check_in", "progress", "model", "upload", "commit"]
    assert len(peer.devices) == 1


async def test_a_model_already_held_is_not_fetched_again(tmp_path: Path) -> None:
    peer = server(TASK, dataclasses.replace(TASK, round=2))  # the same version again
    link = FlakyTransport(peer, [])
    client = make_client(tmp_path, link)
    await client.participate()
    await client.participate()
    assert [name for name, _ in link.calls].count("model") == 1


async def test_the_model_held_is_kept_across_restarts_until_the_run_is_another(
    tmp_path: Path,
) -> None:
    other = dataclasses.replace(task(1), run="f" * 16)
    peer = ChecksIn([task(3), task(4), other])
    for _ in range(3):
        client = make_client(tmp_path, peer)
        assert await client.participate() is not None
        await client.close()
    assert [(one.holds_run, one.holds_version) for one in peer.asked] == [
        (None, None),
        (RUN, 3),
        (RUN, 3),
    ]
    assert peer.led_from == [0, 3, 0], "what is held of another run is of no use"


class ChecksIn(ScriptedServer):
    """Notes what devices say they hold."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__(tasks, plan=PLAN)
        self.asked: list[CheckIn] = []
        self.led_from: list[int | None] = []

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        self.asked.append(request)
        return await super().check_in(request)

    async def model(
        self,
        run: str,
        version: int,
        *,
        have: int | None,
        stage: int | None = None,
        held_stage: int | None = None,
    ) -> bytes:
        self.led_from.append(have)
        return await super().model(run, version, have=have, stage=stage, held_stage=held_stage)


async def test_version_0_is_the_plans_own_weights_and_is_not_fetched(tmp_path: Path) -> None:
    peer = server(dataclasses.replace(TASK, model_version=0), TASK)
    link = FlakyTransport(peer, [])
    client = make_client(tmp_path, link)
    await client.participate()
    assert [name for name, _ in link.calls].count("model") == 0
    assert peer.counted == {1: 1}


# ---------------------------------------------------------------------- never lose an update


def run_over(faults: Iterable[Fault], rounds: int) -> tuple[ScriptedServer, ScriptedEngine]:
    peer = server(*(task(number) for number in range(1, rounds + 1)))
    engine = ScriptedEngine(TARGET)
    with tempfile.TemporaryDirectory() as state:
        client = make_client(Path(state), FlakyTransport(peer, faults), engine=engine)
        asyncio.run(client.run())
        books = {"learned.json", "ledger.jsonl"}
        left = {path.name for path in Path(state).iterdir()} - books
        assert left == {"identity.json", "lock", "plans", "model.replica"}
    assert len(peer.devices) == 1, "an enrolment whose answer was lost is not made twice"
    return peer, engine


@settings(deadline=None, max_examples=60)
@given(faults=st.lists(st.sampled_from(Fault), max_size=16))
def test_every_pattern_of_faults_counts_every_update_exactly_once(faults: list[Fault]) -> None:
    peer, engine = run_over(faults, rounds=2)
    assert peer.counted == {1: 1, 2: 1}
    assert engine.trainings == 2, "no trained update was thrown away"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_link_that_stays_bad_counts_every_update_exactly_once(seed: int) -> None:
    peer, engine = run_over(seeded_faults(seed, rate=0.5), rounds=6)
    assert peer.counted == dict.fromkeys(range(1, 7), 1)
    assert engine.trainings == 6


@pytest.mark.parametrize("fault", [Fault.BEFORE, Fault.AFTER, Fault.CUT])
async def test_a_device_killed_while_sending_sends_only_what_is_missing(
    tmp_path: Path, fault: Fault
) -> None:
    peer = server(TASK)
    # enrol, check_in, progress, plan and model go well; then link and device die together.
    dying = make_client(tmp_path, FlakyTransport(peer, [Fault.NONE] * 5 + [fault]))
    with pytest.raises(Unreachable):
        await dying.participate()
    await dying.close()
    held = len(peer.received)
    assert held == {Fault.BEFORE: 0, Fault.AFTER: CHUNKS, Fault.CUT: CHUNKS - 2}[fault]

    engine = ScriptedEngine(TARGET)
    link = FlakyTransport(peer, [])
    receipt = await make_client(tmp_path, link, engine=engine, token=None).participate()
    assert receipt is not None
    assert engine.trainings == 0, "what was trained is not trained again"
    assert link.calls[0][0] == "progress", "it asks before it sends"
    assert sorted(peer.received) == [(1, index) for index in range(CHUNKS)], "each chunk once"
    assert peer.counted == {1: 1}


async def test_who_forgot_a_training_does_not_mix_another_into_what_arrived_of_it(
    tmp_path: Path,
) -> None:
    peer = server(TASK)
    dying = make_client(tmp_path, FlakyTransport(peer, [Fault.NONE] * 5 + [Fault.CUT]))
    with pytest.raises(Unreachable):
        await dying.participate()
    await dying.close()
    (tmp_path / "update.spool").unlink()
    arrived, engine = list(peer.received), ScriptedEngine(TARGET)
    assert await make_client(tmp_path, peer, engine=engine).participate() is None
    assert (peer.received, engine.trainings) == (arrived, 0)
    assert "forgotten" in peer.declined[1]


class Killed(BaseException):
    """Nothing catches this, as nothing catches kill -9."""


class KilledAtUpload(FlakyTransport):
    async def upload(self, task: Task, frames: Sequence[bytes]) -> Progress:
        del task, frames
        raise Killed


async def test_an_update_is_on_disk_before_its_first_byte_is_sent(tmp_path: Path) -> None:
    peer = server(TASK)
    dying = make_client(tmp_path, KilledAtUpload(peer, []))
    with pytest.raises(Killed):
        await dying.participate()
    await dying.close()
    assert (tmp_path / "update.spool").exists()
    assert peer.received == []
    engine = ScriptedEngine(TARGET)
    assert await make_client(tmp_path, peer, engine=engine).participate() is not None
    assert engine.trainings == 0
    assert peer.counted == {1: 1}


async def test_a_lost_receipt_is_asked_for_again(tmp_path: Path) -> None:
    peer = server(TASK)
    link = FlakyTransport(peer, [Fault.NONE] * 6 + [Fault.AFTER])
    client = make_client(tmp_path, link)
    with pytest.raises(Unreachable):
        await client.participate()
    assert await client.participate() is not None
    assert [name for name, _ in link.calls][-2:] == ["commit", "progress"]
    assert peer.counted == {1: 1}


async def test_an_update_of_a_closed_round_is_dropped_and_said_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    peer = server(task(1), task(2))
    link = FlakyTransport(peer, [Fault.NONE] * 5 + [Fault.CUT])
    client = make_client(tmp_path, link)
    with pytest.raises(Unreachable):
        await client.participate()
    peer.close_round(1)
    with caplog.at_level(logging.WARNING):
        assert await client.participate() is None
    assert "round 1 is dropped: round-closed" in caplog.text
    receipt = await client.participate()
    assert receipt is not None
    assert receipt.round == 2


@pytest.mark.parametrize("name", ["update.spool", "identity.json", "plan"])
async def test_a_broken_file_is_set_aside_and_the_device_goes_on(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    peer = server(task(1), task(2))
    client = make_client(tmp_path, peer)
    await client.participate()
    await client.close()
    path = next((tmp_path / "plans").iterdir()) if name == "plan" else tmp_path / name
    path.write_bytes(b"\x00garbage")
    with caplog.at_level(logging.WARNING):
        receipt = await make_client(tmp_path, peer).participate()
    assert receipt is not None
    assert receipt.round == 2
    assert "set aside" in caplog.text
    assert len(peer.devices) == (2 if name == "identity.json" else 1)


# ---------------------------------------------------------------------- enrolling once


class KilledAfterEnrolling(ScriptedServer):
    """The device dies before the answer to its enrolment arrives."""

    def __init__(self, state: Path) -> None:
        super().__init__([TASK], plan=PLAN)
        self._state = state
        self.kept: list[bytes] = []

    async def enrol(self, request: Enrol) -> Enrolled:
        self.kept.append((self._state / "attempt.json").read_bytes())
        enrolled = await super().enrol(request)
        if len(self.kept) == 1:
            raise Killed
        return enrolled


async def test_a_device_killed_while_enrolling_is_one_device(tmp_path: Path) -> None:
    peer = KilledAfterEnrolling(tmp_path)
    dying = make_client(tmp_path, peer)
    with pytest.raises(Killed):
        await dying.participate()
    await dying.close()
    assert await make_client(tmp_path, peer).participate() is not None
    assert peer.kept[0] == peer.kept[1], "the secret was on disk before the first request"
    assert len(peer.devices) == 1
    assert not (tmp_path / "attempt.json").exists()


# ---------------------------------------------------------------------- training


async def test_cancelling_stops_training_within_a_step_and_leaves_no_thread(
    tmp_path: Path,
) -> None:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()
    steps = 0

    def on_step() -> None:
        nonlocal steps
        steps += 1
        loop.call_soon_threadsafe(begun.set)

    endless = dataclasses.replace(TASK, epochs=1000, batch_size=1)
    client = make_client(tmp_path, server(endless), engine=ScriptedEngine(TARGET, on_step))
    running = asyncio.create_task(client.run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    stopped_at = steps
    assert stopped_at < 20_000
    await asyncio.sleep(0.05)
    assert steps == stopped_at
    assert not (tmp_path / "update.spool").exists()


async def test_training_stops_in_time_to_send_what_was_learned(tmp_path: Path) -> None:
    clock = ScriptedClock()
    engine = ScriptedEngine(TARGET, lambda: clock.advance(10.0))
    short = dataclasses.replace(TASK, deadline_s=50.0)
    peer = server(short)
    receipt = await make_client(tmp_path, peer, engine=engine, clock=clock).participate()
    assert receipt is not None
    assert peer.commit_of(1).steps == 4, "0.8 of 50 s are 4 steps of 10 s"


async def test_nothing_is_sent_without_a_step_or_after_divergence(tmp_path: Path) -> None:
    over = server(dataclasses.replace(TASK, deadline_s=0.0))
    assert await make_client(tmp_path / "a", over).participate() is None
    for bad in (np.nan, np.inf, 1e30):
        peer = server(TASK)
        engine = ScriptedEngine(np.full(SIZE, bad, np.float32))
        assert await make_client(tmp_path / str(bad), peer, engine=engine).participate() is None
        assert peer.received == []


# ---------------------------------------------------------------------- identity and secrets


async def test_identity_is_readable_by_this_user_only(tmp_path: Path) -> None:
    peer = server(TASK)
    await make_client(tmp_path, peer).participate()
    path = tmp_path / "identity.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["enrolled"]["token"] == peer.devices[0].token


async def test_an_identity_is_never_shown_to_another_server(tmp_path: Path) -> None:
    peer, other = server(TASK), server(TASK)
    client = make_client(tmp_path, peer)
    await client.participate()
    await client.close()
    elsewhere = Client(
        "https://other.example.org",
        token=JOIN_TOKEN,
        data=(X, Y),
        state=tmp_path,
        transport=other,
        engine=lambda _plan, _stage, /, *, warm_up=False: ScriptedEngine(TARGET),  # noqa: ARG005
    )
    assert await elsewhere.participate() is not None
    assert len(other.devices) == 1


async def test_no_token_is_ever_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peer = server(TASK)
    with caplog.at_level(logging.DEBUG):
        await make_client(tmp_path, peer).run()
    assert caplog.text
    assert JOIN_TOKEN not in caplog.text
    assert peer.devices[0].token not in caplog.text


async def test_two_clients_never_share_a_state_folder(tmp_path: Path) -> None:
    peer = server(task(1), task(2))
    first = make_client(tmp_path, peer)
    await first.participate()
    with pytest.raises(Misuse, match="another client"):
        await make_client(tmp_path, peer).participate()
    await first.close()
    second = make_client(tmp_path, peer)
    assert await second.participate() is not None
    with pytest.raises(Misuse, match="another client"):
        await first.participate()


async def test_a_program_that_cannot_enrol_is_told(tmp_path: Path) -> None:
    with pytest.raises(Misuse, match="join token"):
        await make_client(tmp_path / "a", server(TASK), token=None).run()
    with pytest.raises(Misuse, match="form"):
        await make_client(tmp_path / "b", server(TASK), token="short").run()
    with pytest.raises(Refused) as refusal:
        await make_client(tmp_path / "c", server(TASK), token="wrong-" * 5).run()
    assert refusal.value.reason is Reason.UNAUTHORISED


async def test_data_that_does_not_fit_the_plan_is_told(tmp_path: Path) -> None:
    client = make_client(tmp_path, server(TASK), data=(X[:, :7], Y))
    with pytest.raises(Misuse, match=r"\(7,\).*\(200,\)"):
        await client.run()


# ---------------------------------------------------------------------- for ever


async def test_run_ends_when_the_run_is_finished_and_lets_go(tmp_path: Path) -> None:
    peer = server(task(1), Wait(retry_after_s=30.0), task(2))
    clock = ScriptedClock()
    await make_client(tmp_path, peer, clock=clock).run()
    assert peer.counted == {1: 1, 2: 1}
    assert peer.closed
    waits = [slept for slept in clock.slept if slept > 0]
    assert len(waits) == 1
    assert 30.0 <= waits[0] <= 33.0


class Scripted(ScriptedServer):
    """A server whose first check-ins fail as told."""

    def __init__(self, failures: Iterable[Exception], *answers: Task | Wait) -> None:
        super().__init__(answers, plan=PLAN)
        self._failures = iter(failures)

    async def check_in(self, request: CheckIn) -> Task | Wait | Finished:
        for failure in self._failures:
            raise failure
        return await super().check_in(request)


async def test_failures_back_off_and_success_starts_over(tmp_path: Path) -> None:
    failures = [Unreachable("down"), Malformed("portal"), Unreachable("down")]
    clock = ScriptedClock()
    await make_client(tmp_path, Scripted(failures, TASK), clock=clock).run()
    waits = [slept for slept in clock.slept if slept > 0]
    assert len(waits) == 3
    assert all(wait < ceiling for wait, ceiling in zip(waits, (1.0, 2.0, 4.0), strict=True))


async def test_a_busy_server_is_left_alone_as_long_as_it_asked(tmp_path: Path) -> None:
    busy = Refused(Reason.BUSY, retry_after_s=90.0)
    clock = ScriptedClock()
    await make_client(tmp_path, Scripted([busy], TASK), clock=clock).run()
    assert 90.0 <= clock.slept[0] <= 99.0


async def test_a_device_the_server_forgot_enrols_again_but_only_once(tmp_path: Path) -> None:
    unknown = Refused(Reason.UNAUTHORISED, "unknown device")
    peer = Scripted([unknown], TASK)
    await make_client(tmp_path / "a", peer).run()
    assert len(peer.devices) == 2
    assert peer.counted == {1: 1}
    stubborn = Scripted([unknown, unknown, unknown], TASK)
    with pytest.raises(Refused):
        await make_client(tmp_path / "b", stubborn).run()
    assert len(stubborn.devices) == 2


async def test_a_revoked_device_stops(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    peer = Scripted([Refused(Reason.REVOKED)], TASK)
    with caplog.at_level(logging.WARNING), pytest.raises(Refused):
        await make_client(tmp_path, peer).run()
    assert peer.closed
    assert caplog.text == "", "what is raised is reported once, by who catches it"


def test_an_enrolled_transport_is_told_who_it_is(tmp_path: Path) -> None:
    seen: list[Enrolled] = []

    class Watching(ScriptedServer):
        def identify(self, identity: Enrolled) -> None:
            seen.append(identity)

    peer = Watching([TASK], plan=PLAN)
    asyncio.run(make_client(tmp_path, peer).run())
    assert seen == peer.devices


def test_commits_are_the_same_each_time_they_are_sent(tmp_path: Path) -> None:
    sent: list[Commit] = []

    class Watching(ScriptedServer):
        async def commit(self, task: Task, commit: Commit) -> Receipt:
            sent.append(commit)
            if len(sent) < 3:
                raise Unreachable("lost")
            return await super().commit(task, commit)

    asyncio.run(make_client(tmp_path, Watching([TASK], plan=PLAN)).run())
    assert len(sent) == 3
    assert sent[0] == sent[1] == sent[2]
