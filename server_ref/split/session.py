"""One device's session in one round. Everything here blocks: call it in a thread, one at a time."""

from edge_sdk.engines.split import SplitTerms
from edge_sdk.engines.split_parts import PartEngine
from edge_sdk.engines.split_server import Progress, ServerHalf
from edge_sdk.errors import Reason, Refused, Unavailable
from edge_sdk.plan import Plan
from edge_sdk.values import Vector
from edge_sdk.values.splitting import SplitEnded
from server_ref.split.results import Results
from server_ref.split.session_log import SessionLog


class Session:
    """A copy of the server's part, moved by one device's batches.

    Args:
        plan: with a split.
        engine: of the server's part, shared.
        weights: of the server's part, from which the round starts.
        terms: of this device.
        results: where the session's log and outcome go.
        device: whose session it is.
    """

    def __init__(
        self,
        plan: Plan,
        engine: PartEngine,
        weights: Vector,
        terms: SplitTerms,
        *,
        results: Results,
        device: str,
    ) -> None:
        self.terms = terms
        self._engine = engine
        self._weights = weights
        self._half = ServerHalf(plan, engine, terms)
        self._results = results
        self._device = device
        self._log = SessionLog(results.log(device), sync=results.sync)
        self._attempt: int | None = None
        self._progress: Progress | None = None
        self._answer: bytes | None = None

    @property
    def held(self) -> int:
        """Messages of this attempt that were worked in."""
        return self._progress.messages if self._progress else 0

    def begin(self, attempt: int, answered: int) -> bytes | None:
        """Begin, or go on where the device is; the answer it lacks, if there is one.

        Raises:
            Refused: `conflict` where the device claims answers that were never given; `storage`.
        """
        if self._attempt != attempt or self._progress is None:
            self._load(attempt)
        if answered == self.held:
            return None
        if answered == self.held - 1 and self._answer is not None:
            return self._answer
        raise Refused(
            Reason.CONFLICT, f"{answered} answers of {self.held} messages; begin a new attempt"
        )

    def take(self, data: bytes) -> bytes:
        """Train on one message; the answer, given only once the message is durable.

        Raises:
            Malformed: the message is bad; the session stays as it was.
            Refused: `storage` or `busy`; the session stays as it was.
        """
        if self._progress is None:
            raise Refused(Reason.CONFLICT, "begin first")
        try:
            progress, answer = self._half.take(self._progress, data)
        except Unavailable as error:
            raise Refused(Reason.BUSY, str(error)[:200], retry_after_s=30.0) from None
        self._log.append(data)
        self._progress, self._answer = progress, answer
        return answer

    def end(self, messages: int) -> SplitEnded:
        """Leave the outcome for the round's average; asking again gives the same.

        Raises:
            Refused: `conflict` where messages are missing; `incomplete` in the middle of a batch or
                without one; `storage`.
        """
        progress = self._progress
        if progress is None or messages != progress.messages:
            raise Refused(Reason.CONFLICT, f"{messages} messages, {self.held} are held")
        if progress.waiting is not None or not progress.batches:
            raise Refused(Reason.INCOMPLETE, "a batch is under way, or none was trained")
        change = self._engine.weights(progress.state) - self._weights
        self._results.write(self._device, change)
        return SplitEnded(
            batches=progress.batches,
            examples=progress.examples,
            loss=progress.loss / progress.examples,
        )

    def _load(self, attempt: int) -> None:
        """The attempt's messages from disk, worked in again; an empty session for a new attempt."""
        start = Progress(self._engine.start(self._weights))
        held = self._log.read()
        if held is None or held[0] != attempt:
            self._results.drop(self._device)
            self._log.begin(attempt)
            messages: list[bytes] = []
        else:
            messages = held[1]
        answer: bytes | None = None
        for message in messages:
            start, answer = self._half.take(start, message)
        self._progress, self._answer, self._attempt = start, answer, attempt
