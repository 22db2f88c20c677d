"""Removal of a byte order mark from an upstream's event stream after the gateway wrote bytes of its
own before it.
"""

from __future__ import annotations

from collections.abc import Callable

_BOM = b"\xef\xbb\xbf"


class WithoutBom:
    """Filter that removes a byte order mark, which has this meaning only at the start of a
    stream.
    """

    __slots__ = ("_begun", "_held")

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be sent now."""
        if self._begun:
            return data
        data = self._held + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._held = data
            return b""
        self._begun = True
        self._held = b""
        return data.removeprefix(_BOM)

    def last(self, data: bytes) -> bytes:
        """Return the last bytes of the stream, with those held back."""
        data = self.feed(data)
        held, self._held = self._held, b""
        return data + held


def without_bom(
    look: Callable[[bytes], bytes] | None,
) -> tuple[WithoutBom, Callable[[bytes], bytes]]:
    """Return a filter, and `look` with the filter behind it."""
    without = WithoutBom()
    return without, without.feed if look is None else lambda data: without.feed(look(data))
