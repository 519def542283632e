"""The same models in eager PyTorch: the oracle that `train_step` times ours against.

    python -m benchmarks.torch_models WEIGHTS.npz CASE --threads N

Each is a function of its parameters and the input, on `torch.nn.functional`, with the parameter
names and shapes of the ONNX model, whose weights it takes. PyTorch's own fused forms are used where
it has them (LSTM, scaled dot product attention, Gelu). Needs PyTorch, which the project does not
install; nothing else imports this file.
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch  # type: ignore[import-not-found,unused-ignore] # an oracle, not a dependency
import torch.nn.functional as F  # type: ignore[import-not-found,unused-ignore] # noqa: N812 - so called everywhere
from numpy.typing import NDArray

from benchmarks.cases import CASES, Case
from benchmarks.pace import Pace

Parameters = Mapping[str, "torch.Tensor"]
Model = Callable[[Parameters, "torch.Tensor"], "torch.Tensor"]

_HEADS = 4


def _linear(p: Parameters, x: "torch.Tensor", name: str) -> "torch.Tensor":
    """Gemm's transposed weight behind a vector, MatMul's plain one behind a sequence."""
    weight = p[f"{name}.weight"]
    return F.linear(x, weight if x.dim() == 2 else weight.T, p[f"{name}.bias"])


def _dense(p: Parameters, x: "torch.Tensor", name: str) -> "torch.Tensor":
    return F.linear(x, p[f"{name}.weight"].T, p[f"{name}.bias"])


def _conv(p: Parameters, x: "torch.Tensor", name: str, **settings: int) -> "torch.Tensor":
    return F.conv2d(x, p[f"{name}.weight"], p.get(f"{name}.bias"), **settings)


def _norm(p: Parameters, x: "torch.Tensor", name: str) -> "torch.Tensor":
    statistics = p[f"{name}.running_mean"], p[f"{name}.running_var"]
    training = torch.is_grad_enabled()
    return F.batch_norm(x, *statistics, p[f"{name}.weight"], p[f"{name}.bias"], training)


def mlp(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """One hidden layer."""
    return _dense(p, F.relu(_dense(p, (x / 255).flatten(1), "dense1")), "logits")


def cnn(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Two convolutions."""
    x = x / 255
    for name in ("conv1", "conv2"):
        x = F.max_pool2d(F.relu(_conv(p, x, name, padding=1)), 2)
    return _dense(p, F.relu(_dense(p, x.flatten(1), "dense")), "logits")


def lenet5(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Two convolutions, three linear layers."""
    x = F.max_pool2d(F.relu(_conv(p, x, "conv1", padding=2)), 2)
    x = F.max_pool2d(F.relu(_conv(p, x, "conv2")), 2).flatten(1)
    return _linear(p, F.relu(_linear(p, F.relu(_linear(p, x, "fc1")), "fc2")), "fc3")


def vgg9(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Six convolutions, three linear layers."""
    for number in range(1, 7):
        x = F.relu(_conv(p, x, f"conv{number}", padding=1))
        x = F.max_pool2d(x, 2) if number % 2 == 0 else x
    x = x.flatten(1)
    return _linear(p, F.relu(_linear(p, F.relu(_linear(p, x, "fc1")), "fc2")), "fc3")


def resnet(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """ResNet-8 or -18, as the parameters say."""
    x = F.relu(_norm(p, _conv(p, x, "conv1", padding=1), "bn1"))
    for name in [key.removesuffix(".conv1.weight") for key in p if key.endswith(".conv1.weight")]:
        stride = 2 if name.endswith(".0") and name != "layer1.0" else 1
        y = _conv(p, x, f"{name}.conv1", stride=stride, padding=1)
        y = _conv(p, F.relu(_norm(p, y, f"{name}.bn1")), f"{name}.conv2", padding=1)
        if f"{name}.downsample.0.weight" in p:
            x = _conv(p, x, f"{name}.downsample.0", stride=stride)
            x = _norm(p, x, f"{name}.downsample.1")
        x = F.relu(_norm(p, y, f"{name}.bn2") + x)
    return _linear(p, x.mean((2, 3)), "fc")


def mobilenet_v2_small(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Seven inverted residuals."""

    def conv_bn(x: "torch.Tensor", name: str, **settings: int) -> "torch.Tensor":
        return _norm(p, _conv(p, x, f"{name}.conv", **settings), f"{name}.bn")

    x = F.relu6(conv_bn(x, "stem", padding=1))
    for number, stride in enumerate((1, 2, 1, 2, 1, 2, 1)):
        name = f"blocks.{number}"
        y = F.relu6(conv_bn(x, f"{name}.expand")) if f"{name}.expand.conv.weight" in p else x
        groups = y.shape[1]
        y = F.relu6(conv_bn(y, f"{name}.depthwise", stride=stride, padding=1, groups=groups))
        y = conv_bn(y, f"{name}.project")
        x = x + y if x.shape == y.shape else y
    return _linear(p, F.relu6(conv_bn(x, "head")).mean((2, 3)), "fc")


def unet(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Three levels; transposed convolutions."""

    def pair(x: "torch.Tensor", name: str) -> "torch.Tensor":
        x = F.relu(_conv(p, x, f"{name}.conv1", padding=1))
        return F.relu(_conv(p, x, f"{name}.conv2", padding=1))

    bridges = []
    for level in range(3):
        x = pair(x, f"down.{level}")
        bridges.append(x)
        x = F.max_pool2d(x, 2)
    x = pair(x, "down.3")
    for level in (2, 1, 0):
        name = f"up.{level}"
        x = F.conv_transpose2d(x, p[f"{name}.rise.weight"], p[f"{name}.rise.bias"], stride=2)
        x = pair(torch.cat([bridges[level], x], 1), name)
    return _conv(p, x, "head")


def cnn1d(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Three convolutions along time."""
    for number, padding in ((1, 3), (2, 2), (3, 1)):
        name = f"conv{number}"
        x = F.relu(F.conv1d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding))
        x = F.max_pool1d(x, 2) if number < 3 else x
    return _linear(p, x.mean(2), "fc")


def ds_cnn(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Four depthwise separable blocks."""
    x = F.conv2d(x, p["stem.conv.weight"], stride=2, padding=(5, 1))
    x = F.relu(_norm(p, x, "stem.bn"))
    for number in range(4):
        name = f"blocks.{number}"
        x = _conv(p, x, f"{name}.depthwise.conv", padding=1, groups=x.shape[1])
        x = F.relu(_norm(p, x, f"{name}.depthwise.bn"))
        x = _conv(p, x, f"{name}.pointwise.conv")
        x = F.relu(_norm(p, x, f"{name}.pointwise.bn"))
    return _linear(p, x.mean((2, 3)), "fc")


def char_lstm(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """PyTorch's fused LSTM; `load` has put the gates in its order."""
    x = F.embedding(x, p["embed.weight"])
    weights = [p[f"lstm.0.{part}"] for part in ("W", "R", "Wb", "Rb")]
    start = x.new_zeros(1, x.shape[0], weights[1].shape[1])
    x, *_ = torch.lstm(x, (start, start), weights, True, 1, 0.0, True, False, True)
    return _linear(p, x, "head")


def _blocks(p: Parameters, x: "torch.Tensor", *, causal: bool) -> "torch.Tensor":
    """Two pre-norm transformer blocks and the last normalisation."""

    def norm(x: "torch.Tensor", name: str) -> "torch.Tensor":
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"])

    for number in range(2):
        name = f"blocks.{number}"
        packed = _linear(p, norm(x, f"{name}.norm1"), f"{name}.attention.in_proj")
        q, k, v = (t.unflatten(-1, (_HEADS, -1)).transpose(1, 2) for t in packed.chunk(3, -1))
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        seen = seen.transpose(1, 2).flatten(-2)
        x = x + _linear(p, seen, f"{name}.attention.out_proj")
        y = F.gelu(_linear(p, norm(x, f"{name}.norm2"), f"{name}.fc1"))
        x = x + _linear(p, y, f"{name}.fc2")
    return norm(x, "norm")


def transformer_encoder(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Two blocks, mean over places."""
    x = _blocks(p, _linear(p, x, "embed") + p["positions"], causal=False)
    return _linear(p, x.mean(1), "head")


def transformer_decoder(p: Parameters, x: "torch.Tensor") -> "torch.Tensor":
    """Two blocks with causal attention."""
    x = _blocks(p, F.embedding(x, p["embed.weight"]) + p["positions"], causal=True)
    return _linear(p, x, "head")


MODELS: Mapping[str, Model] = {
    "mlp": mlp,
    "cnn": cnn,
    "lenet5": lenet5,
    "vgg9": vgg9,
    "resnet8": resnet,
    "resnet18": resnet,
    "mobilenet_v2_small": mobilenet_v2_small,
    "unet": unet,
    "cnn1d": cnn1d,
    "ds_cnn": ds_cnn,
    "char_lstm": char_lstm,
    "transformer_encoder": transformer_encoder,
    "transformer_decoder": transformer_decoder,
}


def load(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, "torch.Tensor"]:
    """The ONNX model's initializers as leaf tensors; running statistics do not train."""
    return {
        name: torch.from_numpy(array.copy()).requires_grad_("running_" not in name)
        for name, array in in_pytorch_form(weights).items()
    }


def in_pytorch_form(weights: Mapping[str, NDArray[np.floating]]) -> dict[str, NDArray[np.floating]]:
    """An ONNX LSTM's weights with gates i, f, g, o for i, o, f, c; anything else as it is."""
    arrays: dict[str, NDArray[np.floating]] = {}
    for name, array in weights.items():
        stem, _, part = name.rpartition(".")
        if part in {"W", "R"}:
            arrays[name] = _gates(array[0])
        elif part == "B":
            arrays[f"{stem}.Wb"], arrays[f"{stem}.Rb"] = map(_gates, np.split(array[0], 2))
        else:
            arrays[name] = array
    return arrays


def _gates(half: NDArray[np.floating]) -> NDArray[np.floating]:
    i, o, f, c = np.split(half, 4)
    return np.concatenate([i, f, c, o])


def loss_of(case: Case, logits: "torch.Tensor", y: "torch.Tensor") -> "torch.Tensor":
    """The case's loss, mean over the batch."""
    if case.loss == "cross-entropy":
        return F.cross_entropy(logits.reshape(-1, case.classes), y.reshape(-1))
    return F.binary_cross_entropy_with_logits(logits, y)


def main() -> None:
    """Train until the parent closes standard input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("weights", type=Path)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    case = CASES[arguments.case]
    with np.load(arguments.weights, allow_pickle=False) as file:
        parameters = load({name: file[name] for name in file.files})
    x, y = (torch.from_numpy(array) for array in case.draw())
    trained = [tensor for tensor in parameters.values() if tensor.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=1e-3, momentum=0.9)
    pace = Pace()
    while pace():
        optimizer.zero_grad()
        loss = loss_of(case, MODELS[arguments.case](parameters, x), y)
        loss.backward()
        optimizer.step()
        loss.item()


if __name__ == "__main__":
    main()
