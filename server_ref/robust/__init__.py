"""Averages that one bad device cannot move far. Pure.

A weighted mean follows whoever shouts: one update of length R with share p moves it by p R. Each
rule here states how far *one* device, whatever it sends, can move the result (n updates of which it
is one; `h` the values of the others in one coordinate, rising; D the largest distance between two
of the others):

=============== ==================================================== ==============================
rule            one device moves the result by at most               and costs
=============== ==================================================== ==============================
`mean`          its share of the limit on norms                      nothing
`clip`          `2 c w / (W + w)`: c the limit, w its capped weight, nothing; needs earlier norms
                W the weights of the others
`median`        per coordinate the gap between middle values of the  weights; all updates at the end
                others: it stays within `h_m .. h_m+1`
`trimmed:beta=` per coordinate `(h_(n-k) - h_k) / (n - 2 k)`,        weights; all updates at the end
                `k = floor(beta n)` of at least 1
`krum:f=`       it may be picked only if it lies within              all but few updates
                `D sqrt((n - f - 2) / (n - 2 f - 2))` of another
=============== ==================================================== ==============================

A number of examples is a claim of the device, so the last three give every update one vote and
`clip` caps weights as it caps norms. `median` and `trimmed` keep a coordinate within what the
honest sent as long as fewer than half, or at most k, of the updates there are bad.

`mean` and `clip` take one update after the other as it commits. The others need all of them at the
end of the round: `combine` asks each `Stored` update to decode the chunks that touch a range of
coordinates, again for each range, so memory stays within `room_bytes` (see `blocks`) however many
updates there are.

Sources: Yin et al. 2018, arXiv 1803.01498 (median, trimmed mean); Blanchard et al. 2017, arXiv
1703.02757 (Krum); Karimireddy et al. 2021, arXiv 2012.10333 (clipping).
"""

from server_ref.robust.blocks import ROOM_BYTES, Stored
from server_ref.robust.clipping import RECENT, clip_limit, clipped, most_weight, remember
from server_ref.robust.krum import krum_scores
from server_ref.robust.rules import (
    Clip,
    Krum,
    Mean,
    Median,
    Result,
    Rule,
    Trimmed,
    combine,
    rule_from_spec,
)

__all__ = [
    "RECENT",
    "ROOM_BYTES",
    "Clip",
    "Krum",
    "Mean",
    "Median",
    "Result",
    "Rule",
    "Stored",
    "Trimmed",
    "clip_limit",
    "clipped",
    "combine",
    "krum_scores",
    "most_weight",
    "remember",
    "rule_from_spec",
]
