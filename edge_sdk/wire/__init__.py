"""Bytes to frames and back. `FORMAT.md` beside this file is the authority; the code follows it.

Sans-IO: bytes in, values out; whoever holds the socket feeds them in.
"""

from edge_sdk.wire.frame import (
    HEADER_BYTES,
    MAX_DIMENSION,
    MAX_FRAME_BYTES,
    SPEED_UNITS,
    VERSION,
    Frame,
    Kind,
    pack,
    unpack,
)
from edge_sdk.wire.reader import FrameReader

__all__ = [
    "HEADER_BYTES",
    "MAX_DIMENSION",
    "MAX_FRAME_BYTES",
    "SPEED_UNITS",
    "VERSION",
    "Frame",
    "FrameReader",
    "Kind",
    "pack",
    "unpack",
]
