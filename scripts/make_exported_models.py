"""Write the small models in tests/edge_sdk/authoring/exported, as PyTorch's exporters leave them.

    python scripts/make_exported_models.py

Needs torch and onnxscript, which the project itself never does; the files are kept so that tests
can read what real exporters emit. Each is exported by the current exporter and, where it still
can, by the older one (TorchScript).
"""

import warnings
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

HERE = Path(__file__).parent.parent / "tests/edge_sdk/authoring/exported"


class ConvNet(nn.Module):
    """BatchNorm, pools, flatten by `view` with the batch size read from the input."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.second = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.head = nn.Linear(4 * 2 * 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        x = functional.max_pool2d(functional.relu(self.norm(self.first(x))), 2)
        x = functional.relu(self.second(x))
        return self.head(x.view(x.size(0), -1))


class Depthwise(nn.Module):
    """The inverted residual of mobile networks with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 6, 1)
        self.depth = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.squeeze = nn.Linear(6, 2)
        self.excite = nn.Linear(2, 6)
        self.narrow = nn.Conv2d(6, 2, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        h = functional.hardswish(self.depth(functional.relu6(self.wide(x))))
        pooled = functional.adaptive_avg_pool2d(h, 1).flatten(1)
        scale = functional.hardsigmoid(self.excite(functional.silu(self.squeeze(pooled))))
        x = x + self.narrow(h * scale[:, :, None, None])
        return self.head(x.mean(dim=(2, 3)))


class UNet(nn.Module):
    """Both ways up (transposed convolution, bilinear), concatenation, group norm, reflected pad."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(1, 4, 3)
        self.norm = nn.GroupNorm(2, 4)
        self.deep = nn.Conv2d(4, 4, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(4, 2, 3, stride=2, padding=1, output_padding=1)
        self.out = nn.Conv2d(10, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        h = functional.gelu(self.norm(self.down(functional.pad(x, (1, 1, 1, 1), mode="reflect"))))
        d = functional.leaky_relu(self.deep(h), 0.1)
        smooth = functional.interpolate(d, scale_factor=2, mode="bilinear", align_corners=False)
        h = torch.cat([h, self.up(d), smooth], dim=1)
        return functional.pixel_shuffle(self.out(h), 2)


class Recurrent(nn.Module):
    """Embedding, one kind of recurrent layer batch first, last place."""

    def __init__(self, kind: str, *, both_ways: bool) -> None:
        super().__init__()
        self.embed = nn.Embedding(7, 3)
        self.cells = getattr(nn, kind)(3, 4, batch_first=True, bidirectional=both_ways)
        self.head = nn.Linear(8 if both_ways else 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        y, _ = self.cells(self.embed(x))
        return self.head(y[:, -1])


class Transformer(nn.Module):
    """Patches, class token, positions, one encoder block with fused attention."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(1, 8, 2, stride=2)
        self.token = nn.Parameter(torch.randn(1, 1, 8))
        self.place = nn.Parameter(torch.randn(1, 5, 8))
        self.block = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        patches = self.patch(x).flatten(2).transpose(1, 2)
        token = self.token.expand(x.shape[0], -1, -1)
        x = self.block(torch.cat([token, patches], dim=1) + self.place)
        return self.head(self.norm(x)[:, 0])


class Decoder(nn.Module):
    """Symbols in and out, one projection for query, key and value, causal attention by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 8)
        self.place = nn.Embedding(5, 8)
        self.project = nn.Linear(8, 24)
        self.head = nn.Linear(8, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        h = self.embed(x) + self.place(torch.arange(x.size(1), device=x.device))
        q, k, v = (
            part.view(x.size(0), x.size(1), 2, 4).transpose(1, 2)
            for part in self.project(h).chunk(3, dim=-1)
        )
        score = torch.einsum("bhqd,bhkd->bhqk", q, k) / 2.0
        mask = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
        share = score.masked_fill(mask, float("-inf")).softmax(dim=-1)
        h = h + (share @ v).transpose(1, 2).reshape(x.size(0), x.size(1), 8)
        return self.head(h).flatten(1)


class Sensors(nn.Module):
    """One axis: dilated and strided, average pool that counts its padding."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(2, 4, 3, dilation=2, padding=2)
        self.norm = nn.BatchNorm1d(4)
        self.second = nn.Conv1d(4, 4, 3, stride=2, groups=2)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the model."""
        h = functional.elu(self.norm(self.first(x)))
        h = functional.avg_pool1d(self.second(h), 2, padding=1)
        return functional.log_softmax(self.head(h.amax(dim=-1)), dim=-1)


IMAGE = torch.randn(2, 1, 8, 8)
MODELS: dict[str, tuple[nn.Module, torch.Tensor]] = {
    "convnet": (ConvNet(), IMAGE[:, :, :, :]),
    "depthwise": (Depthwise(), torch.randn(2, 2, 6, 6)),
    "unet": (UNet(), IMAGE),
    "lstm": (Recurrent("LSTM", both_ways=False), torch.randint(0, 7, (2, 5))),
    "gru_both_ways": (Recurrent("GRU", both_ways=True), torch.randint(0, 7, (2, 5))),
    "rnn": (Recurrent("RNN", both_ways=False), torch.randint(0, 7, (2, 5))),
    "transformer": (Transformer(), torch.randn(2, 1, 4, 4)),
    "decoder": (Decoder(), torch.randint(0, 6, (2, 5))),
    "sensors": (Sensors(), torch.randn(2, 2, 20)),
}
NEED_14 = ("decoder", "transformer")
"""What they use has no form in operator set 13."""


def export(name: str, model: nn.Module, x: torch.Tensor, opset: int) -> None:
    """By the current exporter."""
    program = torch.onnx.export(
        model,
        (x,),
        input_names=["x"],
        output_names=["y"],
        opset_version=opset,
        dynamic_shapes={"x": {0: torch.export.Dim.DYNAMIC}},
        dynamo=True,
        verbose=False,
    )
    for graph in (program.model.graph, *program.model.functions.values()):
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
    program.save(str(HERE / f"{name}_{opset}.onnx"))


def export_as_before(name: str, model: nn.Module, x: torch.Tensor, opset: int) -> None:
    """By the TorchScript exporter."""
    torch.onnx.export(
        model,
        (x,),
        str(HERE / f"{name}_torchscript_{opset}.onnx"),
        input_names=["x"],
        output_names=["y"],
        opset_version=opset,
        dynamic_axes={"x": {0: "N"}},
        dynamo=False,
    )


def main() -> None:
    """Write all."""
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for name, (model, x) in MODELS.items():
        export(name, model.eval(), x, 18)
        export_as_before(name, model.eval(), x, 14 if name in NEED_14 else 13)
    model, x = MODELS["transformer"]
    export("transformer", model.eval(), x, 23)


if __name__ == "__main__":
    main()
