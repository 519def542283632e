"""Asynchronous runs: what they do not go with, and who was carried into a buffer. Pure.

The rules are those of `server_ref.rounds.buffer`; here they meet the settings and the records.
"""

from collections.abc import Sequence

from edge_sdk.errors import Misuse
from edge_sdk.plan import Plan
from server_ref import robust
from server_ref.coordinator.staging import growth_of
from server_ref.rounds import Origin
from server_ref.settings import Settings, Terms
from server_ref.store.records import RoundRow


def check_asynchronous(settings: Settings, plan: Plan) -> None:
    """See that an asynchronous run does what else is asked of it.

    Raises:
        Misuse: it goes with neither Artemis memories, split learning, growth, smaller stages nor
            rules that compare updates; or too few versions are kept for the devices at work.
    """
    if not settings.max_staleness:
        return
    never = {
        "memory artemis": settings.memory == "artemis",
        "split learning": "split" in settings.ways,
        "least_stage": settings.least_stage is not None,
        "a model that grows (schedule whole does not)": growth_of(settings, plan) is not None,
        f"aggregation {settings.aggregation}": not isinstance(
            robust.rule_from_spec(settings.aggregation), robust.Mean
        ),
    }
    for what, asked in never.items():
        if asked:
            raise Misuse(f"max_staleness: asynchronous runs do not go with {what}")
    if settings.keep_versions <= settings.max_staleness:
        raise Misuse(
            f"max_staleness {settings.max_staleness}: devices may need the versions they train "
            f"from, so keep_versions must be at least {settings.max_staleness + 1}"
        )


def hands_on(ended: Terms, following: Terms) -> bool:
    """Whether a round's devices go on in the round after it."""
    return ended.max_staleness is not None and following.max_staleness is not None


def origins_taken(rows: Sequence[RoundRow], number: int, *, since_version: int) -> list[Origin]:
    """Earlier rounds whose devices may have been carried into buffer `number`, oldest first.

    Who is carried passes from buffer to buffer, each with its own bound; so the strictest of those
    on the way decides.

    Args:
        rows: of all rounds, oldest first.
        number: of the buffer.
        since_version: nobody is carried from an older one: the run went back to other weights.
    """
    oldest, found = since_version, list[Origin]()
    for row in reversed([row for row in rows if row.number <= number]):
        if row.terms.max_staleness is None:
            break
        if row.number < number and row.model_version >= oldest:
            found.append(Origin(row.number, row.model_version))
        oldest = max(oldest, row.model_version - row.terms.max_staleness)
    return found[::-1]
