"""Makes new golden payloads of the product quantizer in `tests/golden/split`; changes none.

Run `python -m scripts.make_golden_split` after a change of FORMAT.md, section P. Names say how a
payload was made: `NAME_SPEC_SHAPE_SEED.payload`, with what it decodes to in `.values`; those in
`bad` are `NAME_SHAPE_CLASS.payload`.
"""

import sys
from pathlib import Path

import numpy as np

from edge_sdk.codecs.product import ProductQuantizer, decode_product
from edge_sdk.wire.batch import pack_batch
from tests.edge_sdk.codecs.test_product import GOLDEN, golden_rows
from tests.edge_sdk.wire.test_batch_messages import golden_message

GOOD = {
    "paper": (ProductQuantizer(subvectors=32, centroids=2), 5, 256, 0),
    "padded": (ProductQuantizer(subvectors=6, centroids=5, groups=3), 4, 40, 7),
    "wide": (ProductQuantizer(subvectors=16, centroids=3, real_bits=32), 6, 64, 2**53 - 1),
    "one": (ProductQuantizer(subvectors=1, centroids=4), 3, 2000, 1),
}


def main() -> None:
    """Write what is missing."""
    for name, (quantizer, examples, numbers, seed) in GOOD.items():
        payload = quantizer.encode(golden_rows(examples, numbers), seed=seed)
        spec = quantizer.spec.replace(":", "-").replace(",", "+")
        stem = f"{name}_{spec}_{examples}x{numbers}_{seed}"
        values = decode_product(payload, examples=examples, numbers=numbers)
        write(GOLDEN / "good" / f"{stem}.payload", payload)
        write(GOLDEN / "good" / f"{stem}.values", values.astype("<f4").tobytes())
    wide = ProductQuantizer(subvectors=4, centroids=3, real_bits=32)
    good = wide.encode(np.eye(4, 8, dtype=np.float32) + golden_rows(4, 8), seed=0)
    for name, payload in {
        "nan_4x8_NotFinite": good[:4] + b"\0\0\xc0\x7f" + good[8:],
        "index_4x8_Corrupt": good[:-4] + b"\xff\xff\xff\xff",
        "codebook_4x8_TooLarge": good[:3] + b"\x11" + good[4:],
        "short_4x8_Truncated": good[:20],
        "reserved_4x8_Corrupt": bytes([good[0] | 0x80]) + good[1:],
    }.items():
        write(GOLDEN / "bad" / f"{name}.payload", payload)
    write(GOLDEN / "good" / "activations.message", pack_batch(golden_message()))


def write(path: Path, content: bytes) -> None:
    """A new file; an existing one stays as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_bytes(content)
        sys.stdout.write(f"new: {path.name}\n")


if __name__ == "__main__":
    main()
