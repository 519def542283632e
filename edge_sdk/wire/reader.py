"""Frames out of a stream of bytes that arrives in pieces of any size."""

from edge_sdk.errors import Malformed, Misuse, Truncated
from edge_sdk.wire.frame import HEADER_BYTES, MAX_FRAME_BYTES, Frame, frame_bytes, unpack


class FrameReader:
    """Incremental reader: feed bytes, get the frames that are complete.

    Never holds more than one frame beyond what it was fed, and refuses a frame over
    `max_frame_bytes` from its header alone. Frames that were complete before the first bad byte
    are always handed out: if a call finds both, it returns the frames and the next call raises.
    After an error the reader stays broken and raises the same error again.
    """

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        if max_frame_bytes < HEADER_BYTES + 1:
            raise Misuse(f"no frame fits into {max_frame_bytes} bytes")
        self._limit = max_frame_bytes
        self._buffer = bytearray()
        self._broken: Malformed | None = None

    @property
    def buffered_bytes(self) -> int:
        """Bytes held of a frame that is not complete yet."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Take the next bytes; the frames they complete, each with its `raw` bytes.

        Raises:
            Malformed: the stream is not frames, from this call's first frame on.
        """
        self._raise_if_broken()
        self._buffer += data
        frames: list[Frame] = []
        try:
            while (frame := self._next()) is not None:
                frames.append(frame)
        except Malformed as error:
            self._broken = error
            self._buffer.clear()
            if not frames:
                raise
        return frames

    def close(self) -> None:
        """The stream has ended.

        Raises:
            Truncated: in the middle of a frame.
            Malformed: the error that an earlier `feed` found behind its last good frame.
        """
        self._raise_if_broken()
        if self._buffer:
            raise Truncated(f"stream ends {len(self._buffer)} bytes into a frame")

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise type(self._broken)(str(self._broken))

    def _next(self) -> Frame | None:
        if len(self._buffer) < HEADER_BYTES:
            return None
        size = frame_bytes(bytes(self._buffer[:HEADER_BYTES]), max_frame_bytes=self._limit)
        if len(self._buffer) < size:
            return None
        raw = bytes(self._buffer[:size])
        del self._buffer[:size]
        return unpack(raw, max_frame_bytes=self._limit)
