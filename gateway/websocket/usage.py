"""LLM tokens of a session: what the messages of the upstream say was used, as they pass.

OpenAI's Realtime API says it in `response.done` and in finished transcriptions; others of its kind
put a `usage` object into an event as well. Every such object counts once.
"""

from __future__ import annotations

from gateway.dialects.usage import Told
from gateway.dialects.usage_tap import Document
from gateway.usage import Usage

_KEY = b'"usage"'
_DELTA = b'.delta"'


class SessionUsage:
    """Listens to the messages of an upstream."""

    __slots__ = ("_deltas", "_document", "_told", "total")

    def __init__(self) -> None:
        self.total = Usage(0, 0)
        """What was said so far."""
        self._deltas = 0
        """Events with a piece of an answer, since it was said what one used."""
        self._told = Told()
        self._document: Document | None = None
        """The message that has begun."""

    def feed(self, payload: bytes, first: bool, final: bool) -> Usage | None:
        """A piece of a message; what it says was used, if it does."""
        if first and final and _KEY not in payload:
            self._deltas += _DELTA in payload
            return None
        if first or self._document is None:
            self._told = Told()
            self._document = Document(self._told)
        self._document.feed(payload)
        if not final:
            return None
        self._document.end()
        self._document = None
        used = self._told.usage
        if used is not None:
            self._deltas = 0
            self.total += used
        return used

    def rest(self) -> Usage | None:
        """At the end: a guess at what an answer used that was broken off, a token for a piece."""
        if not self._deltas:
            return None
        used, self._deltas = Usage(0, self._deltas, estimated=True), 0
        self.total += used
        return used
