"""A clock that passes only when told to."""

import asyncio


class ScriptedClock:
    """An `interfaces.Clock` whose sleeps end at once and move it on.

    Args:
        now_s: where it begins.
    """

    def __init__(self, now_s: float = 1000.0) -> None:
        self._now_s = now_s
        self.slept: list[float] = []
        """Every sleep so far, seconds, in order."""

    def now_s(self) -> float:
        """Seconds since its own beginning."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass without anyone sleeping."""
        self._now_s += seconds

    async def sleep(self, seconds: float) -> None:
        """Pass at once; other tasks get a turn."""
        self.slept.append(seconds)
        self._now_s += seconds
        await asyncio.sleep(0)
