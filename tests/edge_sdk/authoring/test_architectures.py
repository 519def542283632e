import re
from collections.abc import Sequence
from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from edge_sdk.authoring import architectures
from edge_sdk.authoring.architectures import ARCHITECTURES
from edge_sdk.authoring.architectures.net import Net
from edge_sdk.errors import Misuse

# name: input shape, classes, shape of one example's logits, trainable parameters
CASES: dict[str, tuple[tuple[int, ...], int, tuple[int, ...], int]] = {
    "lenet5": ((1, 28, 28), 10, (10,), 61_706),
    "vgg9": ((3, 32, 32), 10, (10,), 3_491_530),
    "resnet8": ((3, 32, 32), 10, (10,), 78_042),
    "resnet18": ((3, 32, 32), 10, (10,), 11_173_962),
    "mobilenet_v2_small": ((3, 32, 32), 10, (10,), 134_538),
    "unet": ((3, 128, 128), 1, (1, 128, 128), 120_825),
    "cnn1d": ((6, 128), 6, (6,), 24_422),
    "ds_cnn": ((1, 49, 40), 12, (12,), 23_180),
    "char_lstm": ((80,), 65, (80, 65), 93_409),
    "transformer_encoder": ((128, 6), 6, (6,), 76_102),
    "transformer_decoder": ((80,), 65, (80, 65), 80_577),
}
BUILT_FROM_TOKENS = {"char_lstm", "transformer_decoder"}

every_architecture = pytest.mark.parametrize("name", sorted(CASES))


@cache
def built(name: str) -> onnx.ModelProto:
    input_shape, classes, _, _ = CASES[name]
    return ARCHITECTURES[name](input_shape, classes)


def run(model: onnx.ModelProto, x: NDArray[np.generic]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"input": x})
    assert isinstance(logits, np.ndarray)
    return logits


def examples(name: str, count: int) -> NDArray[np.generic]:
    input_shape, classes, _, _ = CASES[name]
    draw = np.random.default_rng(5)
    if name in BUILT_FROM_TOKENS:
        return draw.integers(0, classes, (count, *input_shape))
    return draw.standard_normal((count, *input_shape), np.float32)


def trainable(model: onnx.ModelProto) -> int:
    """Float initializers of rank one or more that are not running statistics."""
    return sum(
        int(np.prod(tensor.dims))
        for tensor in model.graph.initializer
        if tensor.data_type == onnx.TensorProto.FLOAT
        and len(tensor.dims) > 0
        and "running_" not in tensor.name
    )


def test_every_architecture_has_a_case() -> None:
    assert set(CASES) == set(ARCHITECTURES)


@every_architecture
def test_is_a_valid_model_with_a_symbolic_batch(name: str) -> None:
    model = built(name)
    onnx.checker.check_model(model, full_check=True)
    for value in (model.graph.input[0], model.graph.output[0]):
        assert value.type.tensor_type.shape.dim[0].dim_param == "batch"


@every_architecture
@pytest.mark.parametrize("count", [1, 3])
def test_runs_forward_at_any_batch_size(name: str, count: int) -> None:
    logits = run(built(name), examples(name, count))
    assert logits.shape == (count, *CASES[name][2])
    assert np.isfinite(logits).all()
    assert 0.01 < logits.std() < 20.0


@every_architecture
def test_docstring_and_graph_agree_on_the_parameter_count(name: str) -> None:
    count = trainable(built(name))
    assert count == CASES[name][3]
    assert f"{count:,} parameters" in re.sub(r"\s+", " ", str(ARCHITECTURES[name].__doc__))


@every_architecture
def test_equal_arguments_give_equal_bytes_and_another_seed_other_weights(name: str) -> None:
    input_shape, classes, _, _ = CASES[name]
    again = ARCHITECTURES[name](input_shape, classes)
    other = ARCHITECTURES[name](input_shape, classes, seed=1)
    assert again.SerializeToString() == built(name).SerializeToString()
    assert other.SerializeToString() != built(name).SerializeToString()


@pytest.mark.parametrize("name", sorted(CASES.keys() - BUILT_FROM_TOKENS))
def test_scaling_inside_the_graph_is_scaling_outside(name: str) -> None:
    input_shape, classes, _, _ = CASES[name]
    make = getattr(architectures, name)
    x = 20.0 * np.asarray(examples(name, 2), np.float32)
    inside = run(make(input_shape, classes, mean=4.0, scale=0.125), x)
    outside = run(built(name), (x - np.float32(4.0)) * np.float32(0.125))
    np.testing.assert_allclose(inside, outside, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(BUILT_FROM_TOKENS))
def test_no_symbol_sees_a_later_one(name: str) -> None:
    x = examples(name, 2)
    changed = x.copy()
    changed[:, 40:] = (changed[:, 40:] + 1) % 65
    before, after = run(built(name), x), run(built(name), changed)
    np.testing.assert_allclose(before[:, :40], after[:, :40], atol=1e-6)
    assert np.abs(before[:, 40:] - after[:, 40:]).max() > 1e-2


@pytest.mark.parametrize("rise", ["transpose", "resize"])
@pytest.mark.parametrize("norm", ["none", "group"])
def test_unet_variants_give_one_logit_per_pixel_and_class(rise: str, norm: str) -> None:
    model = architectures.unet((3, 32, 16), 2, rise=rise, norm=norm)  # type: ignore[arg-type] # parametrised
    onnx.checker.check_model(model, full_check=True)
    logits = run(model, np.ones((2, 3, 32, 16), np.float32))
    assert logits.shape == (2, 2, 32, 16)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_cnn1d_with_batch_norm_runs_from_raw_units(pooling: str) -> None:
    model = architectures.cnn1d((6, 32), 4, norm="batch", pooling=pooling)  # type: ignore[arg-type] # parametrised
    onnx.checker.check_model(model, full_check=True)
    assert {"bn0.running_mean", "bn3.running_var"} <= {t.name for t in model.graph.initializer}
    logits = run(model, np.ones((2, 6, 32), np.float32))
    assert logits.shape == (2, 4)
    assert np.isfinite(logits).all()


@pytest.mark.parametrize(
    ("name", "input_shape"),
    [
        ("lenet5", (28, 28)),
        ("lenet5", (1, 8, 8)),
        ("vgg9", (3, 4, 32)),
        ("unet", (3, 100, 128)),
        ("cnn1d", (6, 2)),
        ("cnn1d", (0, 128)),
        ("char_lstm", (80, 2)),
    ],
)
def test_a_shape_that_does_not_fit_is_named(name: str, input_shape: Sequence[int]) -> None:
    with pytest.raises(Misuse, match=name):
        ARCHITECTURES[name](input_shape, 10)


def test_no_classes_and_heads_that_do_not_divide_are_refused() -> None:
    with pytest.raises(Misuse, match="0 classes"):
        architectures.lenet5((1, 28, 28), 0)
    with pytest.raises(Misuse, match="5 heads"):
        architectures.transformer_encoder((128, 6), 6, heads=5)


def test_two_weights_of_one_name_are_refused() -> None:
    net = Net("twice", (4,), seed=0)
    net.linear(net.input, "fc", 2)
    with pytest.raises(Misuse, match="called fc"):
        net.linear(net.input, "fc", 2)
