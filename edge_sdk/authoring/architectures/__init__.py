"""Forward models to start from, built without torch: one file for each family.

Every function has one form::

    name(input_shape, classes, *, seed=0, mean=0.0, scale=1.0, ...) -> onnx.ModelProto

`input_shape` is one example's, channels first; the input is multiplied and shifted inside the graph
(`(x - mean) * scale`), so that devices feed their data as stored. Models of symbols take int64
numbers and have no `mean` and `scale`. The output `logits` is (batch, classes), or has the classes
last at every place of a sequence, or as channels of an image. Graphs are opset 20, with a symbolic
batch axis; equal arguments give equal bytes.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Protocol

import onnx

from edge_sdk.authoring.architectures.keywords import ds_cnn
from edge_sdk.authoring.architectures.lenet import lenet5
from edge_sdk.authoring.architectures.mobilenet import mobilenet_v2_small
from edge_sdk.authoring.architectures.recurrent import char_lstm
from edge_sdk.authoring.architectures.resnet import resnet, resnet8, resnet18
from edge_sdk.authoring.architectures.sensors import cnn1d
from edge_sdk.authoring.architectures.transformer import transformer_decoder, transformer_encoder
from edge_sdk.authoring.architectures.unet import unet
from edge_sdk.authoring.architectures.vgg import vgg9

__all__ = [
    "ARCHITECTURES",
    "Architecture",
    "char_lstm",
    "cnn1d",
    "ds_cnn",
    "lenet5",
    "mobilenet_v2_small",
    "resnet",
    "resnet8",
    "resnet18",
    "transformer_decoder",
    "transformer_encoder",
    "unet",
    "vgg9",
]


class Architecture(Protocol):
    """What every function here takes at least."""

    def __call__(
        self, input_shape: Sequence[int], classes: int, *, seed: int = 0
    ) -> onnx.ModelProto:
        """Build the model."""
        ...


ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "lenet5": lenet5,
        "vgg9": vgg9,
        "resnet8": resnet8,
        "resnet18": resnet18,
        "mobilenet_v2_small": mobilenet_v2_small,
        "unet": unet,
        "cnn1d": cnn1d,
        "ds_cnn": ds_cnn,
        "char_lstm": char_lstm,
        "transformer_encoder": transformer_encoder,
        "transformer_decoder": transformer_decoder,
    }
)
"""All of them by name."""
