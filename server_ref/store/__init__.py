"""What survives a restart: SQLite for state, a log of chunks as the truth, versions as files.

::

    STATE/lock                              held while a server uses the folder
    STATE/state.sqlite3                     rounds, commits, versions (`records`), `identities`
    STATE/operator.token                    mode 0600
    STATE/server.url                        where it listens, for commands on the same machine
    STATE/runs/RUN/chunks/ROUND.log         every chunk that was acknowledged (`chunk_log`); gone
                                            some rounds after the round's end (`keep_logs`)
    STATE/runs/RUN/models/VERSION.weights   exact float32 weights, little-endian
    STATE/runs/RUN/models/VERSION.frames    a whole version as devices download it
    STATE/runs/RUN/models/VERSION.delta     what it adds to the one before, compressed
    STATE/runs/RUN/models/VERSION.…         mean of versions, optimizer's history, sum of memories
    STATE/runs/RUN/memories/DEVICE-ROUND    a device's Artemis memory (`memories`)
    STATE/runs/RUN/split/ROUND/DEVICE.…     messages of a split session, and its result

Nothing here knows asyncio: writes give `concurrent.futures.Future`. A failing disk is always
`Refused(storage)`.
"""

from server_ref.store.chunk_log import ChunkLog, Entry
from server_ref.store.database import Change, Connection, Database
from server_ref.store.files import Folder, Sync, lock_folder, write_durably

__all__ = [
    "Change",
    "ChunkLog",
    "Connection",
    "Database",
    "Entry",
    "Folder",
    "Sync",
    "lock_folder",
    "write_durably",
]
