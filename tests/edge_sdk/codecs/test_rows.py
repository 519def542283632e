"""Promises of batches as payloads: any codec carries them, and bad ones are refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_sdk.codecs.product import WIRE_ID
from edge_sdk.codecs.rows import decode_rows, rows_codec
from edge_sdk.errors import Malformed, Misuse, Unsupported

ROWS = np.random.default_rng(0).normal(size=(6, 40)).astype(np.float32)


@pytest.mark.parametrize(
    ("spec", "most"),
    [
        ("float32", 0.0),
        ("float16", 1e-3),
        ("eden:bits=4", 0.2),
        ("eden:bits=8", 0.02),
        ("topk:share=0.5", 0.6),
        ("product:q=20,l=64", 0.4),
    ],
)
def test_batches_come_back(spec: str, most: float) -> None:
    codec = rows_codec(spec)
    payload = codec.encode(ROWS, seed=5)
    kind, parameter = codec.ids
    rows = decode_rows(payload, codec=kind, parameter=parameter, examples=6, numbers=40, seed=5)
    assert rows.shape == ROWS.shape
    assert np.linalg.norm(rows - ROWS) <= most * np.linalg.norm(ROWS)


@pytest.mark.parametrize("spec", ["product:q=20", "product:q=0,l=2", "product:q=4,l=2,x=1", "none"])
def test_specs_that_name_nothing_are_unsupported(spec: str) -> None:
    with pytest.raises(Unsupported):
        rows_codec(spec)


def test_what_is_not_a_batch_is_misuse() -> None:
    for spec in ("product:q=4,l=2", "float32"):
        with pytest.raises(Misuse):
            rows_codec(spec).encode(ROWS * np.float32(np.nan), seed=0)


@given(
    st.binary(max_size=80),
    st.sampled_from([1, 2, 3, 16, 18, 32, WIRE_ID, 200]),
    st.integers(0, 255),
)
@settings(max_examples=200, deadline=None)
def test_any_bytes_give_a_batch_or_malformed(data: bytes, codec: int, parameter: int) -> None:
    try:
        rows = decode_rows(data, codec=codec, parameter=parameter, examples=3, numbers=5, seed=1)
    except Malformed:
        return
    assert rows.shape == (3, 5)
    assert np.isfinite(rows).all()
