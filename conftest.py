"""For every test: a home of its own. For README.md and docs/: their Python examples are run."""

import ast
import asyncio
import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from sybil import Example, Sybil
from sybil.parsers.markdown import CodeBlockParser

from edge_sdk.authoring import build_plan, zoo
from rpi_demo import processes

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# At a desk hypothesis looks for new examples; a gate gives one answer for one tree. Neither
# judges by the clock: a busy machine is no wrong answer.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "desk")


@pytest.fixture(autouse=True)
def _own_home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """State and caches of a test go to a folder of its own."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in ("XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)


class AsyncPythonParser(CodeBlockParser):
    """Python blocks, compiled so that they may `await` as in a real program."""

    language = "python"

    def evaluate(self, example: Example) -> None:
        """Run one block in the document's namespace."""
        code = compile(
            "\n" * (example.line - 1) + example.parsed,
            example.path,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        )
        result: Any = eval(code, example.namespace)  # noqa: S307 - the project's own documents
        if inspect.iscoroutine(result):
            asyncio.run(result)


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[processes.Announcement]:
    """A running aggregator that wants two rounds of one device."""
    plan = tmp_path / "readme.plan"
    plan.write_bytes(build_plan(zoo.mlp((4,), 2), loss="cross-entropy", name="readme").data)
    announcement = tmp_path / "announcement.json"
    words = ["--state", tmp_path / "state", "--port", 0, "--rounds", 2, "--cohort", 1]
    server = processes.start(
        "server",
        ["server_ref", str(plan), *map(str, words), "--announce", str(announcement)],
        log=tmp_path / "server.log",
    )
    try:
        yield processes.wait_announced(server, announcement)
    finally:
        processes.stop([server])


def _document(namespace: dict[str, Any]) -> None:
    random = np.random.Generator(np.random.PCG64(1))
    namespace["x"] = random.standard_normal((40, 4)).astype(np.float32)
    namespace["y"] = np.arange(40) % 2


@pytest.fixture
def address(federation: processes.Announcement) -> str:
    """The aggregator's address, as the README's example names it."""
    return federation.url


@pytest.fixture
def join_token(federation: processes.Announcement) -> str:
    """A join token, as the README's example names it."""
    return federation.join_token


_README = Sybil(
    parsers=[AsyncPythonParser()],
    patterns=["README.md"],
    setup=_document,
    fixtures=["address", "join_token", "_own_home"],
)
_DOCS = Sybil(
    parsers=[AsyncPythonParser()],
    patterns=["docs/*.md"],
    setup=_document,
    fixtures=["_own_home"],
)

pytest_collect_file = (_README + _DOCS).pytest()
