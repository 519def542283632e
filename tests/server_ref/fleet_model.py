"""A server and its devices without disk, network and clock, around the real decisions.

Real: rounds and buffers, sums, both halves of memories, the replica and what is downloaded, codecs.
Modelled: what is durable (`Records`: transactions and logs, which survive a crash) and what is not
(`Server`), and who says what when. The same seeds give the same bits.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.memory import difference, memory_after
from edge_sdk.plan import Segment, Spans, add_delta, put_snapshot
from edge_sdk.values import Layout, Parameter, Piece, Place, Vector
from edge_sdk.wire import FrameReader, Kind
from server_ref import memory, rounds
from server_ref.aggregate import WeightedSum, move
from server_ref.downlink import Downlink, Published, choose
from server_ref.rounds import Label, Origin, Phase, Round, Rules, Standing, bits, ranges

DIMENSION = 40
WHOLE = Spans(((0, DIMENSION),))
SEGMENT = Segment(
    number=0,
    stages=frozenset({0}),
    parts=frozenset(),
    layout=Layout((Parameter("w", (DIMENSION,)),)),
    where=WHOLE,
)
DOWNLINK = Downlink(run="0" * 16, segments=[SEGMENT], codec="eden:bits=1")
UPLINK = codec_from_spec("float16")
CHUNK_BYTES = 48
CHUNKS = 2
SPEED = 0.5


def seed_of(origin: int, device: str) -> int:
    """Seed of an update."""
    return origin * 1000 + ord(device)


def decode(payload: bytes, index: int, seed: int) -> Piece:
    """One chunk's values."""
    return UPLINK.decode(payload, Place(DIMENSION, index, CHUNKS, seed))


# ------------------------------------------------------------------ what survives


@dataclasses.dataclass
class RoundRecord:
    """A row of the table of rounds."""

    version: int
    closing: bool | None = None
    over: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """A counted update."""

    counted_in: int
    position: int
    held: int
    examples: int
    staleness: int
    base: int | None
    """Round whose memory the update is a difference to; None: to zero."""


@dataclasses.dataclass
class Records:
    """Everything durable."""

    rules: Rules
    rounds: dict[int, RoundRecord] = dataclasses.field(default_factory=dict)
    admissions: dict[int, dict[str, bool]] = dataclasses.field(default_factory=dict)
    """Round to device to whether it holds its place still."""
    given: dict[tuple[int, str], int | None] = dataclasses.field(default_factory=dict)
    """By round of origin and device: the memory that the task goes on from."""
    log: list[tuple[int, str, int, Label, bytes]] = dataclasses.field(default_factory=list)
    updates: dict[tuple[int, str], Row] = dataclasses.field(default_factory=dict)
    """By round of origin and device: the key under which an update counts once."""
    weights: list[Vector] = dataclasses.field(default_factory=list)
    published: list[Published] = dataclasses.field(default_factory=list)
    memories: dict[str, tuple[int, Vector]] = dataclasses.field(default_factory=dict)
    """Device to the round that moved its memory last, and the memory."""
    total: NDArray[np.float64] = dataclasses.field(default_factory=lambda: np.zeros(DIMENSION))

    def move_memory(self, origin: int, device: str, row: Row) -> None:
        """Move a device's memory by a counted update, and the sum of all."""
        before = self.memories.get(device)
        goes_on = before is not None and before[0] == row.base
        start = before[1] if before and goes_on else np.zeros(DIMENSION, np.float32)
        pieces = self.pieces(origin, device, row.held)
        after = memory.moved(start, WHOLE, pieces, speed=SPEED)
        memory.exchange(self.total, before and (1.0, before[1]), (1.0, after))
        self.memories[device] = origin, after

    def pieces(self, origin: int, device: str, held: int) -> list[Piece]:
        """What was logged first under each index of an update."""
        found: dict[int, bytes] = {}
        for number, owner, index, _, payload in self.log:
            if (number, owner) == (origin, device) and held >> index & 1:
                found.setdefault(index, payload)
        return [decode(p, i, seed_of(origin, device)) for i, p in sorted(found.items())]


# ------------------------------------------------------------------ the server


class Server:
    """What a process holds; made anew from the records after a crash."""

    state: Round

    def __init__(self, records: Records, now_s: float) -> None:
        self.records = records
        self.now_s = now_s
        self.in_flight: list[tuple[int, str, int, Label, bytes]] = []
        self.recording: list[tuple[str, int]] = []
        self.closing: bool | None = None
        self.sum = WeightedSum(DIMENSION)
        if not records.rounds:
            records.weights.append(np.linspace(-1, 1, DIMENSION, dtype=np.float32))
            self._publish(None)
            self._open(1)
        else:
            self._take_up(max(records.rounds))

    @property
    def asynchronous(self) -> bool:
        return self.records.rules.max_staleness is not None

    def happen(self, event: rounds.Event) -> rounds.Effect | None:
        """Let it happen; the last effect that is not `Close`."""
        self.state, effects = rounds.step(self.state, event, self.now_s)
        answer = None
        for effect in effects:
            if isinstance(effect, rounds.Close):
                assert self.closing is None, "a round closes once"
                self.closing = effect.count_unfinished
                self.records.rounds[self.state.number].closing = effect.count_unfinished
            else:
                answer = effect
        return answer

    def origin_of(self, device: str) -> Origin | None:
        """The task a member works on."""
        member = self.state.members.get(device)
        if member is None:
            return None
        return member.origin or Origin(self.state.number, self.state.model_version)

    def works_on(self, device: str, origin: int) -> bool:
        found = self.origin_of(device)
        return found is not None and found.round == origin

    # -------------------------------------------------------------- calls

    def check_in(self, device: str, memory_round: int | None) -> tuple[Origin, int | None] | None:
        """The task and the memory it goes on from; None to wait.

        What is on its way to the disk of this device gets there first.
        """
        while any(entry[1] == device for entry in self.in_flight):
            self.disk_takes_chunk()
        effect = self.happen(rounds.CheckIn(device))
        origin = self.origin_of(device)
        if not isinstance(effect, rounds.Offer):
            assert isinstance(effect, rounds.Wait)
            return None
        assert origin is not None
        if effect.new:
            self.records.admissions[self.state.number][device] = True
        key = origin.round, device
        if effect.new or not self.state.members[device].held:
            kept = self.records.memories.get(device)
            same = kept is not None and kept[0] == memory_round
            self.records.given[key] = memory_round if same else None
        return origin, self.records.given[key]

    def holds(self, device: str, origin: int) -> bool:
        """Whether anything of an update is held: what a device asks before it sends."""
        return self.works_on(device, origin) and self.state.members[device].held > 0

    def chunk(self, device: str, origin: int, index: int, label: Label, payload: bytes) -> str:
        """`stored` once queued, `held`, or `refused`."""
        if not self.works_on(device, origin):
            return "refused"
        same = self._same(device, origin, index, payload)
        effect = self.happen(rounds.Chunk(device, index, label, same))
        if isinstance(effect, rounds.Store):
            self.in_flight.append((origin, device, index, label, payload))
            return "stored"
        return "held" if isinstance(effect, rounds.Held) else "refused"

    def disk_takes_chunk(self) -> tuple[int, str, int] | None:
        """The oldest queued chunk is durable; which one is acknowledged, if it is."""
        entry = self.in_flight.pop(0)
        origin, device, index, label, payload = entry
        same = self._same(device, origin, index, payload)
        self.records.log.append(entry)
        if not self.works_on(device, origin):
            return None
        effect = self.happen(rounds.ChunkStored(device, index, label, same))
        return (origin, device, index) if isinstance(effect, rounds.Held) else None

    def commit(self, device: str, origin: int, label: Label) -> rounds.Effect | Row | None:
        if self.works_on(device, origin):
            return self.happen(rounds.Commit(device, label))
        return self.records.updates.get((origin, device))

    def checked(self, device: str, flaw: rounds.Refuse | None) -> None:
        effect = self.happen(rounds.Checked(device, flaw))
        if isinstance(effect, rounds.Record):
            self.recording.append((device, effect.order))

    def disk_takes_commit(self, *, written: bool) -> None:
        """The oldest queued commit is durable, or could not be written."""
        device, order = self.recording.pop(0)
        if not written:
            self.happen(rounds.NotRecorded(device))
            return
        self.count(device, order)
        assert self.happen(rounds.Recorded(device)) == rounds.Receipted(device)

    def decline(self, device: str, origin: int) -> None:
        if not self.works_on(device, origin):
            return
        self.happen(rounds.Decline(device))
        if self.state.members[device].standing is Standing.DECLINED:
            self.records.admissions[origin][device] = False

    # -------------------------------------------------------------- the end of a round

    def settle(self, usable: Sequence[str]) -> None:
        """End the round and begin the next: one transaction."""
        order = self.state.next_order
        effect = self.happen(rounds.Settled(tuple(usable)))
        ended, version = self.state, self.state.model_version
        if isinstance(effect, rounds.Publish):
            for number, device in enumerate(usable):
                self.count(device, order + number)
            for origin, device, row in self.rows(ended.number):
                self.records.move_memory(origin, device, row)
            self.records.weights.append(move(self.records.weights[-1], self.sum.mean()))
            self._publish(self.records.published[-1].replica)
            version += 1
        self.records.rounds[ended.number].over = True
        self._open(ended.number + 1, after=ended, version=version)

    def count(self, device: str, order: int) -> None:
        """Record an update and add it to the sum."""
        member, origin = self.state.members[device], self.origin_of(device)
        assert member.label is not None
        assert origin is not None
        assert (origin.round, device) not in self.records.updates, "counted twice"
        row = Row(
            self.state.number, order, member.held, member.label.examples,
            self.state.staleness(member), self.records.given[origin.round, device],
        )  # fmt: skip
        self.records.updates[origin.round, device] = row
        self._add(origin.round, device, row)

    def rows(self, number: int) -> list[tuple[int, str, Row]]:
        """Updates counted in a round: origin, device, row, in the order of summation."""
        rows = [(o, d, r) for (o, d), r in self.records.updates.items() if r.counted_in == number]
        return sorted(rows, key=lambda row: row[2].position)

    def _add(self, origin: int, device: str, row: Row) -> None:
        pieces = self.records.pieces(origin, device, row.held)
        self.sum.add(pieces, row.examples * rounds.staleness_weight(row.staleness))

    def _publish(self, before: Vector | None) -> None:
        version = len(self.records.published)
        self.records.published.append(
            DOWNLINK.publish(
                self.records.weights[-1], before, version=version, seed_of=lambda _: version
            )
        )

    def _open(self, number: int, *, after: Round | None = None, version: int = 0) -> None:
        self.records.rounds[number] = RoundRecord(version)
        self.records.admissions[number] = {}
        self.state = self._fresh(number)
        if after is not None and self.asynchronous:
            self.state = rounds.carry_over(after, self.state, now_s=self.now_s)
        self.closing, self.sum = None, WeightedSum(DIMENSION)

    def _fresh(self, number: int) -> Round:
        version = self.records.rounds[number].version
        return rounds.open_round(number=number, model_version=version, rules=self.records.rules)

    # -------------------------------------------------------------- after a crash

    def _take_up(self, number: int) -> None:
        record, admitted = self.records.rounds[number], self.records.admissions[number]
        self.state = self._fresh(number)
        stay = [device for device, stays in admitted.items() if stays]
        carried = self._carried(number) if self.asynchronous else {}
        self.state = rounds.readmit(self.state, stay, set(admitted) - set(stay), carried)
        seen: dict[tuple[str, int], bytes] = {}
        for origin, device, index, label, payload in self.records.log:
            if self.works_on(device, origin):
                same = seen.get((device, index), payload) == payload
                known = (device, index) in seen
                event = rounds.ChunkStored(device, index, label, same if known else None)
                if self.happen(event) == rounds.Held():
                    seen.setdefault((device, index), payload)
        rows = self.rows(number)
        committed = [(device, row.position, row.held) for _, device, row in rows]
        self.state = rounds.recommit(self.state, committed, now_s=self.now_s)
        for origin, device, row in rows:
            self._add(origin, device, row)
        if record.closing is not None:
            self.state, self.closing = rounds.reclose(self.state), record.closing

    def _carried(self, number: int) -> dict[str, Origin]:
        earlier = {n: record for n, record in self.records.rounds.items() if n < number}
        admissions = {
            Origin(n, record.version): list(self.records.admissions[n])
            for n, record in earlier.items()
        }
        left = {(d, o) for (o, d), row in self.records.updates.items() if row.counted_in < number}
        left |= {
            (device, n)
            for n in earlier
            for device, stays in self.records.admissions[n].items()
            if not stays
        }
        return rounds.still_carried(self.state, admissions, left)

    def _same(self, device: str, origin: int, index: int, payload: bytes) -> bool | None:
        if not self.state.members[device].held >> index & 1 if self.works_on(device, origin) else 1:
            return None
        first = next(
            p for o, d, i, _, p in self.records.log if (o, d, i) == (origin, device, index)
        )
        return first == payload


# ------------------------------------------------------------------ a device


class Device:
    """Follows the model, keeps a memory, and works on one task at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.task: Origin | None = None
        self.payloads: list[bytes] = []
        self.examples = 1 + ord(name) % 3
        self.kept: Vector | None = None
        self.memory_round: int | None = None
        self.version: int | None = None
        self.replica = np.zeros(DIMENSION, np.float32)
        self.draws = 0

    @property
    def label(self) -> Label:
        return Label(count=CHUNKS, examples=self.examples, codec="float16")

    def check_in(self, server: Server) -> None:
        """Ask; work on what is offered: train, encode, spool."""
        self.learn(server)
        answer = server.check_in(self.name, self.memory_round)
        if answer is None or answer[0] == self.task:
            return
        origin, base = answer
        self.task, self.payloads = None, []
        if server.holds(self.name, origin.round) or base not in {None, self.memory_round}:
            # Chunks of a training that this device has forgotten: two must not become one update.
            server.decline(self.name, origin.round)
            return
        if base is None:
            self.kept, self.memory_round = None, None
        self.follow(server.records, origin.version)
        self.task, self.draws = origin, self.draws + 1
        random = np.random.default_rng([ord(self.name), self.draws])
        update = random.standard_normal(DIMENSION).astype(np.float32)
        seed = seed_of(origin.round, self.name)
        vector = difference(update, self.kept)
        self.payloads = list(UPLINK.encode(vector, seed=seed, chunk_bytes=CHUNK_BYTES))
        assert len(self.payloads) == CHUNKS

    def learn(self, server: Server) -> None:
        """Ask what became of the task; a receipt moves the memory once."""
        if self.task is None:
            return
        row = server.records.updates.get((self.task.round, self.name))
        if row is None:
            return
        self.kept = memory_after(
            UPLINK, self.kept, self.payloads, dimension=DIMENSION,
            seed=seed_of(self.task.round, self.name), counted=ranges(row.held), speed=SPEED,
        )  # fmt: skip
        self.memory_round = self.task.round
        self.task, self.payloads = None, []

    def follow(self, records: Records, version: int) -> None:
        """Download what leads from the version held to `version`."""
        kept = {number: one.contents for number, one in enumerate(records.published)}
        for part in choose(
            kept, version=version, wanted=[0], have=self.version,
            held=[] if self.version is None else [0],
        ):  # fmt: skip
            one = records.published[part.version]
            source = one.snapshot if part.kind == "snapshot" else one.delta
            assert source is not None
            for frame in FrameReader().feed(source[part.offset : part.offset + part.size]):
                (add_delta if frame.kind is Kind.DELTA else put_snapshot)(frame, self.replica)
        self.version = version

    def lose_state(self) -> None:
        """As after a reset: nothing is known but its identity."""
        self.task, self.payloads, self.kept = None, [], None
        self.memory_round, self.version = None, None
        self.replica = np.zeros(DIMENSION, np.float32)


def chunks_of(held: int) -> set[int]:
    """Indices of the bits set."""
    return {index for index in range(CHUNKS) if held >> index & 1}


OVER = frozenset({Phase.PUBLISHED, Phase.ABANDONED})
ALL_HELD = bits(((0, CHUNKS),))
