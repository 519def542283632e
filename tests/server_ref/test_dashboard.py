"""Promise: the page shows the run as it goes, to everybody with the token and nobody else."""

import asyncio
import re
from pathlib import Path

import numpy as np
import pytest

from edge_sdk.values import CheckIn, Commit, Cost, DeviceReport, Evaluation, Goodput, Vector
from server_ref.app import Listening
from server_ref.dashboard import page_files
from tests.server_ref.browser import CHROMIUM, Tab, browser_tab
from tests.server_ref.serving import ScriptedDevice, device, http, serving

needs_browser = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")

READY = "document.querySelectorAll('#devices tbody tr').length == 2"
WIDE = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def evaluate(weights: Vector, _stage: int) -> Evaluation:
    return Evaluation(examples=10, loss=1.0, accuracy=float(np.clip(abs(weights[1]), 0, 1)))


async def take_part(one: ScriptedDevice) -> None:
    """A round with everything a device can report."""
    report = DeviceReport(
        battery=0.4, charging=True, link="wifi", goodput=Goodput(up_bytes_per_s=2e5)
    )
    await one.transport.check_in(CheckIn(report=report))
    task = await one.task()
    frames = one.frames(task)
    await one.transport.upload(task, frames)
    costs = (
        Cost(phase="train", seconds=2.0, energy_j=4.0),
        Cost(phase="upload", seconds=0.5, energy_j=0.5),
        Cost(phase="download", seconds=0.2, energy_j=0.2),
    )
    await one.transport.commit(
        task,
        Commit(
            chunks=len(frames), examples=10 + one.number, codec=task.codecs[0], costs=costs,
            why="<b>link</b> is slow: 2 bits",
        ),
    )  # fmt: skip


async def sign_in(tab: Tab, at: Listening) -> None:
    """By keyboard alone."""
    await tab.open(f"{at.url}/")
    await tab.until("document.activeElement.id == 'token'")
    await tab.write(at.opened.operator_token)
    await tab.press("Enter", 13)


async def test_the_page_is_served_under_a_strict_policy_without_a_token(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, http(at) as client:
        async with client.get("/") as answer:
            text = await answer.text()
            policy = answer.headers["Content-Security-Policy"]
            etag = answer.headers["ETag"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert at.opened.operator_token not in text
        for path in re.findall(r'(?:src|href)="(page/[^"]+)"', text):
            async with client.get(f"/{path}") as answer:
                assert answer.status == 200, path
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
        async with client.get("/", headers={"If-None-Match": etag}) as answer:
            assert answer.status == 304
        for odd in ("/page/../app.py", "/page/%2e%2e%2fapp.py", "/page/__init__.py", "/page/x.js"):
            async with client.get(odd) as answer:
                assert answer.status == 404, odd


def test_nothing_of_the_page_comes_from_elsewhere() -> None:
    for name, file in page_files().items():
        if name.startswith("uplot"):
            continue
        found = re.findall(rb"https?://[^\s\"'<]+", file.body)
        assert set(found) <= {b"http://www.w3.org/2000/svg"}, name
    assert b"MIT License" in page_files()["uplot-license.txt"].body


@needs_browser
async def test_the_page_follows_the_run_and_can_be_used_by_keyboard(tmp_path: Path) -> None:
    async with (
        serving(tmp_path, cohort=2, rounds=9, evaluate=evaluate) as at,
        device(at, 0) as a,
        device(at, 1) as b,
        browser_tab() as tab,
    ):
        await asyncio.gather(take_part(a), take_part(b))
        await tab.look(width=1280, height=900, scheme="light")
        await sign_in(tab, at)
        await tab.until(READY)
        await tab.until("document.querySelectorAll('.chart canvas').length == 4")
        assert "<b>link</b> is slow" in str(await tab.run("document.body.innerText"))
        before = await tab.run("document.getElementById('tiles').innerText")
        await asyncio.gather(take_part(a), take_part(b))
        await tab.until("document.getElementById('tiles').innerText.includes('Version\\n2')")
        await tab.until("document.querySelectorAll('#events li').length > 2")
        assert before != await tab.run("document.getElementById('tiles').innerText")
        await tab.run("document.querySelector('[data-by=updates]').focus()")
        await tab.press("Enter", 13)
        await tab.until("document.querySelector('[aria-sort]').innerText.startsWith('Updates')")
        await tab.run("document.getElementById('hold').focus()")
        await tab.press("Enter", 13)
        await tab.until("document.getElementById('state').innerText == 'paused'")
        await tab.run("document.getElementById('leave').focus()")
        await tab.press("Enter", 13)
        await tab.until("!document.getElementById('login').hidden")
        assert not await tab.run("Object.keys(sessionStorage).length")
        assert tab.complaints == []
        assert all(one.startswith((f"{at.url}/", "about:")) for one in tab.requests), tab.requests
        assert not any(at.opened.operator_token in one for one in tab.requests)


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_is_cut_off_on_a_phone(scheme: str, tmp_path: Path) -> None:
    async with (
        serving(tmp_path, cohort=2, rounds=9, evaluate=evaluate) as at,
        device(at, 0) as a,
        device(at, 1) as b,
        browser_tab() as tab,
    ):
        await asyncio.gather(take_part(a), take_part(b))
        await tab.look(width=390, height=844, scheme=scheme)
        await sign_in(tab, at)
        await tab.until(READY)
        await tab.until("document.querySelectorAll('.chart canvas').length == 4")
        assert not await tab.run(WIDE)
        small = (
            "[...document.querySelectorAll('button')]"
            ".filter(b => b.offsetHeight && !b.closest('th') && b.offsetHeight < 44).length"
        )
        assert await tab.run(small) == 0
        assert tab.complaints == []


@needs_browser
async def test_a_wrong_token_is_told_and_not_kept(tmp_path: Path) -> None:
    async with serving(tmp_path) as at, browser_tab() as tab:
        await tab.open(f"{at.url}/")
        await tab.until("document.activeElement.id == 'token'")
        await tab.write("A" * 43)
        await tab.press("Enter", 13)
        await tab.until("document.getElementById('wrong').innerText.includes('not know')")
        assert not await tab.run("Object.keys(sessionStorage).length")
