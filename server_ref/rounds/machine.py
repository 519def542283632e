"""The decisions, and the table of them."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from edge_sdk.errors import Reason
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
from server_ref.rounds.state import (
    COUNTED,
    EXPECTED,
    GONE,
    Member,
    Origin,
    Phase,
    Refuse,
    Round,
    Rules,
    Standing,
)

Decision = tuple[Round, tuple[Effect, ...]]


def open_round(
    *, number: int, model_version: int, rules: Rules, admits_from_s: float | None = None
) -> Round:
    """A new round that trains from `model_version`."""
    return Round(
        number=number, model_version=model_version, rules=rules, admits_from_s=admits_from_s
    )


def step(state: Round, event: Event, now_s: float) -> Decision:
    """What happens, and what has to be done, when `event` happens at `now_s`.

    Raises:
        ValueError: an event that cannot happen in this phase; the caller is wrong.
    """
    effects: tuple[Effect, ...] = ()
    due = state.deadline_at_s is not None and now_s >= state.deadline_at_s
    if due and state.phase is Phase.OPEN:
        state, effects = _fall_due(state, now_s)
    rule = TRANSITIONS.get((state.phase, type(event)))
    if rule is None:
        raise ValueError(f"{type(event).__name__} cannot happen to a round that is {state.phase}")
    state, further = rule(state, event, now_s)
    return state, effects + further


def readmit(
    state: Round,
    admitted: Iterable[str],
    declined: Iterable[str] = (),
    carried: Mapping[str, Origin] | None = None,
) -> Round:
    """A fresh round with the places that were held, or given back, when its server died.

    `carried` are those a buffer took over, see `still_carried`. Next, the chunks of the log happen
    to it again as `ChunkStored`: what was refused then is refused now. Last comes `recommit`.
    """
    members = {device: Member(origin=origin) for device, origin in (carried or {}).items()}
    members |= dict.fromkeys(admitted, Member()) | dict.fromkeys(declined, _DECLINED)
    return dataclasses.replace(state, members=members)


def recommit(state: Round, committed: Iterable[tuple[str, int, int]], *, now_s: float) -> Round:
    """Take in device, order and chunks held of every recorded commit.

    The deadline runs anew from `now_s`: downtime is not the devices' fault.
    """
    members = dict(state.members)
    for device, order, held in committed:
        members[device] = dataclasses.replace(
            members[device], standing=Standing.COMMITTED, order=order, held=held
        )
    if state.rules.max_staleness is not None:
        until_s = now_s + state.rules.deadline_s
        members = {d: dataclasses.replace(m, place_until_s=until_s) for d, m in members.items()}
    orders = [member.order + 1 for member in members.values() if member.order is not None]
    return dataclasses.replace(
        state,
        members=members,
        next_order=max(orders, default=0),
        deadline_at_s=now_s + state.rules.deadline_s if members else None,
    )


def reclose(state: Round) -> Round:
    """A restored round that had begun to close takes nothing more."""
    return dataclasses.replace(state, phase=Phase.CLOSING)


def _admit(state: Round, event: CheckIn, now_s: float) -> Decision:
    member = state.members.get(event.device)
    if member is None:
        return _admit_newcomer(state, event, now_s)
    if member.standing is Standing.COMMITTED:
        return state, (Wait("your update counts; the round goes on"),)
    if member.standing is Standing.DROPPED:
        return state, (Wait("your update was refused; the round goes on"),)
    if member.standing is Standing.DECLINED:
        return state, (Wait("you gave your place back; the round goes on"),)
    if member.origin is not None and not member.held and member.standing is Standing.ADMITTED:
        # Nothing of the old task has come, and who asks anew does not work on it: the newest model.
        return _with(state, event.device, _newcomer(state, now_s)), (Offer(event.device, new=True),)
    return state, (Offer(event.device, new=False),)


def _admit_newcomer(state: Round, event: CheckIn, now_s: float) -> Decision:
    if state.admits_from_s is not None and now_s < state.admits_from_s:
        return state, (Wait("the last rounds came to nothing: the run makes a pause"),)
    if places_held(state, now_s) >= state.rules.places:
        return state, (Wait("the cohort is full"),)
    if state.deadline_at_s is None:
        state = dataclasses.replace(state, deadline_at_s=now_s + state.rules.deadline_s)
    return _with(state, event.device, _newcomer(state, now_s)), (Offer(event.device, new=True),)


def _newcomer(state: Round, now_s: float) -> Member:
    if state.rules.max_staleness is None:
        return Member()
    return Member(place_until_s=now_s + state.rules.deadline_s)


def places_held(state: Round, now_s: float) -> int:
    """Places that nobody else can have.

    A round's are held by everybody who did not leave it; a buffer's by those who are expected.
    """
    if state.rules.max_staleness is None:
        return len(state.members) - state.standing_count(*GONE)
    return sum(
        member.standing in EXPECTED and member.place_until_s > now_s
        for member in state.members.values()
    )


def _pause(state: Round, _event: CheckIn, _now_s: float) -> Decision:
    return state, (Wait("the round is closing"),)


def _take_chunk(state: Round, event: Chunk, _now_s: float) -> Decision:
    return state, (_judge_chunk(state, event),)


def _hold_chunk(state: Round, event: ChunkStored, _now_s: float) -> Decision:
    effect = _judge_chunk(state, event)
    if not isinstance(effect, Store):
        return state, (effect,)
    member = state.members[event.device]
    held = member.held | 1 << event.index
    label = member.label or event.label
    return _with(state, event.device, dataclasses.replace(member, held=held, label=label)), (
        Held(),
    )


def _judge_chunk(state: Round, event: Chunk | ChunkStored) -> Effect:
    member = state.members.get(event.device)
    if member is None:
        return _NOT_ADMITTED
    if not 0 <= event.index < event.label.count:
        return Refuse(Reason.MISMATCH, f"chunk {event.index} of {event.label.count}")
    if member.label is not None and member.label != event.label:
        return Refuse(Reason.MISMATCH, "chunk disagrees with the chunks held of this update")
    if event.same is not None:
        return Held() if event.same else Refuse(Reason.CONFLICT, f"other chunk {event.index} held")
    if member.standing is not Standing.ADMITTED:
        return Refuse(Reason.CONFLICT, f"the update is {member.standing} without this chunk")
    return Store()


def _begin_commit(state: Round, event: Commit, _now_s: float) -> Decision:
    member = state.members.get(event.device)
    flaw = _commit_flaw(member, event)
    if member is None or flaw is not None:
        return state, (flaw or _NOT_ADMITTED,)
    if member.standing is Standing.COMMITTED:
        return state, (Receipted(event.device),)
    if member.standing is not Standing.ADMITTED:
        return state, (AwaitEnd(),)
    checking = dataclasses.replace(member, standing=Standing.CHECKING)
    return _with(state, event.device, checking), (Check(event.device),)


def _commit_flaw(member: Member | None, event: Commit) -> Refuse | None:
    """Why this commit cannot be taken, whatever the standing of the others."""
    if member is None:
        return _NOT_ADMITTED
    if member.flaw is not None:
        return member.flaw
    if member.label is None:
        return Refuse(Reason.INCOMPLETE, "no chunk of this update is held")
    if member.label != event.label:
        return _disagreement(member)
    return None


def _disagreement(member: Member) -> Refuse:
    if member.standing in COUNTED:
        return Refuse(Reason.CONFLICT, "committed before with other content")
    return Refuse(Reason.MISMATCH, "commit disagrees with the chunks held of this update")


def _finish_check(state: Round, event: Checked, now_s: float) -> Decision:
    member = _member(state, event.device, Standing.CHECKING)
    if event.flaw is not None:
        dropped = dataclasses.replace(member, standing=Standing.DROPPED, flaw=event.flaw)
        state, effects = _look(_with(state, event.device, dropped), Tick(), now_s)
        return state, (event.flaw, *effects)
    order = state.next_order
    recording = dataclasses.replace(member, standing=Standing.RECORDING, order=order)
    state = dataclasses.replace(state, next_order=order + 1)
    return _with(state, event.device, recording), (Record(event.device, order),)


def _recorded(state: Round, event: Recorded, now_s: float) -> Decision:
    member = _member(state, event.device, Standing.RECORDING)
    state = _with(state, event.device, dataclasses.replace(member, standing=Standing.COMMITTED))
    state, effects = _look(state, Tick(), now_s)
    return state, (Receipted(event.device), *effects)


def _look(state: Round, _event: Tick, _now_s: float) -> Decision:
    reached = state.standing_count(Standing.COMMITTED) >= state.rules.cohort
    barren = 0 < len(state.members) == state.standing_count(*GONE)
    if state.phase is Phase.OPEN and (reached or barren):
        return _close(state, count_unfinished=False)
    return state, ()


def _not_recorded(state: Round, event: NotRecorded, _now_s: float) -> Decision:
    member = _member(state, event.device, Standing.RECORDING, Standing.CHECKING)
    admitted = dataclasses.replace(member, standing=Standing.ADMITTED, order=None)
    return _with(state, event.device, admitted), ()


def _decline(state: Round, event: Decline, now_s: float) -> Decision:
    member = state.members.get(event.device)
    if member is None:
        return state, (_NOT_ADMITTED,)
    if member.standing in {Standing.CHECKING, Standing.RECORDING, Standing.COMMITTED}:
        return state, (Wait("too late: your update is complete"),)
    if member.standing is Standing.ADMITTED:
        gone = dataclasses.replace(member, standing=Standing.DECLINED, flaw=_DECLINED.flaw)
        state, effects = _look(_with(state, event.device, gone), Tick(), now_s)
        return state, (Wait("your place is free for another device"), *effects)
    return state, (Wait("your place is free already"),)


def _pause_after(state: Round, _event: Decline, _now_s: float) -> Decision:
    return state, (Wait("the round is over"),)


def _fall_due(state: Round, now_s: float) -> Decision:
    """A round closes at its deadline; a buffer with too few updates waits as long again."""
    if state.rules.max_staleness is None:
        return _close(state, count_unfinished=True)
    if state.standing_count(Standing.COMMITTED) >= state.rules.min_updates:
        return _close(state, count_unfinished=False)
    return dataclasses.replace(state, deadline_at_s=now_s + state.rules.deadline_s), ()


def _close(state: Round, *, count_unfinished: bool) -> Decision:
    return dataclasses.replace(state, phase=Phase.CLOSING), (Close(count_unfinished),)


def unfinished(state: Round) -> tuple[str, ...]:
    """Devices with chunks and without a commit, in the order in which to count them."""
    waiting = {Standing.ADMITTED, Standing.CHECKING}
    return tuple(sorted(d for d, m in state.members.items() if m.held and m.standing in waiting))


def _settle(state: Round, event: Settled, _now_s: float) -> Decision:
    if state.standing_count(Standing.RECORDING):
        raise ValueError("a round settles when every commit under way is written or given up")
    members = dict(state.members)
    order = state.next_order
    for device in event.usable:
        member = members[device]
        if member.standing in COUNTED or not member.held:
            raise ValueError(f"update of {device} cannot be counted as unfinished")
        members[device] = dataclasses.replace(member, standing=Standing.PARTIAL, order=order)
        order += 1
    settled = dataclasses.replace(state, members=members, next_order=order)
    if settled.standing_count(*COUNTED) >= state.rules.min_updates:
        return dataclasses.replace(settled, phase=Phase.PUBLISHED), (Publish(),)
    return dataclasses.replace(state, phase=Phase.ABANDONED), (Abandon(),)


def _refuse(state: Round, _event: Event, _now_s: float) -> Decision:
    return state, (_CLOSED,)


def _late_chunk(state: Round, event: Chunk | ChunkStored, now_s: float) -> Decision:
    """Who is not cut off by the end goes on sending."""
    if state.rules.max_staleness is None:
        return _refuse(state, event, now_s)
    if isinstance(event, Chunk):
        return _take_chunk(state, event, now_s)
    return _hold_chunk(state, event, now_s)


def _await_end(state: Round, _event: Commit | Checked, _now_s: float) -> Decision:
    return state, (AwaitEnd(),)


def _late_commit(state: Round, event: Commit | Checked, _now_s: float) -> Decision:
    member = state.members.get(event.device)
    if state.phase is Phase.ABANDONED or member is None or member.standing not in COUNTED:
        return state, (_CLOSED,)
    if isinstance(event, Commit) and member.label != event.label:
        return state, (_disagreement(member),)
    return state, (Receipted(event.device),)


def _nothing(state: Round, _event: Event, _now_s: float) -> Decision:
    return state, ()


def _with(state: Round, device: str, member: Member) -> Round:
    return dataclasses.replace(state, members={**state.members, device: member})


def _member(state: Round, device: str, *expected: Standing) -> Member:
    member = state.members[device]
    if member.standing not in expected:
        raise ValueError(f"{device} is {member.standing}, not {' or '.join(expected)}")
    return member


_NOT_ADMITTED = Refuse(Reason.NOT_ADMITTED, "no place in this round; check in first")
_CLOSED = Refuse(Reason.ROUND_CLOSED, "the round is over")
_DECLINED = Member(
    standing=Standing.DECLINED,
    flaw=Refuse(Reason.NOT_ADMITTED, "the place in this round was given back"),
)

TRANSITIONS: Mapping[tuple[Phase, type[Event]], Callable[..., Decision]] = {
    (Phase.OPEN, CheckIn): _admit,
    (Phase.OPEN, Chunk): _take_chunk,
    (Phase.OPEN, ChunkStored): _hold_chunk,
    (Phase.OPEN, Commit): _begin_commit,
    (Phase.OPEN, Checked): _finish_check,
    (Phase.OPEN, Recorded): _recorded,
    (Phase.OPEN, NotRecorded): _not_recorded,
    (Phase.OPEN, Decline): _decline,
    (Phase.OPEN, Tick): _look,
    (Phase.CLOSING, CheckIn): _pause,
    (Phase.CLOSING, Chunk): _late_chunk,
    (Phase.CLOSING, ChunkStored): _late_chunk,
    (Phase.CLOSING, Commit): _await_end,
    (Phase.CLOSING, Checked): _await_end,
    (Phase.CLOSING, Recorded): _recorded,
    (Phase.CLOSING, NotRecorded): _not_recorded,
    (Phase.CLOSING, Decline): _pause_after,
    (Phase.CLOSING, Tick): _nothing,
    (Phase.CLOSING, Settled): _settle,
    (Phase.PUBLISHED, CheckIn): _pause,
    (Phase.PUBLISHED, Chunk): _refuse,
    (Phase.PUBLISHED, ChunkStored): _refuse,
    (Phase.PUBLISHED, Commit): _late_commit,
    (Phase.PUBLISHED, Checked): _late_commit,
    (Phase.PUBLISHED, Decline): _pause_after,
    (Phase.PUBLISHED, Tick): _nothing,
    (Phase.ABANDONED, CheckIn): _pause,
    (Phase.ABANDONED, Chunk): _refuse,
    (Phase.ABANDONED, ChunkStored): _refuse,
    (Phase.ABANDONED, Commit): _late_commit,
    (Phase.ABANDONED, Checked): _late_commit,
    (Phase.ABANDONED, Decline): _pause_after,
    (Phase.ABANDONED, Tick): _nothing,
}
