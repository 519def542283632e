"""Promise: with a robust rule one device, whatever it sends, moves the model by a stated bound."""

import math
import tracemalloc
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.errors import Misuse
from edge_sdk.values import Coordinates, Piece
from server_ref import robust
from server_ref.robust import Clip, Krum, Mean, Median, Rule, Stored, Trimmed, combine
from server_ref.robust.krum import squared_distances

Vectors = NDArray[np.float32]

seeds = st.integers(0, 2**32)
wild = st.sampled_from([-1e30, -7.0, -0.1, 0.0, 0.3, 5.0, 1e30])


def honest(seed: int, count: int, dimension: int = 7) -> Vectors:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, dimension)).astype(np.float32)


def whole(vector: Vectors, weight: float = 1.0) -> Stored:
    """An update in two chunks, as codecs that deal blocks round-robin make them."""
    even = Coordinates(first=0, run=2, step=4, size=sum(i % 4 < 2 for i in range(len(vector))))
    odd = Coordinates(first=2, run=2, step=4, size=len(vector) - even.size)

    def pieces(_first: int, _end: int) -> Iterator[Piece]:
        for where in (even, odd):
            if where.size:
                yield Piece(where=where, values=where.take(vector))

    return Stored(weight, pieces)


def spans(vector: Vectors, parts: Sequence[tuple[int, int]], weight: float = 1.0) -> Stored:
    """An update of which only some spans arrived."""

    def pieces(first: int, end: int) -> Iterator[Piece]:
        for a, b in parts:
            if a < end and b > first:
                yield Piece(where=Coordinates.span(a, b - a), values=vector[a:b])

    return Stored(weight, pieces)


def combined(rule: Rule, vectors: Iterable[Vectors]) -> NDArray[np.float64]:
    held = list(vectors)
    return combine(rule, [whole(vector) for vector in held], len(held[0]), room_bytes=64)


# ------------------------------------------------------------------ what the rules are


@given(seed=seeds, count=st.integers(3, 9), room=st.sampled_from([1, 100, 10**6]))
def test_median_and_trimmed_mean_are_those_of_numpy_whatever_the_room(
    seed: int, count: int, room: int
) -> None:
    vectors = honest(seed, count, 33)
    updates = [whole(v) for v in vectors]
    middle = combine(Median(), updates, 33, room_bytes=room)
    assert np.allclose(middle, np.median(vectors.astype(np.float64), axis=0))
    rule = Trimmed(beta=1 / count)
    inner = np.sort(vectors, axis=0)[1:-1].astype(np.float64)
    assert np.allclose(combine(rule, updates, 33, room_bytes=room), inner.mean(axis=0))


def test_what_did_not_arrive_has_no_vote() -> None:
    vectors = np.array([[1, 1, 1], [2, 2, 2], [9, 9, 9], [4, 4, 4]], np.float32)
    updates = [
        spans(vectors[0], [(0, 1)]), spans(vectors[1], [(0, 2)]), spans(vectors[2], [(0, 1)]),
        spans(vectors[3], [(0, 1), (1, 2)]),
    ]  # fmt: skip
    assert combine(Median(), updates, 3).tolist() == [3.0, 3.0, 0.0]
    assert combine(Trimmed(0.25), updates, 3).tolist() == [3.0, 3.0, 0.0]
    weighted = [Stored(3.0, updates[0].pieces), *updates[1:]]
    assert combine(Mean(), weighted, 3).tolist() == [3.0, 3.0, 0.0]


def test_krum_takes_the_update_in_the_midst_and_multi_krum_the_mean_of_some() -> None:
    vectors = np.array([[0, 0], [0.1, 0], [0, 0.1], [0.05, 0.05], [50, 50]], np.float32)
    assert combined(Krum(f=1), vectors).tolist() == pytest.approx([0.05, 0.05])
    assert np.allclose(combined(Krum(f=1, pick=2), vectors), vectors[[0, 3]].mean(0), atol=0.06)
    wide = vectors.astype(np.float64)
    apart = np.square(wide[:, None] - wide[None]).sum(-1)
    assert np.allclose(squared_distances(iter([vectors.T.copy()]), 5), apart, atol=1e-9)


def test_equal_updates_in_equal_order_give_equal_bits_in_any_room() -> None:
    vectors = honest(1, 7, 101)
    for rule in (Median(), Trimmed(0.2), Krum(1, 3)):
        every = {
            combine(rule, [whole(v) for v in vectors], 101, room_bytes=room).tobytes()
            for room in (1, 500, 10**9)
        }
        assert len(every) == 1


# ------------------------------------------------------------------ the bounds, one bad device


@given(seed=seeds, others=st.integers(2, 8), bad=wild)
def test_median_stays_between_the_middle_values_of_the_others(
    seed: int, others: int, bad: float
) -> None:
    vectors = honest(seed, others)
    found = combined(Median(), [*vectors, np.full(7, bad, np.float32)])
    rising = np.sort(vectors.astype(np.float64), axis=0)
    if others % 2 == 0:
        low, high = rising[others // 2 - 1], rising[others // 2]
    else:
        m = others // 2
        low, high = (rising[m - 1] + rising[m]) / 2, (rising[m] + rising[m + 1]) / 2
    assert (low - 1e-6 <= found).all()
    assert (found <= high + 1e-6).all()


@given(seed=seeds, n=st.integers(4, 12), cut=st.integers(1, 2), bad=wild, worse=wild)
def test_trimmed_mean_moves_by_at_most_the_span_of_what_is_kept(
    seed: int, n: int, cut: int, bad: float, worse: float
) -> None:
    k = min(cut, (n - 1) // 2)
    rule = Trimmed(beta=k / n)
    vectors = honest(seed, n - 1)
    one = combined(rule, [*vectors, np.full(7, bad, np.float32)])
    other = combined(rule, [*vectors, np.full(7, worse, np.float32)])
    h = np.sort(vectors.astype(np.float64), axis=0)
    bound = (h[n - k - 1] - h[k - 1]) / (n - 2 * k)
    assert (np.abs(one - other) <= bound + 1e-6).all()


@given(seed=seeds, f=st.integers(1, 2), extra=st.integers(0, 3), bad=wild, near=st.floats(0, 2))
def test_krum_picks_only_what_lies_near_an_honest_update(
    seed: int, f: int, extra: int, bad: float, near: float
) -> None:
    n = 2 * f + 3 + extra
    vectors = honest(seed, n - f)
    attack = np.full(7, bad, np.float32) if abs(bad) > 1 else vectors[0] + np.float32(near)
    found = combined(Krum(f=f), [*vectors, *[attack] * f])
    wide = vectors.astype(np.float64)
    diameter = max(float(np.linalg.norm(a - b)) for a in wide for b in wide)
    nearest = float(np.linalg.norm(wide - found, axis=1).min())
    assert nearest <= diameter * math.sqrt((n - f - 2) / (n - 2 * f - 2)) + 1e-5


@given(
    seed=seeds,
    others=st.integers(1, 6),
    limit=st.floats(0.01, 3),
    size=wild,
    claim=st.sampled_from([1.0, 50.0, 2.0**32]),
)
def test_clipping_bounds_what_a_long_update_with_a_large_claim_moves(
    seed: int, others: int, limit: float, size: float, claim: float
) -> None:
    vectors = honest(seed, others)
    updates = [whole(v, weight=10.0) for v in vectors]
    bad = whole(np.full(7, size, np.float32), weight=claim)
    without = combine(Clip(), updates, 7, limit=limit, weight_limit=20.0)
    with_bad = combine(Clip(), [*updates, bad], 7, limit=limit, weight_limit=20.0)
    weight = min(claim, 20.0)
    bound = 2 * limit * weight / (10.0 * others + weight)
    assert np.linalg.norm(with_bad - without) <= bound * (1 + 1e-6)


def test_the_plain_mean_has_no_such_bound() -> None:
    vectors = honest(0, 9)
    attack = np.full(7, 1e6, np.float32)
    assert np.abs(combined(Mean(), [*vectors, attack])).min() > 1e4
    for rule in (Median(), Trimmed(0.1), Krum(1)):
        assert np.abs(combined(rule, [*vectors, attack])).max() < 4


# ------------------------------------------------------------------ running medians


def test_the_limit_follows_the_median_and_a_minority_cannot_lift_it() -> None:
    norms: tuple[float, ...] = ()
    assert robust.clip_limit(norms, factor=2, fallback=9.0) == 9.0
    for number in range(200):
        norms = robust.remember(norms, 1e9 if number % 5 == 0 else 1.0 + number % 3 / 10)
    assert len(norms) == robust.RECENT
    assert 2.0 <= robust.clip_limit(norms, factor=2, fallback=9e9) <= 2.4
    assert robust.clip_limit([0.0] * 9, factor=2, fallback=7.0) == 7.0
    assert robust.most_weight([10.0] * 4, factor=4) == math.inf
    assert robust.most_weight([10.0] * 9 + [2.0**32] * 8, factor=4) == 40.0


@given(norms=st.lists(st.floats(0.5, 2), min_size=5, max_size=60), data=st.data())
def test_the_limit_is_within_honest_norms_while_they_are_most(
    norms: list[float], data: st.DataObject
) -> None:
    bad = data.draw(st.lists(st.floats(0, 1e300), max_size=(len(norms) - 1)))
    limit = robust.clip_limit([*bad, *norms], factor=1, fallback=math.inf)
    assert min(norms) <= limit <= max(norms)


def test_clipping_keeps_direction_and_leaves_short_updates_alone() -> None:
    piece = Piece(where=Coordinates.span(0, 2), values=np.array([3, 4], np.float32))
    assert robust.clipped([piece], length=5.0, limit=5.0)[0] is piece
    short = robust.clipped([piece], length=5.0, limit=1.0)[0].values
    assert short.tolist() == pytest.approx([0.6, 0.8])


# ------------------------------------------------------------------ names, limits, memory


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        ("mean", Mean()), ("clip", Clip()), ("clip:factor=3", Clip(3.0)), ("median", Median()),
        ("trimmed:beta=.2", Trimmed(0.2)), ("krum:f=2", Krum(2)), ("krum:f=1,pick=3", Krum(1, 3)),
    ],
)  # fmt: skip
def test_rules_by_name(spec: str, rule: Rule) -> None:
    assert robust.rule_from_spec(spec) == rule


@pytest.mark.parametrize(
    "spec",
    ["", "average", "median:f=1", "trimmed:beta=.5", "trimmed:beta=x", "krum:f=-1", "krum:f=1.5",
     "clip:factor=nan", "clip:factor=.5", "krum:pick=0", "mean:"],
)  # fmt: skip
def test_what_names_no_rule_is_misuse(spec: str) -> None:
    with pytest.raises(Misuse):
        robust.rule_from_spec(spec)


@pytest.mark.parametrize(
    ("rule", "least"), [(Median(), 3), (Trimmed(0.1), 10), (Krum(1), 5), (Krum(1, 6), 9)]
)
def test_a_rule_refuses_to_promise_what_too_few_updates_cannot_give(rule: Rule, least: int) -> None:
    vectors = honest(0, least)
    combined(rule, list(vectors))
    with pytest.raises(Misuse, match="needs"):
        combined(rule, list(vectors[1:]))


@pytest.mark.parametrize("rule", [Median(), Trimmed(0.1), Krum(1, 3)])
def test_memory_does_not_grow_with_updates_times_dimension(rule: Rule) -> None:
    dimension, count, room = 200_000, 60, 2 << 20

    def make(seed: int) -> Stored:
        def pieces(first: int, end: int) -> Iterator[Piece]:
            for a in range(first - first % 1000, end, 1000):
                values = np.full(1000, (seed * 37 + a) % 11, np.float32)
                yield Piece(where=Coordinates.span(a, 1000), values=values)

        return Stored(1.0, pieces)

    updates = [make(seed) for seed in range(count)]
    tracemalloc.start()
    combine(rule, updates, dimension, room_bytes=room)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    everything = 4 * dimension * count
    assert most < 2 * room + 3 * 8 * dimension + (1 << 20) + 8 * (1 << 20) * isinstance(rule, Krum)
    assert most < everything / 2
