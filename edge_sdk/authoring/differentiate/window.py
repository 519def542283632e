"""The sliding window of convolutions and pools, with every default and `auto_pad` resolved."""

import dataclasses

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call


@dataclasses.dataclass(frozen=True, slots=True)
class Window:
    """One entry per spatial axis in each field."""

    size: tuple[int, ...]
    """Of the input."""
    out: tuple[int, ...]
    """Number of window positions."""
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    before: tuple[int, ...]
    """Padding in front."""
    after: tuple[int, ...]
    """Padding behind, as the model states it."""

    @property
    def extent(self) -> tuple[int, ...]:
        """Input positions from a window's first tap to its last, both counted."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def reach(self) -> tuple[int, ...]:
        """Padded input positions that the windows cover."""
        return tuple(
            (o - 1) * s + e for o, s, e in zip(self.out, self.strides, self.extent, strict=True)
        )

    @property
    def left_over(self) -> tuple[int, ...]:
        """Input positions behind the last window; negative where it hangs over the end."""
        return tuple(n + b - r for n, b, r in zip(self.size, self.before, self.reach, strict=True))

    @property
    def pads(self) -> tuple[int, ...]:
        """Padding as the attribute has it: all in front, then all behind."""
        return self.before + self.after

    @property
    def tiles(self) -> bool:
        """Whether the windows cover the input exactly, each position once."""
        return (
            self.strides == self.kernel
            and not any(self.pads)
            and not any(self.left_over)
            and set(self.dilations) <= {1}
        )


def plain_window(call: Call, *, over: Value, made: Value, kernel: tuple[int, ...]) -> Window:
    """Windows that slide over `over`, one for each position of `made`, without padding."""
    axes = over.rank - 2
    strides = call.integers("strides") or (1,) * axes
    dilations = call.integers("dilations") or (1,) * axes
    pads = call.integers("pads") or (0,) * (2 * axes)
    counts = {len(kernel), len(strides), len(dilations), len(pads) // 2}
    if counts != {axes} or len(pads) % 2 or min(*kernel, *strides, *dilations, 1) < 1:
        raise call.unsupported("its window attributes do not fit its input")
    none = (0,) * axes
    return Window(call.spatial(over), call.spatial(made), kernel, strides, dilations, none, none)


def window_of(call: Call, x: Value, y: Value, kernel: tuple[int, ...]) -> Window:
    """The window of a forward node that leads from `x` to `y` (batch, channels, space)."""
    plain = plain_window(call, over=x, made=y, kernel=kernel)
    axes = len(kernel)
    pads = call.integers("pads") or (0,) * (2 * axes)
    mode = call.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return dataclasses.replace(plain, before=pads[:axes], after=pads[axes:])
    if mode == "VALID":
        return plain
    total = [max(0, -over) for over in plain.left_over]
    small, large = tuple(t // 2 for t in total), tuple(t - t // 2 for t in total)
    before, after = (small, large) if mode == "SAME_UPPER" else (large, small)
    return dataclasses.replace(plain, before=before, after=after)


def spread(dy: Value, w: Value, window: Window, groups: int) -> Value:
    """Give each window's value back to its positions: ConvTranspose to the forward's input size.

    What the last window left over grows the end, what it hung over is cut from it.
    """
    grow = tuple(max(0, over) for over in window.left_over)
    cut = tuple(max(0, -over) for over in window.left_over)
    return dy.builder.op(
        "ConvTranspose",
        dy,
        w,
        kernel_shape=window.kernel,
        strides=window.strides,
        dilations=window.dilations,
        group=groups,
        pads=window.before + cut,
        output_padding=grow,
    )


def padded(value: Value, window: Window) -> Value:
    """Zeros around the spatial axes, as far as the windows reach."""
    behind = tuple(max(0, -over) for over in window.left_over)
    if not any(window.before + behind):
        return value
    pads = (0, 0, *window.before, 0, 0, *behind)
    return value.builder.op("Pad", value, value.builder.ints(pads))
