"""What a round may do: a pure state machine.

Time is an argument and every decision is `step(round, event, now_s) -> (round, effects)`: the
caller carries the effects out and says how that went in a later event. Drawn as a table (`—` can
not happen; what is not named changes nothing but the effect):

=============== =============================== ==================== =========================
event           open                            closing              published, abandoned
=============== =============================== ==================== =========================
`CheckIn`       `Offer` or `Wait`               `Wait`               `Wait`
`Chunk`         `Store`, `Held` or `Refuse`     `Refuse`             `Refuse`
`ChunkStored`   held                            `Refuse`             `Refuse`
`Commit`        `Check`, `Receipted`, `Refuse`  `AwaitEnd`           `Receipted` or `Refuse`
`Checked`       `Record`, or dropped: `Refuse`  `AwaitEnd`           `Receipted` or `Refuse`
`Recorded`      committed; -> closing at goal   committed            —
`NotRecorded`   back to admitted                back to admitted     —
`Decline`       declined: `Wait`, or `Refuse`   `Wait`               `Wait`
`Tick`          -> closing at deadline, goal    nothing              nothing
                or when everybody is gone
`Settled`       —                               -> published if      —
                                                enough, else
                                                abandoned
=============== =============================== ==================== =========================

The deadline runs from the first admission, so a server without devices does nothing. Whatever
happens at or after the deadline happens to a closing round. At the deadline, but not when the goal
closes the round, unfinished updates count for the chunks held.

A place whose device declined, or whose update was unusable, is free for another device, but not for
the same. When nobody is left of those who were admitted the round closes at once, and so is
abandoned: nothing can come any more, and the next round is open to everybody.

With `Rules.max_staleness` the same machine runs buffers of updates, asynchronously: see `buffer`.
"""

from server_ref.rounds.buffer import carry_over, staleness_weight, still_carried
from server_ref.rounds.events import (
    Abandon,
    AwaitEnd,
    Check,
    Checked,
    CheckIn,
    Chunk,
    ChunkStored,
    Close,
    Commit,
    Decline,
    Effect,
    Event,
    Held,
    NotRecorded,
    Offer,
    Publish,
    Receipted,
    Record,
    Recorded,
    Settled,
    Store,
    Tick,
    Wait,
)
from server_ref.rounds.machine import (
    TRANSITIONS,
    Decision,
    open_round,
    places_held,
    readmit,
    reclose,
    recommit,
    step,
    unfinished,
)
from server_ref.rounds.state import (
    COUNTED,
    EXPECTED,
    GONE,
    Label,
    Member,
    Origin,
    Phase,
    Refuse,
    Round,
    Rules,
    Standing,
    bits,
    ranges,
)

__all__ = [
    "COUNTED",
    "EXPECTED",
    "GONE",
    "TRANSITIONS",
    "Abandon",
    "AwaitEnd",
    "Check",
    "CheckIn",
    "Checked",
    "Chunk",
    "ChunkStored",
    "Close",
    "Commit",
    "Decision",
    "Decline",
    "Effect",
    "Event",
    "Held",
    "Label",
    "Member",
    "NotRecorded",
    "Offer",
    "Origin",
    "Phase",
    "Publish",
    "Receipted",
    "Record",
    "Recorded",
    "Refuse",
    "Round",
    "Rules",
    "Settled",
    "Standing",
    "Store",
    "Tick",
    "Wait",
    "bits",
    "carry_over",
    "open_round",
    "places_held",
    "ranges",
    "readmit",
    "reclose",
    "recommit",
    "staleness_weight",
    "step",
    "still_carried",
    "unfinished",
]
