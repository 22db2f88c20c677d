"""Windows of a streamed answer. Events are held until their text is judged, and are then sent in
order. Values in, values out: no I/O.

Each text of a stream (one for each choice, content block or tool call) has its own windows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Sequence
from itertools import islice

from gateway.dialects.passages import Passage, PassageKind
from gateway.exchange import Exchange
from gateway.hooks.content import TextWindow
from gateway.hooks.events import HookedEvent

_BEFORE_CHARS = 1000
_KEPT_CHARS = 1024 * 1024
"""Characters kept of a text that was sent, to recognise events that repeat it."""
_HELD_CAP_BYTES = 1024 * 1024
"""Bytes of events above which their text is judged, whatever the size of a window."""


class _Text:
    """Text of a stream: the pieces in held events, and the part that was sent."""

    __slots__ = ("before", "kind", "original", "pieces", "sent", "sent_chars", "size")

    def __init__(self, kind: PassageKind) -> None:
        self.kind = kind
        self.pieces: deque[Passage] = deque()
        self.size = 0
        self.before = ""
        self.original: list[str] = []
        self.sent: list[str] = []
        self.sent_chars = 0

    def released(self, passage: Passage, before: str) -> None:
        """Note that a piece is sent. `before` is its text before the edits."""
        self.size -= len(before)
        self.before = (self.before + before)[-_BEFORE_CHARS:]
        self.sent_chars += len(before)
        if self.sent_chars <= _KEPT_CHARS:
            self.original.append(before)
            self.sent.append(passage.text)

    @property
    def is_known(self) -> bool:
        """True if the whole text that was sent is kept."""
        return 0 < self.sent_chars <= _KEPT_CHARS


class WindowBuffer:
    """Held events of one stream."""

    def __init__(self, chars: int, exchange: Exchange) -> None:
        """`chars` is the size of a window; 0 for the whole answer."""
        self._chars = chars
        self._exchange = exchange
        self._held: deque[HookedEvent] = deque()
        self._held_bytes = 0
        self._fresh = 0
        """Number of characters that were in no window yet."""
        self._texts: dict[Hashable, _Text] = {}

    @property
    def held(self) -> Sequence[HookedEvent]:
        """Events that wait for a verdict."""
        return self._held

    @property
    def is_due(self) -> bool:
        """True if the held text is to be judged now."""
        return self._fresh > 0 and (
            0 < self._chars <= self._fresh or self._held_bytes > _HELD_CAP_BYTES
        )

    def add(self, event: HookedEvent) -> None:
        """Hold an event."""
        self._held.append(event)
        self._held_bytes += len(event.raw)
        for passage in event.passages:
            if passage.text:
                text = self._texts.get(passage.key)
                if text is None:
                    text = self._texts[passage.key] = _Text(passage.kind)
                text.pieces.append(passage)
                text.size += len(passage.text)
                self._fresh += len(passage.text)

    def windows(self, *, is_final: bool) -> list[tuple[Hashable, TextWindow]]:
        """Return the windows to judge now, by text."""
        self._fresh = 0
        return [
            (
                key,
                TextWindow(
                    "".join(passage.text for passage in text.pieces),
                    text.before,
                    text.kind,
                    self._exchange,
                    is_final=is_final,
                ),
            )
            for key, text in self._texts.items()
            if text.pieces
        ]

    def release(self, judged: Sequence[tuple[Hashable, TextWindow]]) -> list[HookedEvent]:
        """Apply the edits of these windows. Return the events that may be sent: those in front of
        the first event whose text is still held back.
        """
        windows = dict(judged)
        crowded = self._held_bytes > _HELD_CAP_BYTES
        limits = {
            key: len(one.text) if one.is_final or crowded else len(one.text) - one.held_chars
            for key, one in windows.items()
        }
        if all(limits[key] == len(one.text) for key, one in windows.items()):
            count = len(self._held)
        else:
            count = self._releasable(windows, limits)
        return self._released(count, windows)

    def passing(self) -> list[HookedEvent]:
        """Return the held events, if none of them has text to judge."""
        if any(text.pieces for text in self._texts.values()):
            return []
        return self._released(len(self._held), {})

    def sent_as(self, original: str) -> str | None:
        """Return the text that was sent for an original text; None if it is not known."""
        for text in self._texts.values():
            if (
                text.is_known
                and text.sent_chars == len(original)
                and "".join(text.original) == original
            ):
                return "".join(text.sent)
        return None

    def _releasable(self, windows: dict[Hashable, TextWindow], limits: dict[Hashable, int]) -> int:
        """Return the number of events that may be sent, so that no edit is split."""
        ends = dict.fromkeys(windows, 0)
        best = 0
        for number, event in enumerate(self._held, 1):
            for passage in event.passages:
                if passage.text:
                    ends[passage.key] += len(passage.text)
            if any(ends[key] > limit for key, limit in limits.items()):
                break
            if not any(
                edit.start < ends[key] < edit.end
                for key, one in windows.items()
                for edit in one.edits
            ):
                best = number
        return best

    def _released(self, count: int, windows: dict[Hashable, TextWindow]) -> list[HookedEvent]:
        released = list(islice(self._held, count))
        pieces: dict[Hashable, list[Passage]] = {}
        for event in released:
            self._held.popleft()
            self._held_bytes -= len(event.raw)
            for passage in event.passages:
                if passage.text:
                    pieces.setdefault(passage.key, []).append(passage)
        for key, passages in pieces.items():
            text = self._texts[key]
            before = [passage.text for passage in passages]
            window = windows.get(key)
            if window is not None and window.edits:
                _apply(passages, window)
            for passage, old in zip(passages, before, strict=True):
                text.pieces.popleft()
                text.released(passage, old)
        return released


def _apply(passages: Sequence[Passage], window: TextWindow) -> None:
    """Apply those edits that begin in these pieces of a window. A replacement goes into the piece
    in which it begins; other pieces keep their bytes.
    """
    at = 0
    waiting = deque(window.edits)
    is_whole = sum(len(passage.text) for passage in passages) == len(window.text)
    last = len(passages) - 1 if is_whole else len(passages)
    for number, passage in enumerate(passages):
        start, end = at, at + len(passage.text)
        made: list[str] = []
        here = start
        for edit in list(waiting):
            if edit.start > end or (edit.start == end and number < last):
                break
            if edit.start >= start:
                made += (passage.text[here - start : edit.start - start], edit.text)
            here = max(here, min(edit.end, end))
            if edit.end > end:
                break
            waiting.popleft()
        made.append(passage.text[here - start :])
        passage.text = "".join(made)
        at = end
