"""Asking an OpenAI-shaped stream for its usage, and keeping the answer from a client who did not.

`stream_options: {"include_usage": true}` makes the backend send one more chunk before `[DONE]`,
with no choices and the token counts. A client that asked for it itself gets it as it is.
"""

from __future__ import annotations

import json
import re

import orjson

_OPTION = b'"stream_options":{"include_usage":true},'
_KEY = re.compile(rb'"stream_options"\s*:\s*')
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_BOUNDARY = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_HELD_CAP_BYTES = 1024 * 1024


def ask_for_usage(body: bytes) -> bytes | None:
    """The body of a streamed request with usage asked for; None if it need not be changed."""
    document = orjson.loads(body)
    if not isinstance(document, dict) or document.get("stream") is not True:
        return None
    options = document.get("stream_options")
    if options is None and "stream_options" not in document:
        start = body.index(b"{") + 1
        return body[:start] + _OPTION + body[start:]
    if isinstance(options, dict) and options.get("include_usage") is True:
        return None
    return _replace_options(body, options if isinstance(options, dict) else {})


def _replace_options(body: bytes, options: dict[str, object]) -> bytes | None:
    """Put the option into an object that is there without it, or says false."""
    matches = list(_KEY.finditer(body))
    if len(matches) != 1:
        return None  # which of them it is would be a guess; the stream is counted by its events
    start = matches[0].end()
    text = body[start:].decode("utf-8", "surrogateescape")
    _, end = json.JSONDecoder().raw_decode(text)
    length = len(text[:end].encode("utf-8", "surrogateescape"))
    changed = orjson.dumps({**options, "include_usage": True})
    return body[:start] + changed + body[start + length :]


class UsageFilter:
    """Takes the usage chunk out of an event stream and passes everything else as it came.

    An event passes when it is whole, which it is as it comes from nearly every backend.
    """

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What may pass now."""
        data = self._held + data
        end = 0
        for match in _BOUNDARY.finditer(data):
            end = match.end()
        whole, self._held = data[:end], data[end:]
        if len(self._held) > _HELD_CAP_BYTES:
            whole, self._held = whole + self._held, b""
        return whole if b'"usage"' not in whole else self._without_usage(whole)

    def flush(self) -> bytes:
        """What is left at the end of the stream."""
        held, self._held = self._held, b""
        return held

    @staticmethod
    def _without_usage(whole: bytes) -> bytes:
        kept = []
        start = 0
        for match in _BOUNDARY.finditer(whole):
            event = whole[start : match.end()]
            start = match.end()
            if b'"usage"' not in event or not _NO_CHOICES.search(event):
                kept.append(event)
        return b"".join(kept) + whole[start:]
