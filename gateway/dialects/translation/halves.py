"""Join characters that are split between two strings of a text.

Backends cut text at token boundaries, and a token may end inside a character. Then one event holds
the first half, as a lone surrogate (`"\\ud83d"`) or as some of its UTF-8 bytes, and the next event
holds the other half. Strings in this module hold such bytes as `surrogateescape` decodes them:
U+DC80 to U+DCFF.
"""

from __future__ import annotations

import codecs
import re

_UNDECODABLE = re.compile("[\ud800-\udc7f\udd00-\udfff]")
"""Lone surrogates, except those that stand for bytes."""
_REPLACEMENT = "\ufffd"
_utf_8 = codecs.getincrementaldecoder("utf-8")


class Halves:
    """Joiner for the characters of one text. Feed its strings in order."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""
        """First half of a character whose other half has not arrived."""

    def feed(self, text: str) -> str:
        """Return the complete characters. A half without its other half becomes U+FFFD."""
        if self._held:
            text, self._held = self._held + text, ""
        elif text.isascii():
            return text
        try:
            text.encode()
        except UnicodeEncodeError:
            return self._joined(text)
        return text

    def flush(self) -> str:
        """Return the replacement for an unfinished character at the end of the text."""
        held, self._held = self._held, ""
        return _REPLACEMENT if held else ""

    def _joined(self, text: str) -> str:
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")
        if "\ud800" <= text[-1] <= "\udbff":
            text, self._held = text[:-1], text[-1]
        data = _UNDECODABLE.sub(_REPLACEMENT, text).encode("utf-8", "surrogateescape")
        decoder = _utf_8("replace")
        whole = decoder.decode(data)
        rest = decoder.getstate()[0]
        if rest:
            self._held = rest.decode("utf-8", "surrogateescape")
        return whole


def mended(text: str) -> str:
    """Return a complete text with U+FFFD in place of each half of a character."""
    if text.isascii():
        return text
    halves = Halves()
    return halves.feed(text) + halves.flush()
