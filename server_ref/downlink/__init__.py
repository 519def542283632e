"""What devices download, and how a run derives its seeds. Pure.

============ ======================================================================
`snapshots`  whole segments as frames; seeds
`replica`    the model that up-to-date devices hold, and the messages that move it
`choosing`   which messages or snapshots bring one device up to date for least bytes
============ ======================================================================
"""

from server_ref.downlink.choosing import Contents, Part, Slice, bytes_of, choose
from server_ref.downlink.replica import Downlink, Published, Speed, check_stable, is_exact
from server_ref.downlink.snapshots import SNAPSHOT_CHUNK_BYTES, derive_seed, pack_snapshot

__all__ = [
    "SNAPSHOT_CHUNK_BYTES",
    "Contents",
    "Downlink",
    "Part",
    "Published",
    "Slice",
    "Speed",
    "bytes_of",
    "check_stable",
    "choose",
    "derive_seed",
    "is_exact",
    "pack_snapshot",
]
