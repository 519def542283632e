"""All gradient rules by operator, joined from the families."""

from edge_sdk.authoring.differentiate import (
    activation,
    conv,
    conv_transpose,
    curve,
    einsum,
    elementwise,
    index,
    matmul,
    normalise,
    pieces,
    pool,
    recurrent,
    reduce,
    resize,
    shape,
    softmax,
)
from edge_sdk.authoring.differentiate.call import Rule

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **curve.RULES,
    **activation.RULES,
    **reduce.RULES,
    **matmul.RULES,
    **shape.RULES,
    **pieces.RULES,
    **index.RULES,
    **softmax.RULES,
    **normalise.RULES,
    **conv.RULES,
    **conv_transpose.RULES,
    **pool.RULES,
    **resize.RULES,
    **einsum.RULES,
    **recurrent.RULES,
}
"""Operator name to rule. An operator that is not here, or only in part, raises `Unsupported`."""
