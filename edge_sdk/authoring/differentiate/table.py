"""All gradient rules by operator, joined from the families."""

from edge_sdk.authoring.differentiate import conv, elementwise, matmul, pool, shape, softmax
from edge_sdk.authoring.differentiate.call import Rule

RULES: dict[str, Rule] = {
    **elementwise.RULES,
    **matmul.RULES,
    **shape.RULES,
    **softmax.RULES,
    **conv.RULES,
    **pool.RULES,
}
"""Operator name to rule. An operator that is not here, or only in part, raises `Unsupported`."""
