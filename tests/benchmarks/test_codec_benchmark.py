import math

import numpy as np
import pytest

from benchmarks import textbook_eden
from benchmarks.codec import bound, figures, measure
from benchmarks.codec_checks import bias_of, loss_of, normal, two_values
from benchmarks.contenders import FAMILIES, RATES, Subject, tuned, wire_bits
from benchmarks.fleet import digits
from benchmarks.real_updates import real_updates
from edge_sdk.codecs import Eden, Float32
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.topk import TopK


def test_a_measured_error_and_size_are_those_of_the_codec() -> None:
    made = measure(Eden(1), normal(1 << 15), draws=4)
    assert made["nmse"] == pytest.approx(math.pi / 2 - 1, rel=0.03)
    assert 1 < made["wire_bits"] < 1.03
    assert measure(Float32(), normal(1000), draws=1)["nmse"] == 0


def test_every_family_gives_figures_at_the_rates_it_names() -> None:
    made = list(figures(Subject(normal(1 << 13)), draws=1))
    assert {family for family, _, _ in made} >= set(FAMILIES) - {"lowrank"}
    for family, rate, each in made:
        assert set(each) == {
            "wire_bits",
            "nmse",
            "encode_ms_per_million",
            "decode_ms_per_million",
        }
        assert each["wire_bits"] == pytest.approx(float(rate), rel=0.1, abs=0.1), family


def test_the_bound_lies_below_textbook_eden_at_every_rate() -> None:
    assert all(bound(rate) < textbook_eden.error_of_eden(rate) for rate in RATES)


def test_a_share_is_tuned_to_the_rate_or_refused() -> None:
    vector = normal(1 << 14)
    codec = tuned(TopK, 0.5, vector)
    assert codec is not None
    payloads = codec.encode(vector, seed=0, chunk_bytes=4096)
    assert wire_bits(payloads, len(vector)) == pytest.approx(0.5, rel=0.1)
    assert tuned(TopK, 40.0, vector) is None


@pytest.mark.parametrize("bits", [0.25, 1, 2, 3, 4])
def test_textbook_eden_has_the_error_of_its_formula(bits: float) -> None:
    vector = normal(8192)
    expected = textbook_eden.error_of_eden(bits)
    errors = []
    for seed in range(20):
        message = textbook_eden.encode(vector, bits, seed=seed)
        error = textbook_eden.decode(message, seed=seed) - vector
        errors.append(float(np.sum(error**2) / np.sum(vector**2)))
    assert np.mean(errors) == pytest.approx(expected, rel=0.12 if bits < 1 else 0.03)


def test_textbook_hadamard_is_its_own_inverse() -> None:
    values = normal(64)
    turned = textbook_eden.hadamard(values)
    assert float(np.sum(turned**2)) == pytest.approx(float(np.sum(values**2)), rel=1e-5)
    assert textbook_eden.hadamard(turned) == pytest.approx(values, abs=1e-5)


def test_textbook_eden_pads_and_its_size_says_so() -> None:
    message = textbook_eden.encode(normal(5000), 1, seed=0)
    assert message.wire_bits == pytest.approx((8192 + 32) / 5000)


def test_bias_is_found_where_there_is_one() -> None:
    biased = bias_of(TopK(0.1), normal(1024), seeds=20)
    assert biased["bias2"] == pytest.approx(biased["v"], rel=0.01)
    fair = bias_of(Eden(1), two_values(1024), seeds=60)
    assert abs(fair["bias2"]) < 5 * fair["noise2"]
    assert fair["error2/noise"] == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("lost", [0.05, 0.2, 0.5])
def test_error_with_lost_chunks_follows_theory_and_stays_unbiased(lost: float) -> None:
    made = loss_of(EdenEntropy(0.5), normal(1 << 14), lost, repeats=60)
    assert made["chunks"] > 2
    assert made["error"] == pytest.approx(made["theory"], rel=0.15)
    assert made["cohort"] == pytest.approx(made["cohort theory"], rel=0.25)
    assert abs(made["bias2"]) < 0.1 * made["theory"]


def test_real_updates_repeat_and_lie_in_their_layout() -> None:
    fleet = digits("mlp", devices=6)
    first, second = (list(real_updates(fleet, (1, 2))) for _ in range(2))
    assert [update.name for update in first] == ["digits-mlp-r1", "digits-mlp-r2"]
    for one, other in zip(first, second, strict=True):
        assert one.layout.size == len(one.vector) > 0
        assert np.linalg.norm(one.vector) > 0
        assert np.array_equal(one.vector, other.vector)
