"""Count the LLM tokens of a session from usage reports in the upstream's messages.

OpenAI's Realtime API reports usage in `response.done` and in finished transcriptions; similar APIs
also put a `usage` object into an event. Every such object counts once.
"""

from __future__ import annotations

from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_scan import UsageDocument, last_report
from gateway.usage import Usage

_DELTA = b'.delta"'


class SessionUsage:
    """Token counter for the messages of one upstream."""

    __slots__ = ("_deltas", "_document", "_told", "total")

    def __init__(self) -> None:
        self.total = Usage(0, 0)
        """Usage reported so far, plus the estimate that `rest` adds."""
        self._deltas = 0
        """Delta events since the last usage report."""
        self._told = ReportedUsage()
        self._document: UsageDocument | None = None
        """Message whose last piece has not been read yet, or None."""

    def feed(self, payload: bytes, first: bool, final: bool) -> Usage | None:
        """Read a piece of a message. Return the usage that a complete message reports, or None."""
        if first and final and last_report(payload) < 0:
            self._deltas += _DELTA in payload
            return None
        if first or self._document is None:
            self._told = ReportedUsage()
            self._document = UsageDocument(self._told)
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
        """Return the estimated usage of an unfinished response at the end of the session, or None.

        The estimate is one token per delta event.
        """
        if not self._deltas:
            return None
        used, self._deltas = Usage(0, self._deltas, estimated=True), 0
        self.total += used
        return used
