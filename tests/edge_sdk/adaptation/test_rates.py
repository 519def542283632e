"""Forecasts by spec agree with what the codecs do."""

import numpy as np
import pytest

from edge_sdk.adaptation import forecast
from edge_sdk.adaptation.rates import UNKNOWN
from edge_sdk.codecs import codec_from_spec
from edge_sdk.codecs.table import SPECS
from edge_sdk.testing.codecs import decode_all

VECTOR = np.random.Generator(np.random.PCG64(3)).standard_normal(30_000).astype(np.float32)

MEASURED = (
    "float32",
    "float16",
    "eden:bits=1",
    "eden:bits=2",
    "eden:bits=4",
    "blockwise:rate=0.25",
    "blockwise:rate=1",
    "blockwise:rate=2",
    "eden-entropy:rate=1",
    "dithered:rate=2",
    "topk:share=0.05",
    "randomk:share=0.1",
    "sign",
)


@pytest.mark.parametrize("spec", MEASURED)
def test_bits_and_error_are_near_what_the_codec_does(spec: str) -> None:
    codec = codec_from_spec(spec)
    payloads = codec.encode(VECTOR, seed=1, chunk_bytes=1 << 16)
    bits = 8 * sum(map(len, payloads)) / len(VECTOR)
    decoded = decode_all(codec, payloads, dimension=len(VECTOR), seed=1)
    error = float(np.square(decoded - VECTOR).sum() / np.square(VECTOR).sum())
    said = forecast(spec)
    assert said.unbiased == codec.unbiased
    assert said.bits == pytest.approx(bits, rel=0.3)
    assert 0.5 * error - 1e-3 <= said.error <= 2 * error + 1e-3


@pytest.mark.parametrize("spec", SPECS)
def test_every_codec_of_the_table_is_known(spec: str) -> None:
    assert forecast(spec) != UNKNOWN


@pytest.mark.parametrize(
    "spec",
    ["never-heard-of", "eden:bits=x", "blockwise:rate=0", "topk:share=0", "auto", "a:b=c,b=d"],
)
def test_what_is_not_known_counts_as_dear_and_bad(spec: str) -> None:
    assert forecast(spec) == UNKNOWN


def test_more_bits_mean_less_error() -> None:
    errors = [forecast(f"blockwise:rate={rate}").error for rate in (0.1, 0.25, 0.5, 1, 2, 4)]
    assert errors == sorted(errors, reverse=True)
