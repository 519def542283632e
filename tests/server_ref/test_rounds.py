"""Promise: whatever happens in whatever order, a round counts each update once and fairly."""

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_sdk.errors import Reason
from server_ref import rounds
from server_ref.rounds import Label, Phase, Round, Rules, Standing

RULES = Rules(cohort=2, min_updates=2, deadline_s=10.0, over_selection=1.5)
DEVICES = st.sampled_from("abcde")
HONEST = Label(count=3, examples=5, codec="float32")
LABELS = st.sampled_from(
    [Label(count=3, examples=5, codec="float32")] * 5
    + [Label(count=2, examples=5, codec="float32")]
)
FLAW = rounds.Refuse(Reason.NOT_FINITE, "bad")


def fresh(rules: Rules = RULES) -> Round:
    return rounds.open_round(number=1, model_version=0, rules=rules)


class RoundLife(RuleBasedStateMachine):
    """Plays devices, disk and clock; keeps its own books of what was promised to whom."""

    def __init__(self) -> None:
        super().__init__()
        self.agreed = RULES
        self.round = fresh()
        self.now_s = 0.0
        self.stored: dict[str, set[int]] = {}
        self.in_flight: list[tuple[str, int, Label]] = []
        self.receipts: dict[str, tuple[int, int]] = {}
        self.records: list[tuple[str, int]] = []
        self.closes = 0
        self.partials_allowed = False

    @initialize(least=st.sampled_from([1, 2]), cohort=st.sampled_from([2, 4]))
    def begin(self, least: int, cohort: int) -> None:
        self.agreed = dataclasses.replace(RULES, min_updates=least, cohort=cohort)
        self.round = fresh(self.agreed)

    def happen(self, event: rounds.Event) -> rounds.Effect | None:
        self.round, effects = rounds.step(self.round, event, self.now_s)
        answer = None
        for effect in effects:
            if isinstance(effect, rounds.Close):
                self.closes += 1
                self.partials_allowed = effect.count_unfinished
            else:
                answer = effect
        return answer

    @rule(device=DEVICES)
    def check_in(self, device: str) -> None:
        was_open = self.round.phase is Phase.OPEN
        answer = self.happen(rounds.CheckIn(device))
        assert isinstance(answer, rounds.Offer | rounds.Wait)
        if isinstance(answer, rounds.Offer):
            assert was_open
            assert device in self.round.members

    @rule(device=DEVICES, index=st.integers(-1, 3), label=LABELS)
    def send_chunk(self, device: str, index: int, label: Label) -> None:
        held = index in self.stored.get(device, ())
        answer = self.happen(rounds.Chunk(device, index, label, True if held else None))
        if isinstance(answer, rounds.Store):
            assert not held
            self.in_flight.append((device, index, label))

    @rule(device=DEVICES, index=st.integers(0, 2), label=LABELS)
    def send_other_content(self, device: str, index: int, label: Label) -> None:
        if index in self.stored.get(device, ()):
            answer = self.happen(rounds.Chunk(device, index, label, same=False))
            assert isinstance(answer, rounds.Refuse)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def chunk_reaches_disk(self, data: st.DataObject) -> None:
        device, index, label = self.in_flight.pop(0)
        again = index in self.stored.get(device, ())
        answer = self.happen(
            rounds.ChunkStored(device, index, label, data.draw(st.booleans()) if again else None)
        )
        if isinstance(answer, rounds.Held) and not again:
            self.stored.setdefault(device, set()).add(index)

    @rule(device=DEVICES, label=LABELS)
    def commit(self, device: str, label: Label) -> None:
        answer = self.happen(rounds.Commit(device, label))
        if isinstance(answer, rounds.Receipted):
            assert device in self.receipts or self.round.phase is Phase.PUBLISHED

    @precondition(lambda self: self._having(Standing.CHECKING) and not self._over())
    @rule(data=st.data(), good=st.booleans())
    def finish_check(self, data: st.DataObject, good: bool) -> None:
        device = data.draw(st.sampled_from(self._having(Standing.CHECKING)))
        answer = self.happen(rounds.Checked(device, None if good else FLAW))
        if isinstance(answer, rounds.Record):
            assert good
            self.records.append((device, answer.order))

    @precondition(lambda self: self.records and not self._over())
    @rule(written=st.booleans())
    def disk_answers(self, written: bool) -> None:
        device, order = self.records.pop(0)
        if not written:
            self.happen(rounds.NotRecorded(device))
            return
        answer = self.happen(rounds.Recorded(device))
        assert answer == rounds.Receipted(device)
        assert device not in self.receipts, "counted twice"
        self.receipts[device] = (order, self.round.members[device].held)

    @rule(device=DEVICES)
    def decline(self, device: str) -> None:
        before = self.round.members.get(device)
        answer = self.happen(rounds.Decline(device))
        if before is None and self.round.phase is Phase.OPEN:
            assert isinstance(answer, rounds.Refuse)
        else:
            assert isinstance(answer, rounds.Wait)
        assert self.happen(rounds.Decline(device)) is not None, "declining twice is fine"
        if before is not None and before.standing is not Standing.ADMITTED:
            assert self.round.members[device].standing is before.standing

    @precondition(lambda self: not self._over())
    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds
        self.happen(rounds.Tick())

    @precondition(lambda self: self.round.phase is Phase.CLOSING and not self.records)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offered = rounds.unfinished(self.round) if self.partials_allowed else ()
        usable = tuple(d for d in offered if data.draw(st.booleans()))
        answer = self.happen(rounds.Settled(usable))
        counted = len(self.receipts) + len(usable)
        assert isinstance(answer, rounds.Publish) == (counted >= self.agreed.min_updates)

    @rule(device=DEVICES, steps=st.integers(1, 6))
    def behave(self, device: str, steps: int) -> None:
        """Some honest steps of one device, so that rounds get somewhere."""
        for _ in range(steps):
            member = self.round.members.get(device)
            if self.round.phase is not Phase.OPEN or member is None:
                self.check_in(device)
            elif any(owner == device for owner, _, _ in self.in_flight):
                self._flush()
            elif not member.held:
                self.send_chunk(device, 0, HONEST)
            elif member.standing is Standing.CHECKING:
                answer = self.happen(rounds.Checked(device))
                assert isinstance(answer, rounds.Record)
                self.records.append((device, answer.order))
            elif member.standing is Standing.RECORDING:
                self.disk_answers(written=True)
            else:
                self.commit(device, member.label or HONEST)

    @precondition(lambda self: self.stored and not self._over())
    @rule(written=st.booleans(), usable=st.booleans())
    def end_at_the_deadline(self, written: bool, usable: bool) -> None:
        """All the way to the end, while some devices are still at it."""
        self.now_s = max(self.now_s, self.round.deadline_at_s or 0.0)
        self.happen(rounds.Tick())
        while self.records:
            self.disk_answers(written)
        offered = rounds.unfinished(self.round) if self.partials_allowed else ()
        self.happen(rounds.Settled(offered if usable else ()))

    def _flush(self) -> None:
        while self.in_flight:
            device, index, label = self.in_flight.pop(0)
            same = True if index in self.stored.get(device, ()) else None
            if self.happen(rounds.ChunkStored(device, index, label, same)) == rounds.Held():
                self.stored.setdefault(device, set()).add(index)

    def _having(self, standing: Standing) -> list[str]:
        return sorted(d for d, m in self.round.members.items() if m.standing is standing)

    def _over(self) -> bool:
        return self.round.phase in {Phase.PUBLISHED, Phase.ABANDONED}

    @invariant()
    def no_more_places_than_allowed(self) -> None:
        gone = self.round.standing_count(*rounds.GONE)
        assert len(self.round.members) - gone <= self.agreed.places

    @invariant()
    def an_open_round_still_has_somebody_to_wait_for(self) -> None:
        if self.round.phase is Phase.OPEN and self.round.members:
            assert len(self.round.members) > self.round.standing_count(*rounds.GONE)

    @invariant()
    def it_closes_once(self) -> None:
        assert self.closes == (self.round.phase is not Phase.OPEN)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        for device, chunks in self.stored.items():
            held = self.round.members[device].held
            assert {i for i in range(9) if held >> i & 1} == chunks

    @invariant()
    def receipts_keep_their_word(self) -> None:
        for device, (order, held) in self.receipts.items():
            member = self.round.members[device]
            assert (member.order, member.held, member.standing) == (
                order, held, Standing.COMMITTED,
            )  # fmt: skip

    @invariant()
    def summed_in_one_order_without_repeats(self) -> None:
        orders = [member.order for _, member in self.round.counted()]
        assert None not in orders
        assert orders == sorted(set(orders), key=lambda order: order or 0)

    @invariant()
    def after_the_deadline_it_is_not_open(self) -> None:
        due = self.round.deadline_at_s
        if due is None:
            assert not self.round.members
        assert self.round.phase is not Phase.OPEN or due is None or self.now_s <= due + 6

    @invariant()
    def dropped_and_declined_updates_never_count(self) -> None:
        counted = {device for device, _ in self.round.counted()}
        for standing in rounds.GONE:
            assert not counted & set(self._having(standing))
            assert not set(rounds.unfinished(self.round)) & set(self._having(standing))


TestRoundLife = RoundLife.TestCase
TestRoundLife.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)


def test_every_event_is_answered_in_every_phase_or_is_a_fault_of_the_caller() -> None:
    label = Label(count=1, examples=1, codec="float32")
    events: list[rounds.Event] = [
        rounds.CheckIn("x"), rounds.Chunk("x", 0, label), rounds.ChunkStored("x", 0, label),
        rounds.Commit("x", label), rounds.Decline("x"), rounds.Tick(),
    ]  # fmt: skip
    for phase in Phase:
        for event in events:
            rounds.step(dataclasses.replace(fresh(), phase=phase), event, 0.0)
    for phase in (Phase.OPEN, Phase.PUBLISHED, Phase.ABANDONED):
        with pytest.raises(ValueError, match="cannot happen"):
            rounds.step(dataclasses.replace(fresh(), phase=phase), rounds.Settled(), 0.0)


LABEL = Label(count=2, examples=5, codec="float32")


def play(state: Round, *events: rounds.Event, at_s: float = 0.0) -> tuple[Round, rounds.Effect]:
    """Let `events` happen; the last effect."""
    effects: tuple[rounds.Effect, ...] = ()
    for event in events:
        state, effects = rounds.step(state, event, at_s)
    return state, effects[-1]


def refusal(effect: rounds.Effect) -> Reason:
    assert isinstance(effect, rounds.Refuse), effect
    return effect.reason


def test_refusals_of_a_single_device() -> None:
    state = fresh()
    assert refusal(play(state, rounds.Chunk("a", 0, LABEL))[1]) is Reason.NOT_ADMITTED
    assert refusal(play(state, rounds.Commit("a", LABEL))[1]) is Reason.NOT_ADMITTED
    state, _ = play(state, rounds.CheckIn("a"))
    assert refusal(play(state, rounds.Commit("a", LABEL))[1]) is Reason.INCOMPLETE
    assert refusal(play(state, rounds.Chunk("a", 2, LABEL))[1]) is Reason.MISMATCH
    state, _ = play(state, rounds.ChunkStored("a", 0, LABEL))
    other = dataclasses.replace(LABEL, examples=6)
    assert refusal(play(state, rounds.Chunk("a", 1, other))[1]) is Reason.MISMATCH
    assert refusal(play(state, rounds.Commit("a", other))[1]) is Reason.MISMATCH
    assert refusal(play(state, rounds.Chunk("a", 0, LABEL, same=False))[1]) is Reason.CONFLICT
    state, _ = play(state, rounds.Commit("a", LABEL), rounds.Checked("a"), rounds.Recorded("a"))
    assert refusal(play(state, rounds.Commit("a", other))[1]) is Reason.CONFLICT
    assert refusal(play(state, rounds.Chunk("a", 1, LABEL))[1]) is Reason.CONFLICT
    assert play(state, rounds.Commit("a", LABEL))[1] == rounds.Receipted("a")


def test_an_unusable_update_is_dropped_and_its_place_is_free() -> None:
    state = fresh(Rules(cohort=2, min_updates=1, deadline_s=9))
    state, _ = play(
        state, rounds.CheckIn("a"), rounds.CheckIn("c"), rounds.ChunkStored("a", 0, LABEL)
    )
    assert isinstance(play(state, rounds.CheckIn("b"))[1], rounds.Wait)
    state, effect = play(state, rounds.Commit("a", LABEL), rounds.Checked("a", FLAW))
    assert effect == FLAW
    assert play(state, rounds.Commit("a", LABEL))[1] == FLAW
    assert play(state, rounds.CheckIn("b"))[1] == rounds.Offer("b", new=True)


def test_a_place_given_back_is_free_for_others_but_not_for_the_same_device() -> None:
    state, _ = play(
        fresh(Rules(cohort=2, min_updates=1, deadline_s=9)),
        rounds.CheckIn("a"), rounds.CheckIn("b"), rounds.ChunkStored("a", 0, LABEL),
    )  # fmt: skip
    state, effect = play(state, rounds.Decline("a"))
    assert isinstance(effect, rounds.Wait)
    for refused in (rounds.Commit("a", LABEL), rounds.Decline("c")):
        assert refusal(play(state, refused)[1]) is Reason.NOT_ADMITTED
    assert refusal(play(state, rounds.Chunk("a", 1, LABEL))[1]) is Reason.CONFLICT
    assert isinstance(play(state, rounds.CheckIn("a"))[1], rounds.Wait)
    assert play(state, rounds.CheckIn("c"))[1] == rounds.Offer("c", new=True)
    assert rounds.unfinished(state) == ()


@pytest.mark.parametrize("last", [rounds.Decline("b"), rounds.Checked("b", FLAW)])
def test_a_round_that_everybody_left_ends_at_once(last: rounds.Event) -> None:
    state, _ = play(
        fresh(), rounds.CheckIn("a"), rounds.CheckIn("b"), rounds.ChunkStored("b", 0, LABEL)
    )
    state, effect = play(state, rounds.Decline("a"))
    assert isinstance(effect, rounds.Wait)
    if isinstance(last, rounds.Checked):
        state, _ = play(state, rounds.Commit("b", LABEL))
    state, effect = play(state, last)
    assert effect == rounds.Close(count_unfinished=False)
    assert play(state, rounds.Settled())[1] == rounds.Abandon()


def test_a_round_after_a_pause_admits_nobody_before_its_time() -> None:
    state = rounds.open_round(number=1, model_version=0, rules=RULES, admits_from_s=5.0)
    assert isinstance(play(state, rounds.CheckIn("a"), at_s=4.9)[1], rounds.Wait)
    assert play(state, rounds.CheckIn("a"), at_s=5.0)[1] == rounds.Offer("a", new=True)


def test_a_place_given_back_stays_so_after_a_restart() -> None:
    state = rounds.readmit(fresh(), ["a"], ["b"])
    state = rounds.recommit(state, [], now_s=0.0)
    assert isinstance(play(state, rounds.CheckIn("b"))[1], rounds.Wait)
    gone = rounds.recommit(rounds.readmit(fresh(), [], ["b"]), [], now_s=0.0)
    assert play(gone, rounds.Tick())[1] == rounds.Close(count_unfinished=False)


def test_the_deadline_runs_from_the_first_admission() -> None:
    state, effects = rounds.step(fresh(), rounds.Tick(), 1e6)
    assert (state.phase, effects) == (Phase.OPEN, ())
    state, _ = rounds.step(state, rounds.CheckIn("a"), 1e6)
    state, effects = rounds.step(state, rounds.Tick(), 1e6 + RULES.deadline_s)
    assert effects == (rounds.Close(count_unfinished=True),)


def test_what_comes_late_is_refused_as_closed() -> None:
    state, _ = play(fresh(), rounds.CheckIn("a"), rounds.ChunkStored("a", 0, LABEL))
    _, effect = play(state, rounds.Chunk("a", 1, LABEL), at_s=RULES.deadline_s)
    assert refusal(effect) is Reason.ROUND_CLOSED


def test_a_restored_round_goes_on_where_it_was() -> None:
    before, _ = play(
        fresh(),
        rounds.CheckIn("a"), rounds.CheckIn("b"),
        rounds.ChunkStored("a", 0, LABEL), rounds.ChunkStored("b", 1, LABEL),
        rounds.Commit("a", LABEL), rounds.Checked("a"), rounds.Recorded("a"),
    )  # fmt: skip
    after = rounds.readmit(fresh(), ["a", "b"])
    after, _ = play(after, rounds.ChunkStored("a", 0, LABEL), rounds.ChunkStored("b", 1, LABEL))
    after = rounds.recommit(after, [("a", 0, 1)], now_s=0.0)
    assert after == before


def test_a_restored_round_that_had_reached_its_goal_closes_at_once() -> None:
    state = rounds.readmit(fresh(), ["a", "b"])
    state, _ = play(state, rounds.ChunkStored("a", 0, LABEL), rounds.ChunkStored("b", 0, LABEL))
    state = rounds.recommit(state, [("a", 0, 1), ("b", 1, 1)], now_s=5.0)
    assert play(state, rounds.Tick(), at_s=5.0)[1] == rounds.Close(count_unfinished=False)


@given(st.sets(st.integers(0, 200)))
def test_ranges_and_bits_are_inverse(chunks: set[int]) -> None:
    held = sum(1 << chunk for chunk in chunks)
    found = rounds.ranges(held)
    assert {i for first, end in found for i in range(first, end)} == chunks
    assert all(a[1] < b[0] for a, b in itertools.pairwise(found))
    assert rounds.bits(found) == held
