import random

import pytest

from edge_sdk.codecs.table import TABLE
from scripts.fuzz_codecs import HEAD, decode_any, seeds

SEEDS = seeds()


def test_the_seeds_hold_real_payloads_of_every_codec() -> None:
    assert {data[0] for data in SEEDS} == set(range(len(TABLE)))
    assert all(decode_any(data) is not None for data in SEEDS)


@pytest.mark.parametrize("row", range(len(TABLE)), ids=lambda row: TABLE[row].name)
def test_a_damaged_payload_gives_a_value_or_is_refused(row: int) -> None:
    rng = random.Random(row)
    mine = [data for data in SEEDS if data[0] == row]
    outcomes = set()
    for _ in range(150):
        data = bytearray(rng.choice(mine))
        for _ in range(rng.randint(1, 4)):
            data[rng.randrange(1, len(data))] ^= 1 << rng.randrange(8)
        data = data[: rng.choice([len(data), len(data), rng.randrange(HEAD.size, len(data) + 1)])]
        data[2] = 0  # large dimensions only take longer
        outcomes.add(decode_any(bytes(data)) is None)
    assert True in outcomes
