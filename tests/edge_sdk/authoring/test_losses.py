"""Every loss has the value its formula says, and its cotangent equals finite differences."""

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import numpy_helper, parser

from edge_sdk.authoring import losses
from edge_sdk.authoring.builder import Builder
from edge_sdk.authoring.evaluation import run_model
from edge_sdk.authoring.graph import Type
from edge_sdk.authoring.losses import Loss, chosen_loss
from edge_sdk.authoring.onnx_form import to_model
from edge_sdk.errors import Misuse, Unsupported
from edge_sdk.plan.conventions import BATCH_AXIS

Doubles = NDArray[np.float64]
DOUBLE = np.dtype(np.float64)


class Probe:
    """A loss on its own: outputs to numbers."""

    def __init__(self, loss: Loss, shape: tuple[int, ...]) -> None:
        builder = Builder()
        x = builder.input("x", Type(DOUBLE, (BATCH_AXIS, *shape[1:])))
        self.target = loss.target(x)
        measured = loss.measure(x, builder.input("t", self.target))
        outputs = {"loss": measured.loss, "cotangent": measured.cotangent}
        named = {"correct": measured.correct, "counted": measured.counted}
        outputs |= {name: value for name, value in named.items() if value is not None}
        self.names = list(outputs)
        self.classes = loss.classes(x)
        self._model = to_model(builder.finish("loss", outputs))

    def __call__(self, x: Doubles, t: NDArray[np.generic]) -> dict[str, Doubles]:
        outputs = run_model(self._model, {"x": x, "t": t.astype(self.target.dtype)})
        return {n: np.asarray(o, float) for n, o in zip(self.names, outputs, strict=True)}

    def check_cotangent(self, x: Doubles, t: NDArray[np.generic]) -> None:
        rng = np.random.default_rng(5)
        cotangent = self(x, t)["cotangent"]
        assert cotangent.shape == x.shape
        for _ in range(3):
            d = rng.normal(size=x.shape)
            ends = [float(self(x + side * 1e-6 * d, t)["loss"]) for side in (1, -1)]
            difference = (ends[0] - ends[1]) / 2e-6
            np.testing.assert_allclose((cotangent * d).sum(), difference, rtol=1e-5, atol=1e-8)


def softmax(x: Doubles, axis: int) -> Doubles:
    e = np.exp(x - x.max(axis, keepdims=True))
    return np.asarray(e / e.sum(axis, keepdims=True))


SHAPES = {(4, 3): 1, (2, 5, 3): 2, (2, 3, 4, 2): 1}
"""Output shape to the axis of its three classes."""


def reference(
    x: Doubles, t: NDArray[np.generic], axis: int, *, smoothing: float = 0.0,
    weights: Sequence[float] | None = None, ignored: int | None = None,
) -> float:  # fmt: skip
    """Cross-entropy position by position."""
    rows = np.moveaxis(np.log(softmax(x, axis)), axis, -1).reshape(-1, 3)
    w = np.ones(3) if weights is None else np.asarray(weights)
    total = norm = 0.0
    for row, k in zip(rows, np.asarray(t).reshape(-1).astype(int), strict=True):
        if k != ignored:
            total -= (1 - smoothing) * w[k] * row[k] + smoothing / 3 * float((w * row).sum())
            norm += w[k]
    return total / norm


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from(sorted(SHAPES)),
    smoothing=st.sampled_from([0.0, 0.2]),
    weights=st.sampled_from([None, (1.0, 0.5, 3.0)]),
    ignored=st.sampled_from([None, -100, 1]),
    seed=st.integers(0, 99),
)
def test_cross_entropy(
    shape: tuple[int, ...], smoothing: float, weights: tuple[float, ...] | None,
    ignored: int | None, seed: int,
) -> None:  # fmt: skip
    rng, axis = np.random.default_rng(seed), SHAPES[shape]
    loss = losses.cross_entropy(
        label_smoothing=smoothing, class_weights=weights, ignore_index=ignored
    )
    probe = Probe(loss, shape)
    x = rng.normal(size=shape) * 2
    t = np.asarray(rng.integers(0, 3, np.delete(shape, axis)))
    t.reshape(-1)[0] = 0
    if ignored == -100:
        t.reshape(-1)[1] = ignored
    found = probe(x, t)
    right = reference(x, t, axis, smoothing=smoothing, weights=weights, ignored=ignored)
    np.testing.assert_allclose(found["loss"], right, rtol=1e-9)
    kept = t != ignored
    assert found["correct"] == ((x.argmax(axis) == t) & kept).sum()
    if "counted" in probe.names:
        assert found["counted"] == kept.sum()
    probe.check_cotangent(x, t)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (1.0, 0.5, 3.0)])
def test_soft_labels(
    shape: tuple[int, ...], smoothing: float, weights: tuple[float, ...] | None
) -> None:
    rng, axis = np.random.default_rng(1), SHAPES[shape]
    x, t = rng.normal(size=shape), softmax(rng.normal(size=shape), axis)
    probe = Probe(
        losses.cross_entropy(soft=True, label_smoothing=smoothing, class_weights=weights), shape
    )
    w = np.ones(3) if weights is None else np.asarray(weights)
    w = w.reshape([3 if a == axis else 1 for a in range(len(shape))])
    aim = ((1 - smoothing) * t + smoothing / 3) * w
    positions = x.size / 3
    np.testing.assert_allclose(
        probe(x, t)["loss"], -(aim * np.log(softmax(x, axis))).sum() / positions, rtol=1e-9
    )
    assert probe(x, t)["correct"] == (x.argmax(axis) == t.argmax(axis)).sum()
    assert probe.classes is None
    probe.check_cotangent(x, t)


def test_classes_may_be_told_to_stand_elsewhere() -> None:
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=(2, 3, 5)), rng.integers(0, 3, (2, 5))
    probe = Probe(losses.cross_entropy(class_axis=1), x.shape)
    assert probe.target.shape == (BATCH_AXIS, 5)
    np.testing.assert_allclose(probe(x, t)["loss"], reference(x, t, 1), rtol=1e-9)


def test_a_batch_of_which_nothing_counts_moves_nothing() -> None:
    probe = Probe(losses.cross_entropy(ignore_index=9), (2, 4, 3))
    found = probe(np.ones((2, 4, 3)), np.full((2, 4), 9))
    assert float(found["loss"]) == float(found["counted"]) == 0
    np.testing.assert_array_equal(found["cotangent"], 0)


def test_classes_are_known_unless_targets_name_others() -> None:
    assert Probe(losses.cross_entropy(), (2, 3)).classes == 3
    assert Probe(losses.cross_entropy(ignore_index=2), (2, 3)).classes == 3
    assert Probe(losses.cross_entropy(ignore_index=255), (2, 3)).classes is None


@pytest.mark.parametrize("shape", [(5, 1), (3, 4), (2, 1, 3, 3)])
@pytest.mark.parametrize("ignored", [None, -1])
def test_binary_cross_entropy(shape: tuple[int, ...], ignored: int | None) -> None:
    rng = np.random.default_rng(3)
    x, t = rng.normal(size=shape) * 3, rng.integers(0, 2, shape).astype(float)
    t.reshape(-1)[:2] = -1 if ignored else 0.3
    kept = t != ignored
    share = 1 / (1 + np.exp(-x))
    right = -(t * np.log(share) + (1 - t) * np.log(1 - share))[kept].mean()
    probe = Probe(losses.binary_cross_entropy(ignore_index=ignored), shape)
    found = probe(x, t)
    np.testing.assert_allclose(found["loss"], right, rtol=1e-9)
    assert found["counted"] == kept.sum()
    assert found["correct"] == ((x > 0) == (t > 0.5))[kept].sum()
    probe.check_cotangent(x, t)


def test_huge_scores_have_a_finite_binary_cross_entropy() -> None:
    found = Probe(losses.binary_cross_entropy(), (2, 1))(
        np.array([[1e4], [-1e4]]), np.zeros((2, 1))
    )
    np.testing.assert_allclose(found["loss"], 5e3)
    np.testing.assert_allclose(found["cotangent"].reshape(-1), np.array([0.5, 0.0]))


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_dice_of_yes_and_no(smooth: float) -> None:
    rng = np.random.default_rng(4)
    x, t = rng.normal(size=(3, 1, 4, 5)), (rng.random((3, 1, 4, 5)) < 0.4).astype(float)
    p = 1 / (1 + np.exp(-x))
    each = [(2 * (p[i] * t[i]).sum() + smooth) / (p[i].sum() + t[i].sum() + smooth)
            for i in range(3)]  # fmt: skip
    probe = Probe(losses.dice(smooth=smooth), x.shape)
    found = probe(x, t)
    np.testing.assert_allclose(found["loss"], 1 - np.mean(each), rtol=1e-9)
    assert found["correct"] == 2 * ((x > 0) & (t > 0.5)).sum()
    assert found["counted"] == (x > 0).sum() + t.sum()
    assert probe.classes == 2
    probe.check_cotangent(x, t)


def test_dice_of_classes() -> None:
    rng = np.random.default_rng(6)
    x, t = rng.normal(size=(2, 3, 4, 2)), rng.integers(0, 3, (2, 4, 2))
    p, onehot = softmax(x, 1), np.moveaxis(np.eye(3)[t], -1, 1)
    each = [(2 * (p[i, k] * onehot[i, k]).sum() + 1) / (p[i, k].sum() + onehot[i, k].sum() + 1)
            for i in range(2) for k in range(3)]  # fmt: skip
    probe = Probe(losses.dice(), x.shape)
    found = probe(x, t)
    np.testing.assert_allclose(found["loss"], 1 - np.mean(each), rtol=1e-9)
    guess = x.argmax(1)
    assert found["correct"] == 2 * ((guess == t) & (t > 0)).sum()
    assert found["counted"] == (guess > 0).sum() + (t > 0).sum()
    assert probe.classes == 3
    probe.check_cotangent(x, t)


def test_dice_of_nothing_found_and_nothing_there_is_finite() -> None:
    found = Probe(losses.dice(smooth=0), (1, 1, 2))(np.full((1, 1, 2), -1e4), np.zeros((1, 1, 2)))
    assert all(np.isfinite(value).all() for value in found.values())


@pytest.mark.parametrize("shape", [(4,), (3, 2), (2, 3, 4)])
def test_distances(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    x, t = rng.normal(size=shape) * 2, rng.normal(size=shape)
    d = x - t
    expected = {
        "mse": (d**2).mean(),
        "l1": np.abs(d).mean(),
        "huber": np.where(np.abs(d) <= 1, d**2 / 2, np.abs(d) - 0.5).mean(),
    }
    for name, right in expected.items():
        probe = Probe(chosen_loss(name), shape)
        np.testing.assert_allclose(probe(x, t)["loss"], right, rtol=1e-9)
        assert "correct" not in probe.names
        probe.check_cotangent(x, t)
    wide = Probe(losses.huber(delta=0.5), shape)
    right = np.where(np.abs(d) <= 0.5, d**2 / 2, 0.5 * (np.abs(d) - 0.25)).mean()
    np.testing.assert_allclose(wide(x, t)["loss"], right, rtol=1e-9)
    wide.check_cotangent(x, t)


def test_names_say_the_settings() -> None:
    assert chosen_loss("cross-entropy").name == "cross-entropy"
    made = losses.cross_entropy(label_smoothing=0.1, ignore_index=0, class_weights=[1, 2])
    assert made.name == "cross-entropy:label-smoothing=0.1,ignore-index=0,class-weights=2"
    assert losses.cross_entropy(soft=True).name == "cross-entropy:soft"
    assert losses.huber(delta=2).name == "huber:delta=2"
    assert chosen_loss(made) is made


@pytest.mark.parametrize(
    ("name", "settings_", "words"),
    [
        ("guess", {}, "cross-entropy"),
        ("mse", {"label_smoothing": 0.1}, "takes no label_smoothing"),
        ("dice", {"ignore_index": 1}, "takes no ignore_index; it takes smooth"),
        ("cross-entropy", {"label_smoothing": 1.0}, "smoothing 1.0"),
        ("cross-entropy", {"class_weights": [-1.0]}, "weights"),
        ("cross-entropy", {"soft": True, "ignore_index": 1}, "ignore"),
        ("huber", {"delta": 0.0}, "delta"),
        ("dice", {"smooth": -1.0}, "smooth"),
    ],
)
def test_wrong_settings_are_misuse(name: str, settings_: dict[str, object], words: str) -> None:
    with pytest.raises(Misuse, match=words):
        chosen_loss(name, **settings_)


def test_a_made_loss_takes_no_further_settings() -> None:
    with pytest.raises(Misuse, match="made already"):
        chosen_loss(losses.dice(), smooth=2.0)


def test_outputs_that_do_not_fit_are_named() -> None:
    with pytest.raises(Misuse, match="2 class weights for 3"):
        Probe(losses.cross_entropy(class_weights=[1, 2]), (2, 3))
    with pytest.raises(Misuse, match="class axis 4"):
        Probe(losses.cross_entropy(class_axis=4), (2, 3))
    with pytest.raises(Unsupported, match="channels"):
        Probe(losses.dice(), (2, 3))


@pytest.mark.parametrize(
    ("loss", "channels", "last"),
    [
        ("dice", 1, "Sigmoid"), ("binary-cross-entropy", 1, "Sigmoid"), ("dice", 3, "Softmax"),
        ("cross-entropy", 3, "Softmax"),
    ],
)  # fmt: skip
def test_what_turns_scores_to_shares_is_looked_through(loss: str, channels: int, last: str) -> None:
    from edge_sdk.authoring import build_plan

    digests = set()
    for tail in ("", f"y = {last}{'<axis = 1>' if last == 'Softmax' else ''}(s)"):
        end = "s" if tail else "y"
        body = (
            f"m (float[N,2,4,4] x) => (float[N,{channels},4,4] y) {{ {end} = Conv(x, w) {tail} }}"
        )
        proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 20]> {body}')
        weight = np.ones((channels, 2, 1, 1), np.float32)
        proto.graph.initializer.append(numpy_helper.from_array(weight, "w"))
        graph = onnx.load_from_string(build_plan(proto, loss=loss, name="m").train_graph()).graph
        digests.add(tuple(node.op_type for node in graph.node))
    assert len(digests) == 1
