"""Promises of every sparse codec: second decoder, chunks, limits, hostile bytes, expectation."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.fedzip_streams import Encoding
from edge_sdk.codecs.fitting import FRAME_HEADER_BYTES, MAX_SPAN
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.table import FramedCodec, codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.codecs.topk import RandomK, TopK
from edge_sdk.errors import Malformed, Misuse, TooLarge, Unsupported
from edge_sdk.values import Place, Vector
from edge_sdk.wire import HEADER_BYTES
from tests.edge_sdk.codecs.plain_sparse_decoder import decode as plain_decode

CODECS: list[FramedCodec] = [
    TopK(0.1),
    TopK(0.03, values=32),
    RandomK(0.2),
    RandomK(0.5, values=32),
    Sign(),
    *(FedZip(0.2, 3, encoding) for encoding in Encoding),
    *(FedZip(0.5, 9, encoding) for encoding in Encoding),
    DeadZone(0.5),
    DeadZone(4.0),
    Qsgd(1, 64),
    Qsgd(7, 100),
]

Doubles = NDArray[np.float64]

SEED = 2**53 - 12345


def gaussian(size: int, seed: int = 0) -> Vector:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32)


def heavy(size: int) -> Vector:
    return np.random.default_rng(1).standard_t(2, size).astype(np.float32)


def spikes(size: int) -> Vector:
    vector = np.zeros(size, np.float32)
    vector[:: size // 7] = 3.0
    vector[1] = -3.0
    return vector


VECTORS = {
    "zeros": np.zeros(100, np.float32),
    "minus zeros": -np.zeros(9, np.float32),
    "one": np.array([-2.5], np.float32),
    "one zero": np.zeros(1, np.float32),
    "constant": np.full(130, 0.1, np.float32),
    "gaussian": gaussian(1500),
    "heavy": heavy(1031),
    "spikes": spikes(500),
    "denormals": gaussian(77) * np.float32(1e-42),
    "huge": gaussian(65) * np.float32(1e30),
    "two sizes": np.array([1e30, 1e-30] * 20, np.float32),
    "halves": np.repeat(np.array([-1, 1], np.float32), 33),
}


def decoded(codec: FramedCodec, payloads: list[bytes], dimension: int, seed: int) -> Vector:
    out = np.full(dimension, np.nan, np.float32)
    for index, payload in enumerate(payloads):
        piece = codec.decode(payload, Place(dimension, index, len(payloads), seed))
        piece.where.put(piece.values, out)
    assert np.isfinite(out).all()
    return out


@pytest.mark.parametrize("name", VECTORS)
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_a_decoder_written_from_the_format_agrees_bit_for_bit(
    codec: FramedCodec, name: str
) -> None:
    vector = VECTORS[name]
    payloads = list(codec.encode(vector, seed=SEED, chunk_bytes=512))
    wire_id, parameter = frame_ids(codec)
    ours = codec_from_frame(wire_id, parameter)
    for index, payload in enumerate(payloads):
        piece = ours.decode(payload, Place(len(vector), index, len(payloads), SEED))
        plain = plain_decode(
            payload,
            codec=wire_id,
            parameter=parameter,
            dimension=len(vector),
            index=index,
            count=len(payloads),
            seed=SEED,
        )
        assert piece.values.tobytes() == np.array(plain, np.float32).tobytes()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_equal_arguments_give_equal_bytes_and_every_chunk_fits(codec: FramedCodec) -> None:
    vector = heavy(20_000)
    payloads = list(codec.encode(vector, seed=5, chunk_bytes=600))
    assert payloads == list(codec.encode(vector.copy(), seed=5, chunk_bytes=600))
    assert all(1 <= len(payload) <= 600 for payload in payloads)
    assert np.isfinite(decoded(codec, payloads, 20_000, 5)).all()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_zeros_stay_zeros(codec: FramedCodec) -> None:
    payloads = list(codec.encode(np.zeros(5000, np.float32), seed=1, chunk_bytes=4096))
    assert not decoded(codec, payloads, 5000, 1).any()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
@pytest.mark.parametrize(
    "bad",
    [
        np.array([1, np.nan], np.float32),
        np.array([np.inf], np.float32),
        np.array([3e38], np.float32),
        np.zeros(0, np.float32),
        np.zeros((2, 2), np.float32),
        np.zeros(4, np.float64),
    ],
    ids=["nan", "inf", "too great", "empty", "matrix", "float64"],
)
def test_what_cannot_be_encoded_is_misuse(codec: FramedCodec, bad: Vector) -> None:
    with pytest.raises(Misuse):
        codec.encode(bad, seed=0, chunk_bytes=4096)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_a_chunk_for_too_many_coordinates_is_refused_before_any_allocation(
    codec: FramedCodec,
) -> None:
    with pytest.raises(TooLarge):
        codec.decode(b"\0" * 32, Place(MAX_SPAN + 1, 0, 1, 0))


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_a_payload_cut_anywhere_or_longer_is_malformed(codec: FramedCodec) -> None:
    (payload,) = codec.encode(heavy(300), seed=3, chunk_bytes=4096)
    place = Place(300, 0, 1, 3)
    for end in range(len(payload)):
        with pytest.raises(Malformed):
            codec.decode(payload[:end], place)
    with pytest.raises(Malformed):
        codec.decode(payload + b"\0", place)


@settings(max_examples=400, deadline=None)
@given(
    codec=st.sampled_from(CODECS),
    payload=st.binary(max_size=120),
    dimension=st.integers(1, 5000),
    seed=st.integers(0, 2**53 - 1),
)
@example(codec=TopK(0.1), payload=b"\xff\xff\xff\xff" + b"\x80" * 8, dimension=9, seed=0)
@example(codec=DeadZone(1.0), payload=bytes(6) + b"\xff\xff\xff\xff\x0f", dimension=9, seed=0)
def test_any_bytes_give_values_or_malformed(
    codec: FramedCodec, payload: bytes, dimension: int, seed: int
) -> None:
    decode_or_refuse(codec, payload, Place(dimension, 0, 1, seed))


@settings(max_examples=400, deadline=None)
@given(
    codec=st.sampled_from(CODECS),
    which=st.sampled_from(["gaussian", "heavy", "spikes", "two sizes"]),
    edits=st.lists(st.tuples(st.integers(0, 4095), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_payloads_give_values_or_malformed(
    codec: FramedCodec, which: str, edits: list[tuple[int, int]]
) -> None:
    vector = VECTORS[which]
    payload = bytearray(codec.encode(vector, seed=1, chunk_bytes=65536)[0])
    for at, byte in edits:
        payload[at % len(payload)] = byte
    decode_or_refuse(codec, bytes(payload), Place(len(vector), 0, 1, 1))


def decode_or_refuse(codec: FramedCodec, payload: bytes, place: Place) -> None:
    try:
        piece = codec.decode(payload, place)
    except Malformed:
        return
    assert piece.values.dtype == np.float32
    assert piece.values.shape == (piece.where.size,) == (place.dimension,)
    assert np.isfinite(piece.values).all()


@pytest.mark.parametrize(
    "codec", [RandomK(0.1), RandomK(0.3, values=32), Qsgd(1, 64), Qsgd(5, 50)], ids=lambda c: c.spec
)
@pytest.mark.parametrize("name", ["gaussian", "spikes", "one and a half"])
def test_unbiased_codecs_average_to_the_vector(codec: FramedCodec, name: str) -> None:
    vector = np.zeros(200, np.float32)
    vector[:2] = 1, 0.5
    if name != "one and a half":
        vector = VECTORS[name][:400]
    assert codec.unbiased
    runs = 400
    seen = np.stack(
        [
            decoded(
                codec, list(codec.encode(vector, seed=seed, chunk_bytes=4096)), len(vector), seed
            )
            for seed in range(runs)
        ]
    ).astype(np.float64)

    def close(samples: Doubles, truth: Vector) -> bool:
        error = np.abs(samples.mean(axis=0) - truth)
        spread = samples.std(axis=0)
        spread = np.maximum(spread, spread.max() / 10)  # rare events may not have happened
        return bool((error <= 5 * spread / np.sqrt(runs)).all())

    assert close(seen, vector)
    assert close((seen @ vector)[:, np.newaxis], np.array([vector @ vector], np.float32))


def test_random_k_and_qsgd_have_the_error_of_the_books() -> None:
    vector = gaussian(1 << 16)
    energy = float(np.sum(vector.astype(np.float64) ** 2))

    def vnmse(codec: FramedCodec) -> float:
        payloads = list(codec.encode(vector, seed=1, chunk_bytes=65536))
        error = decoded(codec, payloads, len(vector), 1) - vector.astype(np.float64)
        return float(np.sum(error**2)) / energy

    assert vnmse(RandomK(0.1)) == pytest.approx(9, rel=0.05)
    assert vnmse(RandomK(1.0, values=32)) == 0
    # One level: a coordinate costs |x| * norm - x^2, so sqrt(n) * E|z| - 1 for Gaussian buckets.
    assert vnmse(Qsgd(1, 256)) == pytest.approx(16 * np.sqrt(2 / np.pi) - 1, rel=0.05)
    assert vnmse(Sign()) == pytest.approx(1 - 2 / np.pi, rel=0.02)


def test_top_k_keeps_the_largest_and_ties_go_to_the_lower_index() -> None:
    vector = np.array([1, -5, 2, 5, 0, -2, 2, 0.5, 0, 0], np.float32)
    (payload,) = TopK(0.4, values=32).encode(vector, seed=0, chunk_bytes=512)
    values = TopK(0.4, values=32).decode(payload, Place(10, 0, 1, 0)).values
    assert values.tolist() == [0, -5, 2, 5, 0, -2, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("spec", "codec"),
    [
        ("topk:share=0.01", TopK(0.01)),
        ("topk:share=1e-05,values=32", TopK(1e-5, values=32)),
        ("randomk:share=.5,values=16", RandomK(0.5)),
        ("sign", Sign()),
        ("fedzip:keep=0.05,k=15,encoding=huffman", FedZip(0.05, 15, Encoding.HUFFMAN)),
        ("fedzip:keep=0.1", FedZip(0.1)),
        ("deadzone:rate=0.03", DeadZone(0.03)),
        ("qsgd:levels=4", Qsgd(4)),
        ("qsgd", Qsgd()),
    ],
)
def test_specs_name_codecs_and_codecs_their_specs(spec: str, codec: FramedCodec) -> None:
    assert codec_from_spec(spec) == codec
    assert codec_from_spec(codec.spec) == codec
    assert frame_ids(codec_from_frame(*frame_ids(codec))) == frame_ids(codec)


@pytest.mark.parametrize(
    "spec",
    [
        "topk",
        "topk:share=0",
        "topk:share=nan",
        "topk:share=1.5",
        "topk:share=0.1,values=8",
        "topk:share=0.1,speed=2",
        "randomk:values=16",
        "sign:bits=1",
        "fedzip",
        "fedzip:keep=0.1,k=17",
        "fedzip:keep=0.1,encoding=morse",
        "deadzone:rate=0",
        "deadzone:rate=inf",
        "deadzone:rate=17",
        "qsgd:levels=256",
        "qsgd:bucket=0",
    ],
)
def test_specs_out_of_bounds_are_unsupported(spec: str) -> None:
    with pytest.raises(Unsupported):
        codec_from_spec(spec)


@pytest.mark.parametrize("ids", [(16, 8), (17, 0), (18, 1), (19, 3), (20, 1), (21, 0)])
def test_frame_fields_out_of_bounds_are_unsupported(ids: tuple[int, int]) -> None:
    with pytest.raises(Unsupported):
        codec_from_frame(*ids)


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.spec)
def test_encoding_takes_at_most_three_times_the_vector_and_a_chunks_work(
    codec: FramedCodec,
) -> None:
    vector = heavy(1 << 20)
    tracemalloc.start()
    codec.encode(vector, seed=0, chunk_bytes=65_480)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= 3 * vector.nbytes + (16 << 20)  # the second is one chunk's working memory


def test_chunks_too_small_for_anything_are_misuse() -> None:
    with pytest.raises(Misuse):
        TopK(1.0, values=32).encode(gaussian(10), seed=0, chunk_bytes=5)


def test_the_header_that_rates_count_is_the_header_of_frames() -> None:
    assert FRAME_HEADER_BYTES == HEADER_BYTES
