"""Frames written once and for all: what decoded then decodes now, what was refused is refused.

`scripts/make_golden_frames.py` makes new ones; tests never write them.
"""

from pathlib import Path

import numpy as np
import pytest

from edge_sdk.codecs import codec_from_frame
from edge_sdk.errors import Corrupt, Malformed, NotFinite, TooLarge, Truncated, Unsupported
from edge_sdk.wire import FrameReader, pack, unpack

ROOM = Path(__file__).parents[2] / "golden" / "wire"
CLASSES: dict[str, type[Malformed]] = {
    "corrupt": Corrupt,
    "notfinite": NotFinite,
    "truncated": Truncated,
    "toolarge": TooLarge,
    "unsupported": Unsupported,
}


def named(folder: str) -> list[str]:
    names = sorted(path.name for path in (ROOM / folder).glob("*.frame"))
    assert names, f"no golden frames in {folder}"
    return names


@pytest.mark.parametrize("name", named("good"))
def test_golden_frame_decodes_to_the_stored_bits(name: str) -> None:
    data = (ROOM / "good" / name).read_bytes()
    frame = unpack(data)
    piece = codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
    stored = (ROOM / "good" / name).with_suffix(".values").read_bytes()
    assert piece.values.astype("<f4").tobytes() == stored
    assert np.isfinite(piece.values).all()
    if "unused" not in name:
        assert pack(frame) == data


@pytest.mark.parametrize("name", named("bad"))
def test_golden_bad_frame_is_refused_with_its_class(name: str) -> None:
    data = (ROOM / "bad" / name).read_bytes()
    with pytest.raises(Malformed) as caught:
        unpack(data)
    assert type(caught.value) is CLASSES[name.split(".")[1]]


@pytest.mark.parametrize("name", [n for n in named("bad") if not n.startswith("empty")])
def test_golden_bad_frame_is_refused_in_a_stream(name: str) -> None:
    reader = FrameReader()
    with pytest.raises(Malformed):  # noqa: PT012 - either call may be the one that notices
        reader.feed((ROOM / "bad" / name).read_bytes())
        reader.close()


@pytest.mark.parametrize("name", named("bad-payload"))
def test_golden_bad_payload_is_refused_with_its_class(name: str) -> None:
    frame = unpack((ROOM / "bad-payload" / name).read_bytes())
    with pytest.raises(Malformed) as caught:
        codec_from_frame(frame.codec, frame.parameter).decode(frame.payload, frame.place)
    assert type(caught.value) is CLASSES[name.split(".")[1]]
