"""For ever: what the outcome of one participation means for the next.

================================ ================================================================
outcome                          next
================================ ================================================================
receipt                          check in again at once (the server paces by holding its answer)
`Wait`                           sleep as long as asked, spread a little
place given back                 sleep as long as asked
dropped, could not give back     back off
`Finished`                       end
`Unreachable`, `Malformed`       back off (a captive portal on the way gives either)
`Refused`: unauthorised          forget the identity and enrol again, once
`Refused`: revoked               end with the refusal
`Refused`: anything else         sleep as long as asked, else back off
================================ ================================================================

Everything else is a fault of the program or the machine and ends the loop loudly.
"""

import logging
from typing import Protocol

from edge_sdk.errors import Malformed, Reason, Refused, Unreachable
from edge_sdk.interfaces import Clock
from edge_sdk.runtime.backoff import Backoff
from edge_sdk.values import Finished, Receipt, Task, Wait

_log = logging.getLogger(__name__)


class Participant(Protocol):
    """What the loop drives; `client.Client` is one."""

    @property
    def answer(self) -> Task | Wait | Finished | None:
        """What the server last said of work in the latest turn; None when it was not asked."""
        ...

    async def participate(self) -> Receipt | None:
        """Take part once."""
        ...

    def forget_identity(self) -> bool:
        """Drop an identity the server does not know; False when enrolling again cannot help."""
        ...


class Loop:
    """Participates again and again; `run` returns when the run is finished.

    Args:
        participant: whom to drive.
        clock: whose time passes while waiting.
        backoff: the schedule of retries.
        seed: of the jitter.
    """

    def __init__(
        self, participant: Participant, *, clock: Clock, backoff: Backoff, seed: int
    ) -> None:
        self._participant = participant
        self._clock = clock
        self._backoff = backoff
        self._seed = seed
        self._turns = 0
        self._failures = 0
        self._may_enrol_again = True

    async def run(self) -> None:
        """Take part until the run is finished.

        Raises:
            Refused: the server revoked this device, or will not enrol it.
            Exception: what `participate` raises besides `Unreachable` and `Malformed`.
        """
        while (delay_s := await self._turn()) is not None:
            _log.debug("next turn in %.1f s", delay_s)
            await self._clock.sleep(delay_s)

    async def _turn(self) -> float | None:
        """One participation; how long to sleep after it, None when the run is finished."""
        self._turns += 1
        try:
            receipt = await self._participant.participate()
        except (Unreachable, Malformed) as error:
            _log.warning("%s: %s", type(error).__name__.lower(), error)
            return self._back_off()
        except Refused as refusal:
            delay_s = self._after_refusal(refusal)  # what it raises on, the caller reports
            _log.warning("refused: %s", refusal)
            return delay_s
        return self._after_answer(receipt)

    def _after_answer(self, receipt: Receipt | None) -> float | None:
        answer = self._participant.answer
        if isinstance(answer, Finished):
            _log.info("the run is finished")
            return None
        if isinstance(answer, Wait):
            self._failures = 0
            return self._asked(answer.retry_after_s)
        if receipt is None:
            return self._back_off()
        self._failures, self._may_enrol_again = 0, True
        return 0.0

    def _after_refusal(self, refusal: Refused) -> float:
        if refusal.reason is Reason.REVOKED:
            raise refusal
        if refusal.reason is Reason.UNAUTHORISED:
            # Once only: a server that refuses what it just handed out would be enrolled with
            # for ever.
            if not (self._may_enrol_again and self._participant.forget_identity()):
                raise refusal
            self._may_enrol_again = False
            return 0.0
        if refusal.retry_after_s is not None:
            return self._asked(refusal.retry_after_s)
        return self._back_off()

    def _back_off(self) -> float:
        self._failures += 1
        return self._backoff.delay_s(self._failures, seed=self._seed)

    def _asked(self, retry_after_s: float) -> float:
        return self._backoff.asked_s(retry_after_s, seed=self._seed, turn=self._turns)
