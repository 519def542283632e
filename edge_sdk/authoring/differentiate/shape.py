"""Rules for operators that move or repeat whole elements without picking among them."""

from collections.abc import Sequence

from edge_sdk.authoring.builder import Value
from edge_sdk.authoring.differentiate.call import Call, Rule

Cotangents = Sequence[Value | None]


def reshape(call: Call) -> Cotangents:
    """Back to the input's axes."""
    return call.dy.reshape_like(call.x(0)), None


def transpose(call: Call) -> Cotangents:
    """The inverse order of axes; without `perm` the operator reverses them."""
    rank = call.x(0).rank
    order = call.integers("perm") or tuple(reversed(range(rank)))
    return (call.dy.transpose(*sorted(range(rank), key=order.__getitem__)),)


def expand(call: Call) -> Cotangents:
    """The walk sums over what was repeated, as for every broadcast."""
    return call.dy, None


def tile(call: Call) -> Cotangents:
    """Sum over the copies: each axis of r times d elements is seen as two axes, r and d."""
    x, repeats = call.x(0), call.x(1).constant
    if repeats is None:
        raise call.unsupported("its repeats must be constants")
    counts = [int(count) for count in repeats]
    sizes: list[int] = []
    for axis, count in enumerate(counts):
        size = x.shape[axis]
        sizes += [count, size if isinstance(size, int) else -1]
    if sizes.count(-1) > 1:
        raise call.unsupported("more than one size is open")
    return call.dy.reshape(*sizes).sum(*range(0, 2 * x.rank, 2)), None


def depth_to_space(call: Call) -> Cotangents:
    """SpaceToDepth; in CRD mode, where that has no form, the same by hand."""
    block, dy = call.integer("blocksize", 0), call.dy
    if call.text("mode", "DCR") == "DCR":
        return (call.builder.op("SpaceToDepth", dy, blocksize=block),)
    x = call.x(0)
    channels, (height, width) = call.fixed(x, 1), call.spatial(x)
    blocks = dy.reshape(0, channels // block**2, height, block, width, block)
    return (blocks.transpose(0, 1, 3, 5, 2, 4).reshape(0, channels, height, width),)


def space_to_depth(call: Call) -> Cotangents:
    """DepthToSpace, in the mode that is its inverse."""
    block = call.integer("blocksize", 0)
    return (call.builder.op("DepthToSpace", call.dy, blocksize=block, mode="DCR"),)


RULES = {
    "Reshape": Rule(reshape),
    "Flatten": Rule(reshape),
    "Squeeze": Rule(reshape),
    "Unsqueeze": Rule(reshape),
    "Transpose": Rule(transpose),
    "Expand": Rule(expand),
    "Tile": Rule(tile),
    "DepthToSpace": Rule(depth_to_space),
    "SpaceToDepth": Rule(space_to_depth),
}
