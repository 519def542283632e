"""Who holds which examples: pure functions from labels or users to one index array per device."""

import numpy as np
from numpy.typing import NDArray

from edge_sdk.errors import Misuse

Indices = NDArray[np.intp]

TRIES = 1000


def by_dirichlet(
    labels: NDArray[np.generic], devices: int, *, alpha: float, seed: int, smallest: int = 16
) -> list[Indices]:
    """Split examples so that every class is spread over the devices by a Dirichlet draw.

    The usual non-i.i.d. benchmark split (Hsu, Qi, Brown 2019): for each class, shares over devices
    ~ Dirichlet(alpha, …, alpha); small alpha means few classes per device. Drawn again until every
    device holds `smallest` examples.

    Raises:
        Misuse: there are too few examples for so many devices.
    """
    if len(labels) < devices * smallest:
        raise Misuse(f"{len(labels)} examples are too few for {devices} devices of {smallest}")
    random = np.random.Generator(np.random.PCG64(seed))
    for _ in range(TRIES):
        owner = np.empty(len(labels), np.intp)
        for label in np.unique(labels):
            members = random.permutation(np.flatnonzero(labels == label))
            shares = random.dirichlet(np.full(devices, alpha))
            cuts = np.rint(np.cumsum(shares)[:-1] * len(members)).astype(np.intp)
            for device, part in enumerate(np.split(members, cuts)):
                owner[part] = device
        parts = [np.flatnonzero(owner == device) for device in range(devices)]
        if min(len(part) for part in parts) >= smallest:
            return parts
    raise Misuse(
        f"no Dirichlet({alpha}) split of {len(labels)} examples gives {devices} devices "
        f"{smallest} each; use fewer devices or a larger --alpha"
    )


def by_user(users: NDArray[np.generic], devices: int, *, seed: int) -> list[Indices]:
    """One real user per device: `devices` users drawn without replacement.

    Raises:
        Misuse: there are fewer users than devices.
    """
    known = np.unique(users)
    if len(known) < devices:
        raise Misuse(f"{len(known)} users for {devices} devices")
    random = np.random.Generator(np.random.PCG64(seed))
    chosen = np.sort(random.choice(known, devices, replace=False))
    return [np.flatnonzero(users == user) for user in chosen]
