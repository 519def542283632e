"""The sign streams are those of FORMAT.md, section 5.2."""

import re
from pathlib import Path

import numpy as np

import edge_sdk.wire
from edge_sdk.codecs.signs import flip_signs, hash32, random_words, stream_key

FORMAT = (Path(edge_sdk.wire.__file__).parent / "FORMAT.md").read_text(encoding="utf-8")
PURPOSE = 0x4E454445


def vector_of(row: str) -> list[int]:
    line = next(line for line in FORMAT.splitlines() if line.startswith(f"| {row}"))
    return [int(word, 16) for word in re.findall(r"0x[0-9A-F]{8}\b", line.split("|")[2])]


def test_hash_gives_the_test_vectors_of_the_format() -> None:
    inputs = (0, 1, 2, 0x12345678, 0xFFFFFFFF)
    assert [hash32(x) for x in inputs] == vector_of("hash32 of")


def test_keys_and_words_are_the_test_vectors_of_the_format() -> None:
    zero = stream_key(PURPOSE, 0, 0, 0, 0)
    other = stream_key(PURPOSE, 2**32 - 1, 2**21 - 1, 7, 1)
    lines = [line for line in FORMAT.splitlines() if line.startswith("| its words")]
    words = [[int(w, 16) for w in re.findall(r"0x[0-9A-F]{8}", line)] for line in lines]
    assert [zero] == vector_of("key for seed 0")
    assert [other] == vector_of("key for seed 2^53")
    assert random_words(zero, first=0, count=4).tolist() == words[0]
    assert random_words(other, first=0, count=4).tolist() == words[1]


def test_words_are_the_hash_of_their_number() -> None:
    key = 0xDEADBEEF
    expected = [hash32((w * 0x9E3779B9 + key) & 0xFFFFFFFF) for w in range(1000, 1050)]
    assert random_words(key, first=1000, count=50).tolist() == expected


def test_bit_k_of_word_w_is_the_sign_of_coordinate_32w_plus_k() -> None:
    rows = np.ones((2, 64), np.float32)
    flip_signs(rows, 5, first=64)
    words = [int(word) for word in random_words(5, first=2, count=4)]
    expected = [-1.0 if words[i // 32] >> i % 32 & 1 else 1.0 for i in range(128)]
    assert rows.reshape(-1).tolist() == expected


def test_signs_are_balanced_and_streams_do_not_agree() -> None:
    streams = []
    for index in range(20):
        rows = np.ones((1, 65536), np.float32)
        flip_signs(rows, stream_key(PURPOSE, 0, 0, index, 0), first=0)
        streams.append(rows[0])
    agreement = np.array(streams, np.float64) @ np.array(streams, np.float64).T / 65536
    # 190 pairs and 20 means of 65536 fair signs: five standard deviations are 0.02.
    assert np.abs(agreement - np.eye(20)).max() < 0.02
    assert max(abs(float(stream.mean())) for stream in streams) < 0.02
