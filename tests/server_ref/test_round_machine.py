"""Promise: over rounds, buffers, crashes and late arrivals nothing is counted twice, nothing that
was acknowledged is lost, receipts stay, and memories and replicas agree on both sides."""

import dataclasses
from collections import defaultdict

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edge_sdk.errors import Reason
from server_ref import rounds
from server_ref.aggregate import WeightedSum
from server_ref.rounds import Label, Phase, Rules, Standing
from tests.server_ref.fleet_model import ALL_HELD, Device, Records, Row, Server, chunks_of

NAMES = "abcde"
DEVICES = st.sampled_from(NAMES)
RULES = Rules(cohort=2, min_updates=1, deadline_s=10.0, over_selection=1.5)
FLAW = rounds.Refuse(Reason.NOT_FINITE, "bad")


class Fleet(RuleBasedStateMachine):
    """Devices, disk, clock and crashes around one server."""

    def __init__(self) -> None:
        super().__init__()
        self.start(None)

    @initialize(staleness=st.sampled_from([None, None, 0, 1, 3]))
    def start(self, staleness: int | None) -> None:
        rules = dataclasses.replace(RULES, max_staleness=staleness)
        self.server = Server(Records(rules), 0.0)
        self.devices = {name: Device(name) for name in NAMES}
        self.acknowledged: defaultdict[tuple[int, str], set[int]] = defaultdict(set)
        self.receipts: dict[tuple[int, str], Row] = {}

    @property
    def records(self) -> Records:
        return self.server.records

    def in_phase(self, phase: Phase) -> bool:
        return self.server.state.phase is phase

    def standing(self, standing: Standing) -> list[str]:
        return sorted(d for d, m in self.server.state.members.items() if m.standing is standing)

    # ------------------------------------------------------------------ devices

    @rule(name=DEVICES)
    def check_in(self, name: str) -> None:
        state, now_s = self.server.state, self.server.now_s
        full = rounds.places_held(state, now_s) >= state.rules.places
        self.devices[name].check_in(self.server)
        if full:
            assert name in state.members or name not in self.server.state.members

    @rule(name=DEVICES, index=st.integers(0, 1))
    def send_chunk(self, name: str, index: int) -> None:
        device = self.devices[name]
        if device.task is None:
            return
        answer = self.server.chunk(
            name, device.task.round, index, device.label, device.payloads[index]
        )
        if answer == "held":
            self.acknowledged[device.task.round, name].add(index)

    @precondition(lambda self: self.server.in_flight)
    @rule()
    def chunk_reaches_the_disk(self) -> None:
        held = self.server.disk_takes_chunk()
        if held is not None:
            self.acknowledged[held[:2]].add(held[2])

    @rule(name=DEVICES)
    def commit(self, name: str) -> None:
        device = self.devices[name]
        if device.task is None:
            return
        answer = self.server.commit(name, device.task.round, device.label)
        if isinstance(answer, rounds.Receipted | Row):
            self.note_receipt(device.task.round, name)

    def note_receipt(self, origin: int, name: str) -> None:
        row = self.records.updates[origin, name]
        assert self.receipts.setdefault((origin, name), row) == row, "another receipt"

    @rule(name=DEVICES)
    def learn(self, name: str) -> None:
        self.devices[name].learn(self.server)

    @rule(name=DEVICES)
    def decline(self, name: str) -> None:
        device = self.devices[name]
        if device.task is not None and (device.task.round, name) not in self.records.updates:
            self.server.decline(name, device.task.round)
            device.task, device.payloads = None, []

    @rule(name=DEVICES)
    def lose_state(self, name: str) -> None:
        self.devices[name].lose_state()

    @rule(name=DEVICES, origin=st.integers(1, 4), index=st.integers(0, 1))
    def late_or_foreign_chunk(self, name: str, origin: int, index: int) -> None:
        """For a task the device does not have (any more): refused, or it is its own."""
        if self.server.works_on(name, origin):
            return
        label = Label(count=2, examples=1, codec="float16")
        assert self.server.chunk(name, origin, index, label, b"x") == "refused"

    # ------------------------------------------------------------------ disk, clock, end

    @precondition(lambda self: self.standing(Standing.CHECKING))
    @rule(data=st.data(), good=st.sampled_from([True, True, True, False]))
    def finish_check(self, data: st.DataObject, good: bool) -> None:
        name = data.draw(st.sampled_from(self.standing(Standing.CHECKING)))
        self.server.checked(name, None if good else FLAW)

    @precondition(lambda self: self.server.recording)
    @rule(written=st.sampled_from([True, True, True, False]))
    def disk_takes_commit(self, written: bool) -> None:
        name = self.server.recording[0][0]
        origin = self.server.origin_of(name)
        self.server.disk_takes_commit(written=written)
        if written and origin is not None:
            self.note_receipt(origin.round, name)

    @rule(seconds=st.sampled_from([0.5, 3.0, 11.0]))
    def time_passes(self, seconds: float) -> None:
        self.server.now_s += seconds
        self.server.happen(rounds.Tick())

    @precondition(lambda self: self.in_phase(Phase.CLOSING) and not self.server.recording)
    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        offered = rounds.unfinished(self.server.state) if self.server.closing else ()
        usable = [name for name in offered if data.draw(st.booleans())]
        self.check_sum()
        self.server.settle(usable)

    @rule(chunks=st.integers(0, 3), commits=st.booleans())
    def crash(self, chunks: int, commits: bool) -> None:
        """Some of what was queued reached the disk without anybody being told."""
        self.records.log.extend(self.server.in_flight[:chunks])
        if commits and self.server.recording:
            self.server.count(*self.server.recording[0])
        self.server = Server(self.records, self.server.now_s + 1.0)

    @rule(name=DEVICES, steps=st.integers(2, 9))
    def behave(self, name: str, steps: int) -> None:
        """Some honest steps, so that rounds get somewhere."""
        for _ in range(steps):
            device, member = self.devices[name], self.server.state.members.get(name)
            if device.task is None or member is None:
                self.check_in(name)
            elif self.server.in_flight:
                self.chunk_reaches_the_disk()
            elif member.held != ALL_HELD:
                self.send_chunk(name, 0 if not member.held & 1 else 1)
            elif member.standing is Standing.CHECKING:
                self.server.checked(name, None)
            elif self.server.recording:
                self.disk_takes_commit(written=True)
            else:
                self.commit(name)

    @precondition(lambda self: self.in_phase(Phase.CLOSING))
    @rule()
    def end_the_round(self) -> None:
        while self.server.recording:
            self.disk_takes_commit(written=True)
        offered = rounds.unfinished(self.server.state) if self.server.closing else ()
        self.check_sum()
        self.server.settle(list(offered))

    @rule(quick=st.lists(DEVICES, min_size=2, max_size=3, unique=True), slow=DEVICES)
    def a_round_goes_by(self, quick: list[str], slow: str) -> None:
        """Some commit, one is left with half of its chunks."""
        self.behave(slow, 3)
        for name in quick:
            self.behave(name, 9)
        if self.in_phase(Phase.CLOSING):
            self.end_the_round()

    # ------------------------------------------------------------------ promises

    def check_sum(self) -> None:
        """The running sum has the bits that the records alone would give."""
        number, fresh = self.server.state.number, WeightedSum(40)
        for origin, name, row in self.server.rows(number):
            weight = row.examples * rounds.staleness_weight(row.staleness)
            fresh.add(self.records.pieces(origin, name, row.held), weight)
        assert fresh.mean().tobytes() == self.server.sum.mean().tobytes()

    @invariant()
    def what_counts_is_what_is_recorded_once_each(self) -> None:
        state = self.server.state
        machine = [(name, member.order, member.held) for name, member in state.counted()]
        rows = [(d, row.position, row.held) for _, d, row in self.server.rows(state.number)]
        assert machine == rows
        assert len({order for _, order, _ in machine}) == len(machine)

    @invariant()
    def nothing_acknowledged_is_lost(self) -> None:
        for (origin, name), chunks in self.acknowledged.items():
            row = self.records.updates.get((origin, name))
            if row is not None and not row.held:
                assert not chunks
            member = self.server.state.members.get(name)
            if member and self.server.works_on(name, origin) and member.standing not in rounds.GONE:
                assert chunks_of(member.held) >= chunks

    @invariant()
    def receipts_stay(self) -> None:
        for key, row in self.receipts.items():
            assert self.records.updates[key] == row

    @invariant()
    def nobody_is_staler_than_allowed(self) -> None:
        most = self.records.rules.max_staleness
        for member in self.server.state.members.values():
            assert self.server.state.staleness(member) <= (most or 0)
        assert all(row.staleness <= (most or 0) for row in self.records.updates.values())

    @invariant()
    def memories_agree_on_both_sides(self) -> None:
        mean = sum(vector.astype(np.float64) for _, vector in self.records.memories.values())
        assert np.allclose(self.records.total, mean, atol=1e-9)
        for name, (number, vector) in self.records.memories.items():
            device = self.devices[name]
            if device.memory_round == number:
                assert device.kept is not None
                assert device.kept.tobytes() == vector.tobytes()

    @invariant()
    def who_is_up_to_date_holds_the_replica(self) -> None:
        for device in self.devices.values():
            if device.version is not None:
                published = self.records.published[device.version]
                assert device.replica.tobytes() == published.replica.tobytes()


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
