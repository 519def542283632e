"""What a split costs a device, told with its task so that the device can choose."""

import functools
import math

import numpy as np

from edge_sdk.codecs.rows import rows_codec
from edge_sdk.engines.split import default_activations
from edge_sdk.engines.split_targets import pack_targets
from edge_sdk.plan import Plan
from edge_sdk.plan.split import DEVICE_PARTS, device_parts
from edge_sdk.values.splitting import SplitOffer
from edge_sdk.wire.batch import BATCH_HEADER_BYTES
from server_ref.settings import Terms


def split_offer(plan: Plan, terms: Terms, *, download_bytes: int | None) -> SplitOffer | None:
    """Costs of the way `split` of a round; None where the plan has no split.

    Args:
        plan: of the run.
        terms: of the round.
        download_bytes: what the device has to fetch for its parts.
    """
    if plan.split is None:
        return None
    parts = plan.split.parts
    batch = terms.batch_size
    up, down = _messages(plan, terms)
    return SplitOffer(
        parameters=plan.layout(DEVICE_PARTS).size,
        download_bytes=download_bytes,
        batch_up_bytes=sum(up),
        batch_down_bytes=sum(down),
        batch_messages=len(up),
        working_bytes=plan.split.working_bytes(device_parts(parts), batch_size=batch),
        full_working_bytes=plan.split.working_bytes(range(parts), batch_size=batch),
    )


def _messages(plan: Plan, terms: Terms) -> tuple[list[int], list[int]]:
    """Bytes of the messages of one batch, up and down."""
    examples = terms.batch_size
    sizes = [math.prod(cut.shape) for cut in plan.split.cuts] if plan.split else []

    def payload(spec: str, cut: int) -> int:
        return BATCH_HEADER_BYTES + _payload_bytes(spec, examples, sizes[cut])

    first = payload(terms.split_activations or default_activations(plan), 0)
    gradient = payload(terms.split_gradients, 0)
    if len(sizes) == 1:
        targets = np.zeros((1, *plan.target.shape), plan.target.dtype)
        return [first + examples * len(pack_targets(targets, plan))], [gradient]
    second = payload(terms.split_gradients, 1)
    return [first, second], [second, gradient]


@functools.lru_cache(maxsize=64)
def _payload_bytes(spec: str, examples: int, numbers: int) -> int:
    return rows_codec(spec).expected_bytes(examples, numbers)
