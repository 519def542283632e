"""The policy that never changes its mind."""

import dataclasses

from edge_sdk.values import Choice, Outcome, Reading, Task


@dataclasses.dataclass(frozen=True, slots=True)
class FixedPolicy:
    """Takes every task; always the same codec and epochs, or whatever the task offers first.

    Its state is None: it learns nothing.
    """

    codec: str | None = None
    """Codec to insist on, e.g. `eden:bits=2`; None takes the one the server prefers."""
    epochs: int | None = None
    """Passes over the data; None takes the task's."""

    def start(self) -> None:
        """Nothing learned, now and always."""

    def decide(self, state: None, task: Task, now: Reading) -> Choice:  # noqa: ARG002 - contract
        """Take part, unless the insisted-on codec is not on offer."""
        if self.codec is not None and self.codec not in task.codecs:
            return Choice(
                takes_part=False,
                stage=task.stage,
                why=f"fixed to {self.codec}, which round {task.round} does not take",
            )
        codec = task.codecs[0] if self.codec is None else self.codec
        epochs = task.epochs if self.epochs is None else self.epochs
        return Choice(
            takes_part=True,
            way=task.ways[0],
            stage=task.stage,
            codec=codec,
            epochs=epochs,
            why=f"fixed: {codec}, {epochs} epoch{'s' if epochs > 1 else ''}",
        )

    def learn(self, state: None, task: Task, choice: Choice, outcome: Outcome) -> None:
        """Nothing to learn."""
