"""What a client trains with where it is given nothing else."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from edge_sdk.engines.select import select_engine
from edge_sdk.interfaces import Clock, Engine, SplitTransport, Transport
from edge_sdk.plan import Plan
from edge_sdk.runtime.workbench import MakeEngine

if TYPE_CHECKING:
    from edge_sdk.runtime.split import SplitTrainer


def engine_maker(*, threads: int, low_memory: bool) -> MakeEngine:
    """Makes the best engine that this machine has."""

    def make(plan: Plan, stage: int, /, *, warm_up: bool = False) -> Engine:
        return select_engine(
            plan, stage=stage, warm_up=warm_up, threads=threads, low_memory=low_memory
        )

    return make


def split_maker(
    transport: Transport, clock: Clock, *, threads: int
) -> "Callable[[], SplitTrainer] | None":
    """Makes what trains split; None where the transport cannot carry it."""
    if not isinstance(transport, SplitTransport):
        return None

    def make() -> "SplitTrainer":
        from edge_sdk.runtime.split import SplitTrainer  # noqa: PLC0415 - loads the runtime

        return SplitTrainer(transport, clock, threads=threads)

    return make
