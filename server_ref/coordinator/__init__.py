"""The run: brings rounds, store and sums together. Knows asyncio and clocks, but no HTTP.

=============== ==============================================================
`opening`       a state folder becomes a run, new or taken up
`run`           what every call needs of the run
`desk`          the operator's: join tokens, devices, whether the run goes on
`ledger`        what devices reported, added up; `news`: what happens, told to listeners
`cycle`         from one round to the next
`current`       one round while it runs; `labels` judges its frames, `counting` sums them up
`staging`       what the next round promises
`ending`        its updates become a version, and memories move
`publishing`    versions and memories on disk; `shelf` puts downloads together
`aftermath`     what follows a round: its version is measured, the operator told (`telling`)
`parts`         what these work with; `identity`, `traffic`, `summary`, `limits`
=============== ==============================================================

Every decision about a round is made by `server_ref.rounds`; what is here carries effects out and
says how that went.
"""

from server_ref.coordinator.identity import same_token
from server_ref.coordinator.opening import NO_ORDERS, Opened, Orders, open_run
from server_ref.coordinator.parts import Evaluate, Surroundings
from server_ref.coordinator.run import Coordinator

__all__ = [
    "NO_ORDERS",
    "Coordinator",
    "Evaluate",
    "Opened",
    "Orders",
    "Surroundings",
    "open_run",
    "same_token",
]
