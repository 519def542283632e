"""Vectors to chunk payloads and back: one file per codec or stage of one.

`table.py` names all codecs. Codecs are values without state; payload layouts are specified in
`edge_sdk/wire/FORMAT.md`. Stages shared by codecs: `intake` (what is taken and refused),
`chunking` (who carries which coordinates).

Around a codec, as pure functions: `decode_onto` and `RotatedSum` sum what comes in, `memory` keeps
what a biased codec left out, `shrinkage` judges the noise of a round, `auto` chooses.
"""

from edge_sdk.codecs.adding import decode_onto
from edge_sdk.codecs.auto import Auto, auto_from_spec, choose
from edge_sdk.codecs.blockwise import Blockwise
from edge_sdk.codecs.deadzone import DeadZone
from edge_sdk.codecs.dithered import Dithered
from edge_sdk.codecs.eden import Eden
from edge_sdk.codecs.eden_entropy import EdenEntropy
from edge_sdk.codecs.eden_mixed import EdenMixed
from edge_sdk.codecs.eden_scales import Scale
from edge_sdk.codecs.fedzip import FedZip
from edge_sdk.codecs.lowrank import LowRank, matrices_of
from edge_sdk.codecs.qsgd import Qsgd
from edge_sdk.codecs.raw import Float16, Float32
from edge_sdk.codecs.shared_rotation import RotatedSum, with_shared_rotation
from edge_sdk.codecs.sign import Sign
from edge_sdk.codecs.stated import stated_error
from edge_sdk.codecs.table import SPECS, codec_from_frame, codec_from_spec, frame_ids
from edge_sdk.codecs.topk import RandomK, TopK

__all__ = [
    "SPECS",
    "Auto",
    "Blockwise",
    "DeadZone",
    "Dithered",
    "Eden",
    "EdenEntropy",
    "EdenMixed",
    "FedZip",
    "Float16",
    "Float32",
    "LowRank",
    "Qsgd",
    "RandomK",
    "RotatedSum",
    "Scale",
    "Sign",
    "TopK",
    "auto_from_spec",
    "choose",
    "codec_from_frame",
    "codec_from_spec",
    "decode_onto",
    "frame_ids",
    "matrices_of",
    "stated_error",
    "with_shared_rotation",
]
