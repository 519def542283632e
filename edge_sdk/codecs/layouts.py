"""Codecs that make use of where the tensors lie. No decoder needs it, so no header says it."""

import dataclasses

from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.table import FramedCodec
from edge_sdk.values import Layout


def fitted(codec: FramedCodec, layout: Layout) -> FramedCodec:
    """`codec`, told of the tensors that its vectors hold if it can make use of that.

    Raises:
        Misuse: the layout has more tensors than the codec takes.
    """
    if isinstance(codec, LowRank):
        return dataclasses.replace(codec, matrices=matrices_of(layout))
    if isinstance(codec, FedZip):
        return dataclasses.replace(codec, layout=layout)
    return codec
