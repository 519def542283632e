"""Promises of the documents: every local link leads somewhere, commands they name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("edge_sdk/**/*.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
BENCHMARK = re.compile(r"python -m (benchmarks\.\w+)")


def test_there_are_documents() -> None:
    assert {"README.md", "FORMAT.md", "DECISIONS.md"} <= {path.name for path in DOCUMENTS}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_local_links_resolve(path: Path) -> None:
    broken = [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
    assert broken == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_benchmarks_named_in_documents_exist(path: Path) -> None:
    named = set(BENCHMARK.findall(path.read_text()))
    assert [n for n in named if not (ROOT / (n.replace(".", "/") + ".py")).exists()] == []
