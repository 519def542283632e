"""Whether a frame fits its task. Pure."""

import dataclasses
from collections.abc import Mapping

from edge_sdk.codecs import codec_from_spec, frame_ids
from edge_sdk.codecs.auto import admitted_ids
from edge_sdk.errors import EdgeError, Reason, Refused
from edge_sdk.wire import Frame, Kind
from server_ref import rounds
from server_ref.coordinator.limits import most_chunks


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What all frames of one round must say."""

    run: str
    round: int
    sizes: Mapping[int, int]
    """Coordinates of each stage that is taken."""
    codecs: tuple[str, ...]
    """Specs on offer."""

    def label(self, frame: Frame, *, seed: int) -> rounds.Label:
        """What the frame says of its update, once it fits the task.

        Raises:
            Refused: `mismatch`.
        """
        if frame.stage not in self.sizes:
            stages = ", ".join(map(str, sorted(self.sizes)))
            raise Refused(Reason.MISMATCH, f"stage {frame.stage}, this task has {stages}")
        dimension = self.sizes[frame.stage]
        wanted = {
            "kind": (frame.kind, Kind.UPDATE),
            "run": (frame.run, self.run),
            "round": (frame.number, self.round),
            "dimension": (frame.dimension, dimension),
            "seed": (frame.seed, seed),
        }
        for name, (got, want) in wanted.items():
            if got != want:
                raise Refused(Reason.MISMATCH, f"{name} {got}, this task has {want}")
        codec = self.offered((frame.codec, frame.parameter))
        if frame.count > most_chunks(dimension):
            limit = most_chunks(dimension)
            raise Refused(Reason.MISMATCH, f"{frame.count} chunks, limit {limit}")
        return rounds.Label(
            count=frame.count, examples=frame.examples, codec=codec, stage=frame.stage
        )

    def offered(self, ids: tuple[int, int] | None) -> str:
        """The first offered spec that a frame's codec fields can stand for.

        The fields leave out what only an encoder needs, such as the rate; so offers that differ
        in nothing else count as one.

        Raises:
            Refused: `mismatch`.
        """
        for spec in self.codecs:
            if ids in admitted_ids(spec):
                return spec
        raise Refused(Reason.MISMATCH, "the codec is not among those offered")


def stands_for(offered: str, sent: str) -> bool:
    """Whether an update coded as `sent` may have been sent for what was offered as `offered`."""
    return codec_ids(sent) in admitted_ids(offered)


def codec_ids(spec: str) -> tuple[int, int] | None:
    """What frames of this codec carry; None when this release does not know it."""
    try:
        return frame_ids(codec_from_spec(spec))
    except EdgeError:
        return None
