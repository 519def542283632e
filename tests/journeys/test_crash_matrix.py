"""Promise: killed at any moment of a round, the server ends with the very model it would have made.

A moment is the start or the end of an fsync or of a transaction; `crashing_server.py` finds them.
Devices come in turn and send again what was not answered, so that the order of arrival is the same.
"""

import shutil
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from edge_sdk.errors import Unreachable
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Enrolled, Finished, Task, Wait
from tests.journeys.scripted import Prepared, prepare, update_of
from tests.journeys.server_process import ServerProcess

pytestmark = [pytest.mark.journey, pytest.mark.asyncio(loop_scope="module")]

CRASHING = Path(__file__).with_name("crashing_server.py")
DEVICES = 2
ROUNDS = 2
OPTIONS = [
    "--rounds", str(ROUNDS), "--cohort", str(DEVICES), "--min-updates", str(DEVICES),
    "--codec", "eden:bits=4", "--chunk-bytes", "2048", "--run-seed", "7",
    "--memory", "artemis", "--downlink-codec", "eden:bits=2", "--optimizer", "momentum",
]  # fmt: skip
MOST_RESTARTS = 3
LAST_MOMENTS = 8
"""So many may not come in another run: what is written in one go or after the end varies."""
T = TypeVar("T")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return await prepare(tmp_path_factory.mktemp("prepared"), OPTIONS, devices=DEVICES)


class Run:
    """One run from the prepared state, with a server that may die once."""

    def __init__(
        self, prepared: Prepared, folder: Path, *, fatal: int, options: Sequence[str] = OPTIONS
    ) -> None:
        self._prepared = prepared
        self._server = ServerProcess(prepared.plan_file, folder, options)
        shutil.copytree(prepared.state, folder / "state")
        self.trace = folder / "moments.txt"
        self._fatal = fatal
        self._run: str | None = None
        self.deaths = 0

    async def finish(self) -> list[bytes]:
        """All rounds; every file of every version, and of devices' memories."""
        try:
            self._start_fatal()
            await self.play()
            await self._insist(self._prepared.devices[0], _until_finished)
        finally:
            self._server.kill()
        files = [
            file
            for kind in ("models", "memories")
            for file in self._server.folder.glob(f"state/runs/*/{kind}/*")
            if file.suffix != ".partial"
        ]
        return [file.name.encode() + file.read_bytes() for file in sorted(files)]

    async def play(self) -> None:
        """All rounds."""
        for number in range(ROUNDS):
            for device, identity in enumerate(self._prepared.devices):
                await self._participate(device, identity, number)

    def _start_fatal(self) -> None:
        try:
            self._server.start((str(CRASHING), str(self._fatal), str(self.trace)))
        except AssertionError:
            self._revive()

    def _revive(self) -> None:
        assert not self._server.running
        self.deaths += 1
        assert self.deaths <= 1, "it died without being told to"
        self._server.start()

    async def _participate(self, device: int, identity: Enrolled, number: int) -> None:
        async def task(transport: HttpTransport) -> Task | Wait | Finished:
            return await transport.check_in(
                CheckIn(wait_s=20, holds_run=self._run, memory_round=number or None)
            )

        found = await self._insist(identity, task)
        if isinstance(found, Wait):
            return  # its update counts already; the answer to the commit was lost
        assert isinstance(found, Task)
        assert (found.round, found.memory_round) == (number + 1, number or None)
        self._run = found.run
        frames, commit = update_of(found, self._prepared.dimension, device)

        async def upload(transport: HttpTransport) -> object:
            return await transport.upload(found, frames)

        async def close(transport: HttpTransport) -> object:
            return await transport.commit(found, commit)

        await self._insist(identity, upload)
        await self._insist(identity, close)

    async def _insist(self, identity: Enrolled, call: Callable[[HttpTransport], Awaitable[T]]) -> T:
        """Make a call; once more after the server has died and was started again."""
        for _ in range(MOST_RESTARTS):
            transport = HttpTransport(self._server.url)
            transport.identify(identity)
            try:
                return await call(transport)
            except Unreachable:
                if not self._server.has_died(within_s=5):
                    raise
                self._revive()
            finally:
                await transport.close()
        raise AssertionError("the server does not stay up")


async def _until_finished(transport: HttpTransport) -> None:
    while not isinstance(await transport.check_in(CheckIn(wait_s=20)), Finished):
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def undisturbed(
    prepared: Prepared, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[bytes], list[str]]:
    """Weights of every version, and the names of all moments."""
    run = Run(prepared, tmp_path_factory.mktemp("undisturbed") / "run", fatal=0)
    files = await run.finish()
    weights = [file.partition(b".weights")[2] for file in files if b".weights" in file[:20]]
    assert len(set(weights)) == ROUNDS + 1, "every round moves the model"
    for kind in (b".average", b".delta", b".memories", b".moment"):
        assert any(kind in file[:24] for file in files), f"no {kind!r} is compared"
    return files, run.trace.read_text().split("\n")[:-1]


async def _die_at(
    points: Sequence[int], prepared: Prepared, wanted: list[bytes], folder: Path, *, count: int
) -> None:
    for point in points:
        run = Run(prepared, folder / f"{point}", fatal=point)
        assert await run.finish() == wanted, f"another model after a death at moment {point}"
        # How often the clock writes at the end varies; a death may be missing only if that very
        # run had fewer moments.
        came = len(run.trace.read_text().splitlines())
        missing = point > max(came, count - LAST_MOMENTS)
        assert run.deaths == 1 or missing, f"moment {point} of {came} never came"
        shutil.rmtree(folder / f"{point}")


async def test_a_death_at_some_moments_changes_no_bit(
    prepared: Prepared, undisturbed: tuple[list[bytes], list[str]], tmp_path: Path
) -> None:
    wanted, moments = undisturbed
    assert {"before fsync", "after fsync", "before transaction", "after transaction"} == set(
        moments
    )
    await _die_at(range(1, len(moments), 31), prepared, wanted, tmp_path, count=len(moments))


@pytest.mark.slow
@pytest.mark.timeout(1800)
async def test_a_death_at_any_moment_changes_no_bit(
    prepared: Prepared, undisturbed: tuple[list[bytes], list[str]], tmp_path: Path
) -> None:
    wanted, moments = undisturbed
    points = range(1, len(moments) + 1)
    await _die_at(points, prepared, wanted, tmp_path, count=len(moments))
