"""One HTTP response, read as it comes and said as messages. No I/O here.

An event's data goes on in the bytes it came in: they are looked at, so that what is no JSON cannot
break the message around it, and never written anew. A token takes some 8 µs of this.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from enum import Enum

import httptools
import orjson

from gateway.bridge.messages import Tag, about, told
from gateway.dialects import Dialect
from gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamReset
from gateway.resume.policy import HEADER as ON_DISCONNECT
from gateway.sse import EVENT_STREAM, EventSplitter, EventTooLarge

_LINES = "application/x-ndjson"
_DONE = b"[DONE]"
"""How OpenAI's streams end; `done` says it here."""
_QUEUED = re.compile(rb"^: queued position=([0-9]{1,9}) deadline=([0-9]{1,9})s$", re.MULTILINE)
"""A comment of the gateway's own, in a piece of its own before the first event."""
_WHOLE_CAP_BYTES = 16 * 1024 * 1024
"""Of a response that is no stream, and of a line."""


class Stage(Enum):
    """How far the response is."""

    HEAD = "head"
    EVENTS = "events"
    LINES = "lines"
    WHOLE = "whole"
    """It is no stream: said in one message."""
    OVER = "over"
    """The last message was said."""


class Answer:
    """Of one generation. It ends in exactly one message that says how."""

    def __init__(self, tag: Tag, dialect: Dialect) -> None:
        self.tag = tag
        self.stage = Stage.HEAD
        self.stream: str | None = None
        """The id under which the gateway keeps it, if it does."""
        self._dialect = dialect
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._status = 0
        self._begin = b'{"id":%b,"type":"event"' % tag
        self._splitter = EventSplitter()
        self._waits = True
        """No event has come yet."""
        self._held = bytearray()
        """The body of what is no stream; or a line that has begun."""
        self._error: tuple[bytes, bytes] | None = None
        """An event that tells of an error, as a message; and what it says. If it is the last one,
        it says how the generation ended.
        """
        self._said: list[bytes] = []

    @property
    def over(self) -> bool:
        """Whether nothing more will be said."""
        return self.stage is Stage.OVER

    def feed(self, data: bytes) -> Sequence[bytes]:
        """The messages that bytes of the response make."""
        if self.stage is Stage.OVER:
            return ()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._fail(UpstreamInvalidResponse("not HTTP/1.1"))
        return self._take()

    def closed(self, error: GatewayError | None = None) -> Sequence[bytes]:
        """The last message, where the response ends here; `error` says why."""
        if self._error is not None:
            self._end_with_error()
        else:
            self._fail(error or UpstreamReset("no end"))
        return self._take()

    def cancelled(self) -> Sequence[bytes]:
        """The last message, where its client wants no more of it."""
        self._end(about(self.tag, b"cancelled"))
        return self._take()

    # The parser calls these.

    def on_message_begin(self) -> None:
        self._headers.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()
        if self._status < 200:
            return  # an interim response
        media_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        self.stage = Stage.WHOLE
        if self._status == 200 and media_type in (EVENT_STREAM, _LINES):
            self.stage = Stage.EVENTS if media_type == EVENT_STREAM else Stage.LINES
            self.stream = self._headers.get("x-stream-id")
            self._say(
                about(
                    self.tag,
                    b"created",
                    **self._heads(),
                    stream=self.stream,
                    on_disconnect=self._headers.get(ON_DISCONNECT.lower()),
                )
            )

    def on_body(self, data: bytes) -> None:
        if self.stage is Stage.EVENTS:
            self._events(data)
        elif self.stage is Stage.LINES:
            self._lines(data)
        elif self.stage is Stage.WHOLE:
            self._held += data
            self._check_size()

    def on_message_complete(self) -> None:
        if self.stage is Stage.WHOLE:
            self._whole()
        elif self.stage is Stage.LINES and self._held:
            self._lines(b"\n")
        if self.stage in (Stage.EVENTS, Stage.LINES):
            if self._error is not None:
                self._end_with_error()
            else:
                self._end(about(self.tag, b"done"))

    # -- private -----------------------------------------------------------------------------

    def _events(self, data: bytes) -> None:
        if self._waits:
            for match in _QUEUED.finditer(data):
                place, left_s = int(match[1]), int(match[2])
                self._say(about(self.tag, b"queued", position=place, deadline_s=left_s))
        too_large: EventTooLarge | None = None
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events, too_large = exc.events, exc
        for event in events:
            text = event.data
            if text is not None:
                self._waits = False
                if text != _DONE:
                    self._event(text, event.type, event.id)
        if too_large is not None:
            self._fail(UpstreamInvalidResponse(str(too_large)))

    def _lines(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = bytes(self._held) + line if self._held else line
            self._held.clear()
            if whole.strip():
                self._event(whole, b"message", None)
        self._held += rest
        self._check_size()

    def _event(self, data: bytes, kind: bytes, event_id: bytes | None) -> None:
        begin = self._begin
        if kind != b"message":
            begin += b',"event":%b' % _text(kind)
        if event_id is not None:
            begin += b',"event_id":%b' % _text(event_id)
        if self._error is not None:
            self._said.append(self._error[0])  # it was not the last one
            self._error = None
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._say(b'%b,"text":%b}' % (begin, _text(data)))
            return
        message = b'%b,"data":%b}' % (begin, data)
        if isinstance(document, dict) and (document.get("error") or kind == b"error"):
            self._error = message, data
        else:
            self._say(message)

    def _whole(self) -> None:
        body, status = bytes(self._held), self._status
        self._held.clear()
        if status >= 400:
            after = self._headers.get("retry-after", "")
            retry_after = int(after) if after.isdigit() and len(after) < 10 else None
            self._end(told(self.tag, status, body, **self._heads(), retry_after=retry_after))
        elif status == 204:
            self._end(about(self.tag, b"done"))
        else:
            said = about(self.tag, b"response", **self._heads(), status=status)
            self._end(b"%b,%b}" % (said[:-1], _content(body)))

    def _heads(self) -> dict[str, str | None]:
        """What the response's head says that clients want to know."""
        return {
            "request_id": self._headers.get("x-request-id"),
            "rate_limit": self._headers.get("ratelimit"),
        }

    def _check_size(self) -> None:
        if len(self._held) > _WHOLE_CAP_BYTES:
            self._fail(UpstreamInvalidResponse(f"more than {_WHOLE_CAP_BYTES} bytes in one piece"))

    def _end_with_error(self) -> None:
        assert self._error is not None
        self._end(told(self.tag, 0, self._error[1], request_id=self._headers.get("x-request-id")))

    def _fail(self, error: GatewayError) -> None:
        request_id = self._headers.get("x-request-id")
        body = self._dialect.error_body(error, "")
        self._end(told(self.tag, error.status, body, request_id=request_id))

    def _say(self, message: bytes) -> None:
        if self.stage is not Stage.OVER:
            self._said.append(message)

    def _end(self, message: bytes) -> None:
        self._say(message)
        self.stage = Stage.OVER
        self._held.clear()

    def _take(self) -> Sequence[bytes]:
        said, self._said = self._said, []
        return said


def _text(data: bytes) -> bytes:
    return orjson.dumps(data.decode("utf-8", "replace"))


def _content(body: bytes) -> bytes:
    """As a member of a message."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        pass
    else:
        return b'"data":' + body
    try:
        return b'"text":' + orjson.dumps(body.decode())
    except UnicodeDecodeError:
        return b'"base64":"%b"' % base64.b64encode(body)
