"""What stands before the first byte of an upstream's event stream, if the gateway spoke first."""

from __future__ import annotations

_BOM = b"\xef\xbb\xbf"


class WithoutBom:
    """A stream without its byte order mark, which is one only where a stream begins."""

    __slots__ = ("_begun", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        if self._begun:
            return data
        data = self._held + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._held = data
            return b""
        self._begun = True
        self._held = b""
        return data.removeprefix(_BOM)

    def flush(self) -> bytes:
        """What is left at the end of the stream."""
        held, self._held = self._held, b""
        return held
