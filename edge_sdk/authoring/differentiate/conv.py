"""Rules for convolutions over one, two or three spatial axes."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule
from edge_sdk.authoring.differentiate.window import Window, spread, window_of

Cotangents = Sequence[Value | None]


def conv(call: Call) -> Cotangents:
    """Y = X * W + b. X is (N, C, space), W is (M, C / groups, kernel)."""
    x, w, dy = call.x(0), call.x(1), call.dy
    window = window_of(call, x, call.y(), call.spatial(w))
    groups = call.integer("group", 1)
    return (
        _input_gradient(dy, w, window, groups) if call.wants(0) else None,
        _weight_gradient(call, window, groups) if call.wants(1) else None,
        dy.sum(0, *range(2, dy.rank)) if call.wants(2) else None,
    )


def _input_gradient(dy: Value, w: Value, window: Window, groups: int) -> Value:
    """A pointwise layer goes back as one; any other by ConvTranspose with the forward's window."""
    ones = (1,) * len(window.kernel)
    if groups == 1 and window.kernel == window.strides == ones and not any(window.pads):
        back = w.transpose(1, 0, *range(2, w.rank))
        return dy.builder.op("Conv", dy, back, kernel_shape=ones)
    return spread(dy, w, window, groups)


def _weight_gradient(call: Call, window: Window, groups: int) -> Value:
    """Slide the cotangent over the input: a Conv with batch and channels exchanged.

    Strides and dilations exchange roles. With groups, the group axis joins the batch axis, which
    is the channel axis of the exchanged Conv.
    """
    x, dy = call.x(0), call.dy
    space = range(2, x.rank)
    channels = call.fixed(x, 1)
    if groups == 1:
        swapped = x.transpose(1, 0, *space)
    else:
        each = channels // groups
        split = x.reshape(-1, groups, each, *window.size)
        order = (2, 1, 0, *(axis + 1 for axis in space))
        swapped = split.transpose(*order).reshape(each, -1, *window.size)
    behind = tuple(-over for over in window.left_over)  # may be negative: fewer positions read
    gradient = call.builder.op(
        "Conv",
        swapped,
        dy.transpose(1, 0, *space),
        kernel_shape=window.out,
        strides=window.dilations,
        dilations=window.strides,
        pads=window.before + tuple(max(0, pad) for pad in behind),
        group=groups,
    )
    return _cropped(gradient, window).transpose(1, 0, *space)


def _cropped(gradient: Value, window: Window) -> Value:
    """Without the taps that positions behind the last window would add."""
    builder = gradient.builder
    axes = [
        axis + 2
        for axis, (over, dilation) in enumerate(
            zip(window.left_over, window.dilations, strict=True)
        )
        if over >= dilation
    ]
    if not axes:
        return gradient
    ends = [window.kernel[axis - 2] for axis in axes]
    start = builder.ints([0] * len(axes))
    return builder.op("Slice", gradient, start, builder.ints(ends), builder.ints(axes))


RULES = {"Conv": Rule(conv)}
