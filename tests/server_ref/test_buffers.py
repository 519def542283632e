"""Promise: a buffer publishes every K updates and cuts nobody off who is not too far behind."""

import dataclasses

import pytest

from edge_sdk.errors import Reason
from server_ref import rounds
from server_ref.rounds import Label, Origin, Phase, Round, Rules, Standing

RULES = Rules(cohort=2, min_updates=1, deadline_s=10.0, over_selection=1.5, max_staleness=1)
LABEL = Label(count=2, examples=5, codec="float32")


def fresh(number: int = 1, version: int = 0, rules: Rules = RULES) -> Round:
    return rounds.open_round(number=number, model_version=version, rules=rules)


def play(state: Round, *events: rounds.Event, at_s: float = 0.0) -> tuple[Round, rounds.Effect]:
    effects: tuple[rounds.Effect, ...] = ()
    for event in events:
        state, effects = rounds.step(state, event, at_s)
    return state, effects[-1] if effects else rounds.Wait("nothing")


def committing(device: str) -> list[rounds.Event]:
    return [
        rounds.CheckIn(device), rounds.ChunkStored(device, 0, LABEL),
        rounds.Commit(device, LABEL), rounds.Checked(device), rounds.Recorded(device),
    ]  # fmt: skip


def full(*working: str) -> Round:
    """A buffer of two updates that was published while `working` had sent one chunk each."""
    state = fresh()
    for device in working:
        state, _ = play(state, rounds.CheckIn(device), rounds.ChunkStored(device, 1, LABEL))
    state, _ = play(state, *committing("a"))
    state, effect = play(state, *committing("b"))
    assert effect == rounds.Close(count_unfinished=False)
    state, effect = play(state, rounds.Settled())
    assert effect == rounds.Publish()
    return state


def test_who_works_still_goes_on_in_the_next_buffer_with_what_it_sent() -> None:
    state = rounds.carry_over(full("s"), fresh(2, 1), now_s=0.0)
    member = state.members["s"]
    assert set(state.members) == {"s"}, "those who counted begin anew"
    assert (member.held, member.origin, state.staleness(member)) == (2, Origin(1, 0), 1)
    assert play(state, rounds.CheckIn("s"))[1] == rounds.Offer("s", new=False)
    state, _ = play(state, rounds.ChunkStored("s", 0, LABEL))
    state, effect = play(
        state, rounds.Commit("s", LABEL), rounds.Checked("s"), rounds.Recorded("s")
    )
    assert effect == rounds.Receipted("s")
    assert [device for device, _ in state.counted()] == ["s"]


def test_too_stale_work_is_left_behind() -> None:
    second = rounds.carry_over(full("s"), fresh(2, 1), now_s=0.0)
    over = dataclasses.replace(second, phase=Phase.PUBLISHED)
    assert rounds.carry_over(over, fresh(3, 2), now_s=0.0).members == {}
    patient = dataclasses.replace(RULES, max_staleness=2)
    third = rounds.carry_over(over, fresh(3, 2, patient), now_s=0.0)
    assert third.staleness(third.members["s"]) == 2
    abandoned = dataclasses.replace(second, phase=Phase.ABANDONED)
    assert set(rounds.carry_over(abandoned, fresh(3, 1), now_s=0.0).members) == {"s"}


def test_who_asks_anew_before_anything_arrived_gets_the_newest_model() -> None:
    state, _ = play(fresh(), rounds.CheckIn("s"), *committing("a"))
    state, _ = play(state, *committing("b"), rounds.Settled())
    state = rounds.carry_over(state, fresh(2, 1), now_s=0.0)
    assert state.members["s"].origin == Origin(1, 0)
    state, effect = play(state, rounds.CheckIn("s"))
    assert effect == rounds.Offer("s", new=True)
    assert state.members["s"].origin is None


def test_chunks_are_taken_while_a_buffer_closes_but_not_while_a_round_does() -> None:
    for staleness in (1, None):
        state = fresh(rules=dataclasses.replace(RULES, max_staleness=staleness))
        state, _ = play(state, rounds.CheckIn("s"), *committing("a"))
        state, _ = play(state, *committing("b"))
        assert state.phase is Phase.CLOSING
        state, effect = play(state, rounds.ChunkStored("s", 0, LABEL))
        if staleness is None:
            assert effect == rounds.Refuse(Reason.ROUND_CLOSED, "the round is over")
        else:
            assert effect == rounds.Held()
        assert state.members["s"].held == (staleness is not None)


def test_a_deadline_publishes_what_is_enough_and_otherwise_runs_anew() -> None:
    rules = dataclasses.replace(RULES, cohort=3, min_updates=2)
    state, _ = play(fresh(rules=rules), *committing("a"))
    state, _ = play(state, rounds.Tick(), at_s=10.0)
    assert (state.phase, state.deadline_at_s) == (Phase.OPEN, 20.0)
    state, _ = play(state, *committing("b"), at_s=11.0)
    state, effect = play(state, rounds.Tick(), at_s=20.0)
    assert effect == rounds.Close(count_unfinished=False)


def test_an_update_that_counts_frees_its_place_and_so_does_a_long_silence() -> None:
    state = fresh(rules=dataclasses.replace(RULES, min_updates=2))
    state, _ = play(state, rounds.CheckIn("s"), rounds.CheckIn("t"), rounds.CheckIn("u"))
    assert isinstance(play(state, rounds.CheckIn("v"))[1], rounds.Wait)
    state, _ = play(state, *committing("s")[1:])
    assert play(state, rounds.CheckIn("v"))[1] == rounds.Offer("v", new=True)
    state, _ = play(state, rounds.CheckIn("v"))
    assert isinstance(play(state, rounds.CheckIn("w"), at_s=9.0)[1], rounds.Wait)
    late, effect = play(state, rounds.CheckIn("w"), at_s=10.0)
    assert effect == rounds.Offer("w", new=True)
    assert play(late, rounds.ChunkStored("t", 0, LABEL), at_s=10.0)[1] == rounds.Held()


def test_an_update_under_check_when_the_buffer_closes_is_asked_for_again() -> None:
    state, _ = play(
        fresh(), rounds.CheckIn("s"), rounds.ChunkStored("s", 0, LABEL), *committing("a")
    )
    state, _ = play(state, rounds.Commit("s", LABEL), *committing("b"))
    state, effect = play(state, rounds.Checked("s"))
    assert effect == rounds.AwaitEnd()
    state, _ = play(state, rounds.Settled())
    state = rounds.carry_over(state, fresh(2, 1), now_s=0.0)
    assert state.members["s"].standing is Standing.ADMITTED
    assert play(state, rounds.Commit("s", LABEL))[1] == rounds.Check("s")


def test_what_was_carried_is_known_again_from_records() -> None:
    admissions = {Origin(2, 1): ["a", "b"], Origin(1, 0): ["a", "c", "d"], Origin(3, 2): ["e"]}
    state = fresh(4, 2)
    left = {("b", 2), ("d", 1)}
    assert rounds.still_carried(state, admissions, left) == {
        "a": Origin(2, 1), "e": Origin(3, 2),
    }, "c's version is too old; a's later task took the place of the earlier"  # fmt: skip
    patient = fresh(4, 2, dataclasses.replace(RULES, max_staleness=2))
    found = rounds.still_carried(patient, admissions, left)
    assert found == {"a": Origin(2, 1), "c": Origin(1, 0), "e": Origin(3, 2)}
    assert "a" not in rounds.still_carried(patient, admissions, {*left, ("a", 2)})
    plain = fresh(4, 2, dataclasses.replace(RULES, max_staleness=None))
    assert rounds.still_carried(plain, admissions, left) == {}


def test_weights_fall_with_staleness() -> None:
    weights = [rounds.staleness_weight(s) for s in range(4)]
    assert weights == pytest.approx([1.0, 2**-0.5, 3**-0.5, 0.5])


def test_only_a_buffer_that_is_over_hands_on() -> None:
    with pytest.raises(ValueError, match="nobody leaves"):
        rounds.carry_over(fresh(), fresh(2, 1), now_s=0.0)
    plain = dataclasses.replace(RULES, max_staleness=None)
    with pytest.raises(ValueError, match="only a buffer"):
        rounds.carry_over(full(), fresh(2, 1, plain), now_s=0.0)
    with pytest.raises(ValueError, match="staleness"):
        dataclasses.replace(RULES, max_staleness=-1)
