"""Cost of an answer in the last usage that its stream reports: `"usage": {"cost": 0.0012, ...}`, as
OpenRouter reports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson

from gateway.dialects.continuation import Splitter
from gateway.dialects.usage import ReportedUsage
from gateway.dialects.usage_chunk import UsageFilter
from gateway.dialects.usage_scan import last_report
from gateway.json_edits import Edits, Nested, edited
from gateway.sse import Event, EventTooLarge
from gateway.usage import Usage

_LAST_RESPONSES = ("response.completed", "response.incomplete")
_DIGITS = 12
"""Digits after the point: floats add noise after more."""


class UsageCost:
    """Filter that adds the cost to a stream; every other byte passes unchanged.

    An event passes once it is complete, as with `UsageFilter`.
    """

    __slots__ = ("_before", "_cost", "_held_bytes", "_reported", "_splitter")

    def __init__(
        self,
        cost: Callable[[Usage], float],
        splitter: Splitter,
        before: UsageFilter | None = None,
    ) -> None:
        """`cost` returns the price of usage in units of money. `before` is the filter that a piece
        of the stream passes first.
        """
        self._cost = cost
        self._splitter: Splitter | None = splitter
        self._before = before
        self._reported = ReportedUsage()
        self._held_bytes = -1
        """Number of bytes that the splitter holds back; -1 at the start of the stream."""

    def feed(self, data: bytes) -> bytes:
        """Return the bytes that can be sent now."""
        if self._before is not None:
            data = self._before.feed(data)
        splitter = self._splitter
        if splitter is None or not data:
            return data
        if not self._held_bytes and data.endswith(b"\n\n") and last_report(data) < 0:
            return data  # complete events, none of which reports usage
        try:
            events = splitter.feed(data)
        except EventTooLarge as exc:
            # No report is this large: from here on, the stream passes unread.
            self._splitter = None
            return self._told_in(exc.events) + splitter.flush()
        self._held_bytes = max(0, self._held_bytes) + len(data) - sum(len(e.raw) for e in events)
        return self._told_in(events)

    def flush(self) -> bytes:
        """Return the bytes held back, at the end of the stream."""
        rest = b"" if self._before is None else self._before.flush()
        if rest:
            rest = self.feed(rest)
        return rest if self._splitter is None else rest + self._splitter.flush()

    def _told_in(self, events: Iterable[Event]) -> bytes:
        return b"".join([self._with_cost(event) for event in events])

    def _with_cost(self, event: Event) -> bytes:
        raw = event.raw
        if last_report(raw) < 0:
            return raw
        data = event.data or b""
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            return raw
        if not isinstance(document, dict):
            return raw
        self._reported.read(document)
        usage, edits = self._reported.usage, _edits(document)
        if usage is None or edits is None:
            return raw
        # Data of several lines is not found, and passes as it is.
        cost = round(self._cost(usage), _DIGITS)
        return raw.replace(data, edited(data, edits(cost)), 1)


def _edits(document: Mapping[str, Any]) -> Callable[[float], Edits] | None:
    """Return how the cost is put into an event; None if it does not report the usage of the whole
    answer.
    """
    kind, response = document.get("type"), document.get("response")
    if isinstance(document.get("usage"), dict):
        if kind == "message_delta" or _ends(document.get("choices")):
            return lambda cost: {"usage": Nested({"cost": cost})}
    elif kind in _LAST_RESPONSES and isinstance(response, dict):
        if isinstance(response.get("usage"), dict):
            return lambda cost: {"response": Nested({"usage": Nested({"cost": cost})})}
    elif document.get("done") is True:  # Ollama's counts are members of the event itself
        return lambda cost: {"cost": cost}
    return None


def _ends(choices: Any) -> bool:
    """Tell whether a chunk is the last of all its choices."""
    return isinstance(choices, list) and all(
        isinstance(choice, dict) and choice.get("finish_reason") is not None for choice in choices
    )
