"""The models that are timed and one batch for each: data only, readable by every process."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One model at one batch size."""

    input_shape: tuple[int, ...]
    classes: int
    batch: int
    target_shape: tuple[int, ...] = ()
    """Of one example's target; () is one class index."""
    tokens: bool = False
    """The input is symbols, 0 to `classes - 1`."""
    loss: str = "cross-entropy"

    def draw(self, seed: int = 0) -> tuple[NDArray[np.generic], NDArray[np.generic]]:
        """One batch: inputs float32 (or int64 tokens) and targets (int64, or float32 masks)."""
        rng = np.random.default_rng(seed)
        shape = (self.batch, *self.input_shape)
        x: NDArray[np.generic] = rng.standard_normal(shape, np.float32)
        if self.tokens:
            x = rng.integers(0, self.classes, shape)
        target_shape = (self.batch, *self.target_shape)
        if self.loss == "cross-entropy":
            return x, rng.integers(0, self.classes, target_shape)
        return x, rng.integers(0, 2, target_shape).astype(np.float32)


CASES: Mapping[str, Case] = MappingProxyType(
    {
        "mlp": Case((1, 28, 28), 10, 32),
        "cnn": Case((1, 28, 28), 10, 32),
        "lenet5": Case((1, 28, 28), 10, 32),
        "cnn1d": Case((6, 128), 6, 32),
        "ds_cnn": Case((1, 49, 40), 12, 32),
        "char_lstm": Case((80,), 65, 16, (80,), tokens=True),
        "transformer_encoder": Case((128, 6), 6, 16),
        "transformer_decoder": Case((80,), 65, 16, (80,), tokens=True),
        "resnet8": Case((3, 32, 32), 10, 32),
        "mobilenet_v2_small": Case((3, 32, 32), 10, 32),
        "unet": Case((3, 128, 128), 1, 4, (1, 128, 128), loss="binary-cross-entropy"),
        "vgg9": Case((3, 32, 32), 10, 16),
        "resnet18": Case((3, 32, 32), 10, 8),
    }
)
"""By the name of the model in the zoo, quick ones first."""
