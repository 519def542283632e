"""Promise: a full or read-only disk is refused clearly, harms nothing, and the run goes on after.

A real file system of its own, which takes the right to mount one.
"""

import shutil
import subprocess
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_sdk.errors import Reason, Refused
from edge_sdk.transport.http import HttpTransport
from edge_sdk.values import CheckIn, Enrol, Enrolled, Finished, Task
from tests.journeys.scripted import Prepared, prepare, update_of
from tests.journeys.server_process import ServerProcess

pytestmark = pytest.mark.journey

OPTIONS = [
    "--rounds", "1", "--cohort", "2", "--min-updates", "2", "--join-uses", "10",
    "--codec", "float32", "--chunk-bytes", "2048", "--run-seed", "7",
]  # fmt: skip
DISK_BYTES = 4 << 20


@dataclass
class Disk:
    """A small file system in memory."""

    root: Path

    def fill(self) -> None:
        """Leave no byte."""
        with (self.root / "ballast").open("wb", buffering=0) as ballast:
            size = 1 << 16
            while size:
                try:
                    ballast.write(b"\0" * size)
                except OSError:
                    size //= 2

    def free(self) -> None:
        """Give all of it back."""
        (self.root / "ballast").unlink()

    def forbid(self) -> None:
        """Make it read-only."""
        _mount("-o", "remount,ro", str(self.root))

    def allow(self) -> None:
        """Make it writable again."""
        _mount("-o", "remount,rw", str(self.root))


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    root = tmp_path / "disk"
    root.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(root))
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("may not mount a file system here")
    try:
        yield Disk(root)
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


async def _model_without_trouble(prepared: Prepared, folder: Path) -> bytes:
    server = ServerProcess(prepared.plan_file, folder, OPTIONS)
    shutil.copytree(prepared.state, folder / "state")
    server.start()
    try:
        for device, identity in enumerate(prepared.devices):
            await _participate(server, identity, device, prepared.dimension)
        return await _version_1(server, prepared)
    finally:
        server.kill()


async def _participate(
    server: ServerProcess, identity: Enrolled, device: int, dimension: int
) -> None:
    transport = _transport(server, identity)
    try:
        task = await transport.check_in(CheckIn(wait_s=10))
        assert isinstance(task, Task)
        frames, commit = update_of(task, dimension, device)
        await transport.upload(task, frames)
        await transport.commit(task, commit)
    finally:
        await transport.close()


def _transport(server: ServerProcess, identity: Enrolled) -> HttpTransport:
    transport = HttpTransport(server.url)
    transport.identify(identity)
    return transport


async def _version_1(server: ServerProcess, prepared: Prepared) -> bytes:
    transport = _transport(server, prepared.devices[0])
    try:
        for _ in range(30):
            if isinstance(await transport.check_in(CheckIn(wait_s=10)), Finished):
                break
    finally:
        await transport.close()
    (weights,) = server.state.glob("runs/*/models/*1.weights")
    return weights.read_bytes()


async def test_a_full_disk_refuses_chunks_commits_and_newcomers_and_the_model_is_the_same(
    disk: Disk, tmp_path: Path
) -> None:
    prepared, wanted, server = await _begun(disk, tmp_path)
    transport = _transport(server, prepared.devices[0])
    try:
        task = await transport.check_in(CheckIn(wait_s=10))
        assert isinstance(task, Task)
        frames, commit = update_of(task, prepared.dimension, 0)
        await transport.upload(task, frames[:1])
        disk.fill()
        for _ in range(2):
            await _refused(transport.upload(task, frames[1:]))
        await _refused(_join(server, prepared))
        disk.free()
        progress = await transport.upload(task, frames)
        assert progress.held == ((0, len(frames)),)
        disk.fill()
        await _refused(transport.commit(task, commit))
        disk.free()
        receipt = await transport.commit(task, commit)
        assert receipt.chunks == ((0, len(frames)),)
        await _participate(server, prepared.devices[1], 1, prepared.dimension)
        assert await _version_1(server, prepared) == wanted
    finally:
        await transport.close()
        server.kill()


async def test_on_a_read_only_disk_the_server_says_so_and_touches_nothing(
    disk: Disk, tmp_path: Path
) -> None:
    prepared, wanted, server = await _begun(disk, tmp_path)
    try:
        await _participate(server, prepared.devices[0], 0, prepared.dimension)
        server.kill()
        disk.forbid()
        with pytest.raises(AssertionError, match="Read-only file system"):
            server.start()
        disk.allow()
        server.start()
        await _participate(server, prepared.devices[1], 1, prepared.dimension)
        assert await _version_1(server, prepared) == wanted
    finally:
        server.kill()


async def _begun(disk: Disk, folder: Path) -> tuple[Prepared, bytes, ServerProcess]:
    """A run on the disk, and the version 1 that it should make."""
    (folder / "prepared").mkdir()
    prepared = await prepare(folder / "prepared", OPTIONS, devices=2)
    wanted = await _model_without_trouble(prepared, folder / "undisturbed")
    server = ServerProcess(
        prepared.plan_file, folder / "server", OPTIONS, state=disk.root / "state"
    )
    shutil.copytree(prepared.state, disk.root / "state")
    server.start()
    return prepared, wanted, server


async def _join(server: ServerProcess, prepared: Prepared) -> None:
    transport = HttpTransport(server.url)
    try:
        await transport.enrol(Enrol(join_token=prepared.join_token))
    finally:
        await transport.close()


async def _refused(call: Awaitable[object]) -> None:
    with pytest.raises(Refused) as refusal:
        await call
    assert refusal.value.reason is Reason.STORAGE
    assert refusal.value.retry_after_s
