"""LLM tokens of a session: what the messages of the upstream say was used, as they pass.

OpenAI's Realtime API says it in `response.done` and in finished transcriptions; others of its kind
put a `usage` object into an event as well. Every such object counts once.
"""

from __future__ import annotations

from gateway.usage import Usage, UsageTap

_KEY = b'"usage"'
_DELTA = b'.delta"'


class SessionUsage:
    """Listens to the messages of an upstream."""

    __slots__ = ("_deltas", "_tap", "total")

    def __init__(self) -> None:
        self.total = Usage(0, 0)
        """What was said so far."""
        self._deltas = 0
        """Events with a piece of an answer, since it was said what one used."""
        self._tap: UsageTap | None = None

    def feed(self, payload: bytes, first: bool, final: bool) -> Usage | None:
        """A piece of a message; what it says was used, if it does."""
        if first and final:
            if _KEY not in payload:
                self._deltas += _DELTA in payload
                return None
            tap = UsageTap()
        elif first or self._tap is None:
            tap = self._tap = UsageTap()
        else:
            tap = self._tap
        tap.feed(payload)
        if not final:
            return None
        self._tap = None
        used = tap.usage()
        if used is not None:
            self._deltas = 0
            self._add(used)
        return used

    def rest(self) -> Usage | None:
        """At the end: a guess at what an answer used that was broken off, a token for a piece."""
        if not self._deltas:
            return None
        used, self._deltas = Usage(0, self._deltas), 0
        self._add(used)
        return used

    def _add(self, used: Usage) -> None:
        self.total = Usage(self.total.input + used.input, self.total.output + used.output)
