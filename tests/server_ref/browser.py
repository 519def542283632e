"""Headless Chromium over its debugging protocol: just what tests of a page need."""

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import aiohttp

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--force-color-profile=srgb",
    "--remote-debugging-port=0",
)  # fmt: skip

Json = dict[str, object]


class Tab:
    """One page. What it asked for and complained about is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self._socket = socket
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._loaded = asyncio.Event()
        self._reader = asyncio.ensure_future(self._read())

    async def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._loaded.clear()
        await self.say("Page.navigate", url=url)
        await asyncio.wait_for(self._loaded.wait(), 30)

    async def run(self, script: str) -> object:
        """The value of an expression in the page; promises are waited for."""
        answer = await self.say(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return cast("Json", answer["result"]).get("value")

    async def until(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        for _ in range(300):
            if await self.run(script):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"never came true: {script}; {self.complaints}")

    async def press(self, key: str, code: int) -> None:
        """Press and let go of a key."""
        for kind in ("keyDown", "keyUp"):
            text = "\r" if key == "Enter" and kind == "keyDown" else ""
            await self.say(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, text=text
            )

    async def write(self, text: str) -> None:
        """Type into what has the focus."""
        await self.say("Input.insertText", text=text)

    async def look(self, *, width: int, height: int, scheme: str) -> None:
        """Be a screen of this size, in the light or dark scheme."""
        await self.say(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        await self.say("Emulation.setEmulatedMedia", features=[feature])

    async def picture(self) -> bytes:
        """The whole page as PNG."""
        answer = await self.say("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        return base64.b64decode(str(answer["data"]))

    async def say(self, method: str, **parameters: object) -> Json:
        """One command of the debugging protocol."""
        number = next(self._numbers)
        self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        answer = await asyncio.wait_for(self._answers[number], 30)
        del self._answers[number]
        assert "error" not in answer, answer
        return cast("Json", answer["result"])

    async def close(self) -> None:
        """Stop listening."""
        self._reader.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._reader

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers[told["id"]].set_result(told)
            else:
                self._note(told["method"], told["params"])

    def _note(self, method: str, told: Json) -> None:
        if method == "Page.loadEventFired":
            self._loaded.set()
        elif method == "Network.requestWillBeSent":
            self.requests.append(str(cast("Json", told["request"])["url"]))
        elif method == "Log.entryAdded":
            self.complaints.append(str(cast("Json", told["entry"])["text"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(told["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and told["type"] in {"error", "warning"}:
            self.complaints.append(str(told["args"]))


@contextlib.asynccontextmanager
async def browser_tab() -> AsyncIterator[Tab]:
    """A fresh browser with one tab."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            CHROMIUM,
            *FLAGS,
            f"--user-data-dir={profile}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            port = await _port(Path(profile) / "DevToolsActivePort")
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                async with session.get("/json/list") as answer:
                    pages = await answer.json(content_type=None)
                url = next(p["webSocketDebuggerUrl"] for p in pages if p["type"] == "page")
                async with session.ws_connect(url, max_msg_size=0) as socket:
                    tab = Tab(socket)
                    for domain in ("Page", "Network", "Runtime", "Log"):
                        await tab.say(f"{domain}.enable")
                    yield tab
                    await tab.close()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


async def _port(file: Path) -> int:
    for _ in range(600):
        if file.exists() and (lines := file.read_text().splitlines()):  # noqa: ASYNC240 - a test
            return int(lines[0])
        await asyncio.sleep(0.05)
    raise AssertionError("the browser did not start")
