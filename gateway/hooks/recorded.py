"""Redaction of recorded prompts and answers, where the traffic itself stays as it is."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway import sound_json
from gateway.dialects.continuation import Splitter
from gateway.dialects.json_lines import Lines
from gateway.dialects.passages import (
    Passage,
    TooDeep,
    answer_passages,
    request_passages,
    write_answer,
    write_request,
)
from gateway.exchange import Exchange
from gateway.hooks.events import HookedEvent
from gateway.hooks.redact import Redactor
from gateway.hooks.windows import WindowBuffer
from gateway.sse import EventSplitter, EventTooLarge

WITHHELD = "[not recorded: it could not be redacted]"


class RecordedRedaction:
    """Redaction of the content that a route records."""

    def __init__(self, redactors: Sequence[Redactor]) -> None:
        self._redactors = redactors

    async def prompt(self, body: bytes) -> str:
        """Return a recorded request without personal data."""
        try:
            document = sound_json.loads(body)
            passages = request_passages(document) if isinstance(document, dict) else None
        except (orjson.JSONDecodeError, TooDeep):
            passages = None
        if passages is None:  # it is cut off, or no JSON
            return await self._text(body.decode("utf-8", "replace"))
        write_request(document, await self._changes(passages))
        return orjson.dumps(document).decode()

    async def answer(self, body: bytes, exchange: Exchange) -> str:
        """Return a recorded answer without personal data: a document, or the events of a stream."""
        try:
            document = sound_json.loads(body)
            passages = answer_passages(document) if isinstance(document, dict) else []
            write_answer(document, await self._changes(passages))
            return orjson.dumps(document).decode()
        except orjson.JSONDecodeError:
            pass
        except TooDeep:
            return WITHHELD
        splitter: Splitter = Lines() if body[:1] == b"{" else EventSplitter()
        try:
            events = [
                HookedEvent(event, exchange, is_line=isinstance(splitter, Lines))
                for event in splitter.feed(body)
            ]
        except (EventTooLarge, TooDeep):
            return WITHHELD
        for redactor in self._redactors:
            buffer = WindowBuffer(0, exchange)
            for event in events:
                buffer.add(event)
            judged = buffer.windows(is_final=True)
            for _, window in judged:
                for edit in await redactor.found(window.text):
                    window.replace(edit.start, edit.end, edit.text)
            events = buffer.release(judged)
        # An event that was cut off is left out: it may hold a part of what had to be redacted.
        return b"".join(event.rendered() for event in events).decode("utf-8", "replace")

    async def _changes(self, passages: Sequence[Passage]) -> dict[int, str]:
        changes = {}
        for index, passage in enumerate(passages):
            text = await self._text(passage.text)
            if text != passage.text:
                changes[index] = text
        return changes

    async def _text(self, text: str) -> str:
        for redactor in self._redactors:
            text = await redactor.redacted(text)
        return text
