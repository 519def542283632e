"""What each phase of a round spends, written down as it ends."""

from collections.abc import Callable

from edge_sdk.telemetry import cost_between
from edge_sdk.values import Cost, Phase, Reading


class PhaseLog:
    """Phases that follow each other from the moment this is made.

    Args:
        look: gives a reading now.
    """

    def __init__(self, look: Callable[[], Reading]) -> None:
        self._look = look
        self._costs: list[Cost] = []
        self.last = look()
        """The latest reading."""

    def end(self, phase: Phase) -> Reading:
        """`phase` ends now and the next begins; the reading between them."""
        before, self.last = self.last, self._look()
        self._costs.append(cost_between(phase, before, self.last))
        return self.last

    @property
    def costs(self) -> tuple[Cost, ...]:
        """Of the phases that have ended."""
        return tuple(self._costs)
