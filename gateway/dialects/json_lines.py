"""Cut an NDJSON byte stream into its lines."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.sse import Event, EventTooLarge

_CAP_BYTES = 10 * 1024 * 1024


class LineTooLong(Exception):
    """A line exceeds the maximum length. `lines` are complete lines before it in the same data."""

    def __init__(self, lines: list[bytes]) -> None:
        super().__init__(f"a line of more than {_CAP_BYTES} bytes")
        self.cap_bytes = _CAP_BYTES
        self.lines = lines


class LineSplitter:
    """Splitter for one stream, however it is chunked. Its cost is linear in the stream's length."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that end in this data, without their line ends. Raise LineTooLong."""
        end = data.rfind(b"\n")
        if end < 0:
            self._held += data
            whole: list[bytes] = []
        else:
            whole = data[:end].split(b"\n")
            if self._held:
                whole[0] = bytes(self._held) + whole[0]
                self._held.clear()
            self._held += data[end + 1 :]
        if len(self._held) > _CAP_BYTES:
            raise LineTooLong(whole)
        return whole

    def flush(self) -> bytes:
        """Return the bytes after the last line end."""
        left = bytes(self._held)
        self._held.clear()
        return left


class _Line(Event):
    """One line of NDJSON."""

    __slots__ = ()

    @property
    def data(self) -> bytes | None:
        """Line content; None for a blank line."""
        return self.raw.strip() or None


class Lines:
    """Cut NDJSON into lines, with the interface of EventSplitter."""

    def __init__(self) -> None:
        self._splitter = LineSplitter()

    def feed(self, data: bytes) -> Sequence[Event]:
        """Return the lines that end in this data. Raise EventTooLarge."""
        try:
            return [_Line(line + b"\n") for line in self._splitter.feed(data)]
        except LineTooLong as exc:
            lines: list[Event] = [_Line(line + b"\n") for line in exc.lines]
            raise EventTooLarge(exc.cap_bytes, lines) from exc

    def flush(self) -> bytes:
        """Return the last line, if the stream ends without a line end."""
        return self._splitter.flush()
