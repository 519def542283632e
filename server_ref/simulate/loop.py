"""An asyncio event loop whose time is a number: it jumps to the next timer when nothing is ready.

Everything written for asyncio (the server, the client, aiohttp at both ends) runs in it unchanged:
`asyncio.sleep(3600)` is over at once, and an hour has passed. Two rules make a run repeatable:

- Work for threads runs at once, on the loop's own thread, so that nothing races.
- Work that stands for time on another machine says how long it takes (`spend`); its awaiter goes on
  that much later, while others go on meanwhile.
"""

import asyncio
import concurrent.futures
import selectors
from collections.abc import Callable
from typing import Any, TypeVarTuple

Arguments = TypeVarTuple("Arguments")

START_S = 1_000_000.0
"""Where the clock begins: far from zero, as real ones do."""


class _JumpingSelector(selectors.BaseSelector):
    """Waits by moving the clock; real file descriptors are only glanced at."""

    def __init__(self) -> None:
        self._real = selectors.DefaultSelector()
        self.jump: Callable[[float], None] = lambda _seconds: None

    def register(
        self,
        fileobj: Any,  # noqa: ANN401 - as above
        events: int,
        data: Any = None,  # noqa: ANN401 - selectors' signature
    ) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:  # noqa: ANN401 - as above
        return self._real.unregister(fileobj)

    def modify(
        self,
        fileobj: Any,  # noqa: ANN401 - as above
        events: int,
        data: Any = None,  # noqa: ANN401 - as above
    ) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = self._real.select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise RuntimeError("nothing is left to happen, and something still waits for it")
        self.jump(timeout)
        return []

    def close(self) -> None:
        self._real.close()

    def get_map(self) -> Any:  # noqa: ANN401 - as above
        return self._real.get_map()


class VirtualLoop(asyncio.SelectorEventLoop):
    """See the module; use as `asyncio.Runner(loop_factory=VirtualLoop)`."""

    def __init__(self) -> None:
        selector = _JumpingSelector()
        self._now_s = START_S
        self._spent_s: float | None = None
        super().__init__(selector)
        selector.jump = self._jump

    def time(self) -> float:
        """Virtual seconds; inside a job, with what the job has spent so far."""
        return self._now_s + (self._spent_s or 0.0)

    def spend(self, seconds: float) -> None:
        """Let a job that runs in an executor take so long.

        Raises:
            RuntimeError: called outside such a job.
        """
        if self._spent_s is None:
            raise RuntimeError("only a job in an executor can take time")
        self._spent_s += max(seconds, 0.0)

    def run_in_executor(
        self,
        executor: concurrent.futures.Executor | None,
        func: Callable[[*Arguments], Any],
        *args: *Arguments,
    ) -> asyncio.Future[Any]:
        """Run the job now; its future is done once the time that it spent has passed."""
        del executor
        future: asyncio.Future[Any] = self.create_future()
        outer, self._spent_s = self._spent_s, 0.0
        try:
            result = func(*args)
        except Exception as error:  # noqa: BLE001 - handed to whoever awaits the job
            raised = error
            tell: Callable[[], None] = lambda: _unless_done(future.set_exception, future, raised)  # noqa: E731
        else:
            tell = lambda: _unless_done(future.set_result, future, result)  # noqa: E731
        finally:
            spent_s, self._spent_s = self._spent_s or 0.0, outer
        if outer is not None:
            raise RuntimeError("a job must not start another")
        self.call_later(spent_s, tell)
        return future

    def _jump(self, seconds: float) -> None:
        self._now_s += seconds


def _unless_done(
    settle: Callable[[Any], None], future: "asyncio.Future[Any]", outcome: object
) -> None:
    if not future.done():
        settle(outcome)


def virtual_loop() -> VirtualLoop:
    """The loop that the caller runs in.

    Raises:
        RuntimeError: it is another kind of loop.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise RuntimeError("needs asyncio.Runner(loop_factory=VirtualLoop)")  # noqa: TRY004
    return loop


class VirtualClock:
    """An `interfaces.Clock` on the virtual loop."""

    def now_s(self) -> float:
        """Virtual seconds."""
        return virtual_loop().time()

    async def sleep(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)
