"""Asynchronous rounds: buffers of K updates, whatever version each was trained from.

FedBuff (Nguyen et al. 2022, arXiv 2106.06639): the server publishes whenever K updates have come,
and a device that was not quick enough goes on with what it has; its update counts in the buffer
that is open when it commits, with the weight `1 / sqrt(1 + staleness)`. Here a buffer is a round
with `Rules.max_staleness`, in the same machine, and differs in four things:

- Nobody is cut off when it closes: chunks are taken while it does, and `carry_over` takes those who
  are still expected, with the chunks held of them, into the next, unless their version has become
  too old.
- It closes at its goal of updates, or at the deadline with the least number; with fewer it waits
  as long again. Unfinished updates never count in part.
- Places bound how many devices work at a time. An update that counts frees its place, and a place
  not used within the deadline is free for another device; its update is taken all the same.
- A device that checks in again before anything of its old task arrived gets the newest model.

Frames, commit and receipt of an update name the round whose task it answers, its *origin*; so
(origin, device) is what an update is counted under once, and seeds are derived from. To replay a
buffer after a crash these records are enough, and needed: admissions of every round since the
oldest version taken; chunks in the log of their origin; and for each counted update its origin, the
buffer it counts in, its position there and the chunks held. Staleness follows from the versions
that both rounds train from, and so do weights: a square root of a small whole number and a division
are the same on every machine.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping

from server_ref.rounds.state import EXPECTED, Member, Origin, Phase, Round, Standing


def staleness_weight(staleness: int) -> float:
    """What the examples of an update count, trained from so many versions ago."""
    return 1 / math.sqrt(1 + staleness)


def carry_over(ended: Round, fresh: Round, *, now_s: float) -> Round:
    """The next buffer, just opened, with everybody who is still expected.

    Raises:
        ValueError: `ended` is not over, or one of the two is no buffer.
    """
    if ended.phase not in {Phase.PUBLISHED, Phase.ABANDONED}:
        raise ValueError(f"round {ended.number} is {ended.phase}: nobody leaves it yet")
    most = fresh.rules.max_staleness
    if most is None or ended.rules.max_staleness is None:
        raise ValueError("only a buffer hands its devices on to the next")
    members: dict[str, Member] = {}
    for device, member in ended.members.items():
        origin = member.origin or Origin(ended.number, ended.model_version)
        if member.standing in EXPECTED and fresh.model_version - origin.version <= most:
            members[device] = dataclasses.replace(
                member, standing=Standing.ADMITTED, order=None, origin=origin
            )
    deadline_at_s = now_s + fresh.rules.deadline_s if members else fresh.deadline_at_s
    return dataclasses.replace(fresh, members=members, deadline_at_s=deadline_at_s)


def still_carried(
    state: Round, admissions: Mapping[Origin, Collection[str]], left: Collection[tuple[str, int]]
) -> dict[str, Origin]:
    """Who was carried into a buffer, from what is recorded: for `readmit`, after a crash.

    Args:
        state: the buffer, freshly opened.
        admissions: of earlier rounds that ended: who was admitted, in any order.
        left: (device, round of origin) of those whose update counted in an earlier buffer, or who
            declined. Who was refused comes back, and is refused again.
    """
    most = state.rules.max_staleness
    found: dict[str, Origin] = {}
    for origin in sorted(admissions, key=lambda origin: origin.round):
        young = most is not None and state.model_version - origin.version <= most
        for device in admissions[origin]:
            found.pop(device, None)  # a later task took the place of the earlier
            if young and (device, origin.round) not in left:
                found[device] = origin
    return found
