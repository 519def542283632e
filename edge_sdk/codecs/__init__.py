"""Vectors to chunk payloads and back: one file per codec or stage of one.

`table.py` names all codecs. Codecs are values without state; payload layouts are specified in
`edge_sdk/wire/FORMAT.md`. Stages shared by codecs: `intake` (what is taken and refused),
`chunking` (who carries which coordinates).
"""

from edge_sdk.codecs.adding import decode_onto
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.codecs.table import SPECS, codec_from_frame, codec_from_spec, frame_ids

__all__ = [
    "SPECS",
    "Eden",
    "Float16",
    "Float32",
    "codec_from_frame",
    "codec_from_spec",
    "decode_onto",
    "frame_ids",
]
