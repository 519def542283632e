"""Resize in numpy: a linear map along each axis by itself.

The map of one axis is found by letting the onnx library's reference resize the unit vectors; that
is exact for every mode and way of mapping coordinates, and far faster than the library's own loop
over all elements.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import helper, reference
from onnx.reference.op_run import OpRun

from edge_sdk.authoring.graph import OPSET, Attribute
from edge_sdk.errors import Unsupported

Floats = NDArray[np.floating]

MAPPED = (
    "antialias",
    "coordinate_transformation_mode",
    "cubic_coeff_a",
    "exclude_outside",
    "mode",
    "nearest_mode",
)
"""Attributes that say how one axis is mapped."""


def axis_map(
    size: int, *, scale: float | None, out: int | None, attributes: Mapping[str, Attribute]
) -> NDArray[np.float64]:
    """Matrix (out, in) of one axis, from its scale or else from its size afterwards."""
    if scale is not None:
        inputs, how = ["x", "", "how"], np.array([1.0, scale], np.float32)
    else:
        inputs, how = ["x", "", "", "how"], np.array([size, out], np.int64)
    kept = {key: attributes[key] for key in MAPPED if attributes.get(key) is not None}
    node = helper.make_node("Resize", inputs, ["y"])
    node.attribute.extend(helper.make_attribute(key, value) for key, value in kept.items())
    evaluator = reference.ReferenceEvaluator(node, opsets={"": OPSET})
    (made,) = evaluator.run(None, {"x": np.eye(size), "how": how})
    return np.asarray(made, np.float64).T


class Resize(OpRun):
    """ONNX Resize without cropping and without a policy for the aspect ratio."""

    op_domain = ""

    def _run(
        self,
        x: Floats,
        roi: Floats | None = None,  # noqa: ARG002 - for cropping only
        scales: Floats | None = None,
        sizes: NDArray[np.int64] | None = None,
        *,
        axes: Sequence[int] | None = None,
        coordinate_transformation_mode: str | None = None,
        keep_aspect_ratio_policy: str | None = None,
        extrapolation_value: float | None = None,  # noqa: ARG002 - for cropping only
        **attributes: Attribute,
    ) -> tuple[Floats]:
        if keep_aspect_ratio_policy not in (None, "stretch") or (
            coordinate_transformation_mode == "tf_crop_and_resize"
        ):
            raise Unsupported("Resize that crops or keeps the aspect ratio")
        attributes["coordinate_transformation_mode"] = coordinate_transformation_mode or ""
        for number, axis in enumerate(range(x.ndim) if axes is None else axes):
            scale = None if scales is None or not scales.size else float(scales[number])
            out = None if scale is not None or sizes is None else int(sizes[number])
            if scale == 1 or out == x.shape[axis]:
                continue
            matrix = axis_map(x.shape[axis], scale=scale, out=out, attributes=attributes)
            mapped = np.tensordot(x, matrix.astype(x.dtype), ([axis], [1]))
            x = np.moveaxis(mapped, -1, axis)
        return (x,)


OPERATORS: tuple[type[OpRun], ...] = (Resize,)
