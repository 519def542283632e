"""How good a version is, on the operator's data."""

import asyncio
import logging

from edge_sdk.errors import EdgeError
from edge_sdk.values import Evaluation, Vector
from server_ref.coordinator.parts import RunParts

log = logging.getLogger(__name__)


async def measured(parts: RunParts, version: int, weights: Vector, stage: int) -> Evaluation | None:
    """Figures of the stage of a version that its round trained; None where it cannot be told.

    Why not is told to the operator.
    """
    if parts.evaluate is None:
        return None
    try:
        return await asyncio.to_thread(parts.evaluate, weights, stage)
    except EdgeError as error:
        tell_unmeasured(parts, version, error)
        return None


def tell_unmeasured(parts: RunParts, version: int, error: EdgeError) -> None:
    """Say that a version has no figures."""
    line = f"WARNING: version {version} cannot be measured: {error}"
    log.error("%s", line)
    parts.outside.tell(line)
