"""FedZip: the paper's clustering, three decodable encodings, honest sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs.cursor import Cursor
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.fedzip_clusters import cluster, prune
from edge_sdk.codecs.fedzip_streams import Encoding, paper_bits, read_labels, write_labels
from edge_sdk.errors import Corrupt, Misuse
from edge_sdk.values import Layout, Parameter, Place, Vector

LAYOUT = Layout((Parameter("w", (40, 30)), Parameter("b", (30,)), Parameter("v", (30, 5))))


def student(size: int) -> Vector:
    return np.random.default_rng(0).standard_t(5, size).astype(np.float32)


def plain_k_means(tensor: Vector, k: int) -> Vector:
    """The paper's code in plain words: nearest centroid, ties to the lower; mean; four times."""
    centroids = [float(c) for c in np.linspace(tensor.min(), tensor.max(), k)]

    def nearest(value: float) -> int:
        return min(range(k), key=lambda i: abs(value - centroids[i]))

    for _ in range(4):
        labels = [nearest(float(value)) for value in tensor]
        for i in range(k):
            mine = [float(v) for v, label in zip(tensor, labels, strict=True) if label == i]
            centroids[i] = sum(mine) / len(mine) if mine else centroids[i]
    return np.array([centroids[nearest(float(value))] for value in tensor], np.float32)


@pytest.mark.parametrize("k", [1, 2, 3, 5, 15])
@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_clustering_is_the_papers(k: int, share: float) -> None:
    pruned = prune(student(600), share)
    clusters = cluster(pruned, k)
    expected = plain_k_means(pruned, k)
    np.testing.assert_allclose(clusters.centroids[clusters.labels], expected, rtol=1e-6, atol=1e-7)
    assert len(clusters.centroids) <= k


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 0.5, 1e30, -1e-40]), min_size=1, max_size=30),
    st.integers(1, 16),
)
def test_few_distinct_values_are_no_trouble(values: list[float], k: int) -> None:
    tensor = np.array(values, np.float32)
    clusters = cluster(tensor, k)
    assert (np.diff(clusters.centroids) > 0).all()
    assert set(clusters.labels.tolist()) == set(range(len(clusters.centroids)))
    assert tensor.min() <= clusters.centroids.min()
    assert clusters.centroids.max() <= tensor.max()


def test_pruning_keeps_the_largest_share_and_all_ties() -> None:
    tensor = np.array([1, -3, 2, -2, 0.5, 2, 0, 0, 0, 0], np.float32)
    assert prune(tensor, 0.2).tolist() == [0, -3, 2, -2, 0, 2, 0, 0, 0, 0]
    assert prune(np.zeros(4, np.float32), 0.5).tolist() == [0, 0, 0, 0]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(list(Encoding)),
    st.integers(2, 16),
    st.integers(0, 200),
    st.integers(0, 99),
)
def test_labels_come_back(encoding: Encoding, alphabet: int, more: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    common = np.where(rng.random(more) < 0.8, 1, rng.integers(0, alphabet, more))
    labels = rng.permutation(np.concatenate([np.arange(alphabet), common])).astype(np.uint8)
    cursor = Cursor(write_labels(labels, alphabet, encoding))
    assert read_labels(cursor, len(labels), alphabet, encoding).tolist() == labels.tolist()
    cursor.end()


def decode(codec: FedZip, payloads: list[bytes], dimension: int) -> Vector:
    out = np.zeros(dimension, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(dimension, index, len(payloads), 0))
        piece.where.put(piece.values, out)
    return out


def test_all_encodings_and_chunk_sizes_carry_the_same_values() -> None:
    vector = student(LAYOUT.size)
    seen = {
        decode(codec, codec.encode(vector, seed=0, chunk_bytes=chunk_bytes), len(vector)).tobytes()
        for encoding in Encoding
        for chunk_bytes in (200, 65536)
        for codec in [FedZip(0.2, 3, encoding, LAYOUT)]
    }
    assert len(seen) == 1


def test_each_tensor_has_its_own_centroids_and_biases_are_not_pruned() -> None:
    vector = student(LAYOUT.size)
    vector[1200:1230] *= 100
    codec = FedZip(0.1, 3, layout=LAYOUT)
    tensors = LAYOUT.split(
        decode(codec, codec.encode(vector, seed=0, chunk_bytes=65536), len(vector))
    )
    for name, tensor in tensors.items():
        assert len(np.unique(tensor)) <= 3, name
    bias = plain_k_means(vector[1200:1230], 3)
    np.testing.assert_allclose(tensors["b"], bias, rtol=1e-6)
    assert np.abs(tensors["w"]).max() < 20


def test_decoding_needs_no_layout() -> None:
    vector = student(LAYOUT.size)
    payloads = FedZip(0.2, layout=LAYOUT).encode(vector, seed=0, chunk_bytes=150)
    assert len(payloads) > 1
    told, untold = FedZip(0.2, layout=LAYOUT), FedZip(0.9)
    assert np.array_equal(
        decode(told, payloads, len(vector)), decode(untold, payloads, len(vector))
    )


def test_paper_sizes_are_counted_as_in_the_papers_code() -> None:
    labels = np.array([1] * 90 + [0] * 2 + [2] * 8, np.uint8)
    assert paper_bits(labels, 3, Encoding.HUFFMAN) == 98 + 2 * 2
    assert paper_bits(labels, 3, Encoding.ADDRESSES) == 27 * 10
    # Gaps 90 and 1, 92 and seven times 1.
    assert paper_bits(labels, 3, Encoding.DIFFERENCES) == 7 + 1 + 7 + 7
    codec = FedZip(1.0, 3, Encoding.ADDRESSES)
    assert codec.paper_bits(labels.astype(np.float32)) == 3 * 32 + 27 * 10


@pytest.mark.parametrize("keep", [0.01, 0.05, 0.2])
def test_what_can_be_decoded_takes_more_than_the_paper_counts(keep: float) -> None:
    vector = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    codec = FedZip(keep)
    real = 8 * sum(map(len, codec.encode(vector, seed=0, chunk_bytes=65536)))
    assert 1.15 < real / codec.paper_bits(vector) < 1.7


def test_a_layout_of_another_size_is_misuse() -> None:
    with pytest.raises(Misuse):
        FedZip(layout=LAYOUT).encode(student(7), seed=0, chunk_bytes=512)


def test_payloads_of_another_encoding_are_refused() -> None:
    (payload,) = FedZip(encoding=Encoding.ADDRESSES).encode(student(99), seed=0, chunk_bytes=512)
    with pytest.raises(Corrupt):
        FedZip(encoding=Encoding.DIFFERENCES).decode(payload, Place(99, 0, 1, 0))
