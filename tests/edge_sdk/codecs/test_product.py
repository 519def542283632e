"""Promises of the product quantizer: exact size, exact decoder, same bytes everywhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.codecs.product import ProductQuantizer, decode_product, product_from_words
from edge_sdk.codecs.product_clusters import cluster
from edge_sdk.codecs.product_indices import HUFFMAN, PLANES
from edge_sdk.codecs.table import words_of
from edge_sdk.errors import Corrupt, Malformed, Misuse, NotFinite, TooLarge
from tests.edge_sdk.codecs.plain_product_decoder import plain_product

GOLDEN = Path(__file__).parents[2] / "golden" / "split"


def activations(examples: int, numbers: int, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return np.maximum(rng.normal(size=(examples, numbers)) - 0.4, 0).astype(np.float32)


@st.composite
def cases(draw: st.DrawFn) -> tuple[ProductQuantizer, NDArray[np.float32]]:
    groups = draw(st.integers(1, 3))
    subvectors = groups * draw(st.integers(1, 4))
    numbers = draw(st.integers(subvectors, 40))
    quantizer = ProductQuantizer(
        subvectors=subvectors,
        centroids=draw(st.integers(1, 20)),
        groups=groups,
        real_bits=draw(st.sampled_from([16, 32])),
    )
    scale = draw(st.sampled_from([1.0, 1e-30, 1e30, 0.0]))
    rows = activations(draw(st.integers(1, 9)), numbers, draw(st.integers(0, 99)))
    return quantizer, rows * np.float32(scale)


@given(cases())
@settings(max_examples=60, deadline=None)
def test_a_decoder_written_from_the_format_agrees(
    case: tuple[ProductQuantizer, NDArray[np.float32]],
) -> None:
    quantizer, rows = case
    payload = quantizer.encode(rows, seed=3)
    assert len(payload) <= quantizer.plain_bytes(*rows.shape)
    decoded = decode_product(payload, examples=rows.shape[0], numbers=rows.shape[1])
    assert decoded.shape == rows.shape
    assert decoded.dtype == np.float32
    plain = np.array(plain_product(payload, *rows.shape), np.float32)
    np.testing.assert_array_equal(decoded, plain)


def test_size_is_the_formula_where_indices_are_planes() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20, 256)).astype(np.float32)
    for groups, centroids, bits in [(1, 16, 16), (4, 8, 32), (2, 5, 16)]:
        quantizer = ProductQuantizer(
            subvectors=32, centroids=centroids, groups=groups, real_bits=bits
        )
        payload = quantizer.encode(rows, seed=0)
        assert payload[0] & 15 == PLANES or len(payload) < quantizer.plain_bytes(20, 256)
        paper = quantizer.paper_bits(20, 256) / 8
        assert len(payload) <= paper * 1.2 + 16
        if payload[0] & 15 == PLANES:
            assert len(payload) == quantizer.plain_bytes(20, 256)


def test_rare_centroids_cost_less_than_a_bit() -> None:
    rows = np.zeros((20, 1152), np.float32)
    rows[:, ::30] = 1.0
    payload = ProductQuantizer(subvectors=1152, centroids=2).encode(rows, seed=0)
    assert payload[0] & 15 == HUFFMAN
    assert 8 * len(payload) < 0.5 * rows.size
    np.testing.assert_array_equal(decode_product(payload, examples=20, numbers=1152), rows)


def test_the_papers_headline_setting_has_its_size() -> None:
    """d = 9216, B = 20, q = 1152, L = 2: 490 times by 64-bit floats, here in real bytes."""
    rows = activations(20, 9216)
    quantizer = ProductQuantizer(subvectors=1152, centroids=2)
    assert len(quantizer.encode(rows, seed=0)) <= quantizer.plain_bytes(20, 9216) == 2919


def test_few_different_subvectors_are_exact_and_shrink_the_codebook() -> None:
    rows = np.tile(np.array([[1.0, 2.0, 3.0, 4.0]], np.float32), (5, 2))
    payload = ProductQuantizer(subvectors=4, centroids=16, real_bits=32).encode(rows, seed=0)
    np.testing.assert_array_equal(decode_product(payload, examples=5, numbers=8), rows)
    assert payload[3] == 2


def test_more_centroids_err_less() -> None:
    rows = activations(20, 512)
    errors = []
    for centroids in (1, 2, 8, 32, 128):
        quantizer = ProductQuantizer(subvectors=128, centroids=centroids)
        decoded = decode_product(quantizer.encode(rows, seed=0), examples=20, numbers=512)
        errors.append(float(np.square(decoded - rows).sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.2 * errors[0]


def test_centroids_are_near_those_of_unrounded_kmeans() -> None:
    """Lloyd's iterations in float64 from where the exact ones ended gain next to nothing."""
    points = activations(400, 8)
    found = cluster(points, 8, seed=0)
    ours = np.square(points - found.centroids[found.labels]).sum()
    centroids = found.centroids.astype(np.float64)
    for _ in range(5):
        labels = np.argmin(np.square(points[:, np.newaxis] - centroids).sum(axis=2), axis=1)
        centroids = np.stack([points[labels == k].mean(axis=0) for k in range(len(centroids))])
    best = np.square(points - centroids[labels]).sum()
    assert ours <= 1.05 * best


@given(st.integers(0, 1000), st.integers(1, 12), st.integers(1, 20))
@settings(max_examples=30, deadline=None)
def test_clusters_do_not_depend_on_the_order_of_sums(seed: int, width: int, most: int) -> None:
    """Turning the numbers of all vectors round changes the order of every sum, and nothing else."""
    points = activations(100, width, seed)
    one, two = (cluster(p, most, seed=seed) for p in (points, points[:, ::-1].copy()))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.centroids, two.centroids[:, ::-1])


def test_wide_subvectors_are_exact_too() -> None:
    points = activations(30, 2000)
    one, two = (cluster(p, 4, seed=1) for p in (points, points[:, ::-1].copy()))
    np.testing.assert_array_equal(one.labels, two.labels)


def test_specs_read_back() -> None:
    for quantizer in (
        ProductQuantizer(subvectors=288, centroids=8),
        ProductQuantizer(subvectors=12, centroids=3, groups=4, real_bits=32),
    ):
        name, words = words_of(quantizer.spec)
        assert name == "product"
        assert product_from_words(dict(words)) == quantizer


@pytest.mark.parametrize(
    "wrong",
    [
        {"subvectors": 0, "centroids": 2},
        {"subvectors": 4, "centroids": 257},
        {"subvectors": 4, "centroids": 2, "groups": 3},
        {"subvectors": 4, "centroids": 2, "real_bits": 8},
    ],
)
def test_settings_outside_their_range_are_misuse(wrong: Any) -> None:
    with pytest.raises(Misuse):
        ProductQuantizer(**wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_activations_that_are_not_finite_are_misuse(value: float) -> None:
    rows = activations(2, 8)
    rows[1, 3] = value
    with pytest.raises(Misuse):
        ProductQuantizer(subvectors=4, centroids=2).encode(rows, seed=0)


@given(st.binary(max_size=60), st.integers(1, 6), st.integers(1, 12))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_activations_or_malformed(data: bytes, examples: int, numbers: int) -> None:
    try:
        rows = decode_product(data, examples=examples, numbers=numbers)
    except Malformed:
        return
    assert rows.shape == (examples, numbers)
    assert np.isfinite(rows).all()


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_changed_payloads_give_activations_or_malformed(data: st.DataObject) -> None:
    centroids, wide = data.draw(st.integers(1, 9)), data.draw(st.sampled_from([16, 32]))
    quantizer = ProductQuantizer(subvectors=8, centroids=centroids, real_bits=wide)
    payload = bytearray(quantizer.encode(activations(6, 16), seed=0))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(payload) - 1))
        payload[at] = data.draw(st.integers(0, 255))
    try:
        rows = decode_product(bytes(payload), examples=6, numbers=16)
    except Malformed:
        return
    assert np.isfinite(rows).all()


def test_bad_payloads_are_refused_by_name() -> None:
    quantizer = ProductQuantizer(subvectors=4, centroids=3, real_bits=32)
    rng = np.random.default_rng(0)
    good = quantizer.encode(rng.normal(size=(4, 8)).astype(np.float32), seed=0)
    assert good[:4] == bytes([16, 4, 1, 3])
    nan = good[:4] + b"\0\0\xc0\x7f" + good[8:]
    with pytest.raises(NotFinite):
        decode_product(nan, examples=4, numbers=8)
    beyond = good[:-4] + b"\xff\xff\xff\xff"
    with pytest.raises(Corrupt, match="index"):
        decode_product(beyond, examples=4, numbers=8)
    huge = good[:3] + b"\x11" + good[4:]
    with pytest.raises(TooLarge):
        decode_product(huge, examples=4, numbers=8)
    with pytest.raises(TooLarge):
        decode_product(good, examples=1 << 20, numbers=1 << 20)
    with pytest.raises(Malformed):
        decode_product(good, examples=5, numbers=8)
    with pytest.raises(Malformed):
        decode_product(good + b"\0", examples=4, numbers=8)


@pytest.mark.parametrize("path", sorted((GOLDEN / "good").glob("*.payload")), ids=lambda p: p.stem)
def test_golden_payloads_are_still_made_and_read(path: Path) -> None:
    _, spec, shape, seed = path.stem.split("_")
    examples, numbers = map(int, shape.split("x"))
    name, words = words_of(spec.replace("-", ":", 1).replace("+", ","))
    assert name == "product"
    rows = golden_rows(examples, numbers)
    payload = path.read_bytes()
    assert product_from_words(dict(words)).encode(rows, seed=int(seed)) == payload
    decoded = decode_product(payload, examples=examples, numbers=numbers)
    assert decoded.astype("<f4").tobytes() == path.with_suffix(".values").read_bytes()


@pytest.mark.parametrize("path", sorted((GOLDEN / "bad").glob("*.payload")), ids=lambda p: p.stem)
def test_golden_bad_payloads_are_still_refused(path: Path) -> None:
    _, shape, error = path.stem.split("_")
    examples, numbers = map(int, shape.split("x"))
    with pytest.raises(Malformed) as caught:
        decode_product(path.read_bytes(), examples=examples, numbers=numbers)
    assert type(caught.value).__name__ == error


def golden_rows(examples: int, numbers: int) -> NDArray[np.float32]:
    """Whole-number arithmetic and one exact division: the same on every machine."""
    drawn = np.random.Generator(np.random.PCG64(5)).integers(-512, 1024, (examples, numbers))
    return (np.maximum(drawn, 0) / 256).astype(np.float32)
