"""Translate one response, as it arrives, into bridge messages. No I/O here.

An event's data is passed on as the bytes received. It is parsed only to check it, so that invalid
JSON cannot break the message around it, and is never serialized again. An event costs about 4 µs.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from enum import Enum

import orjson

from gateway.bridge.messages import Tag, build_message, error_message
from gateway.dialects import Dialect
from gateway.errors import GatewayError, UpstreamInvalidResponse, UpstreamReset
from gateway.resume.policy import HEADER as ON_DISCONNECT
from gateway.sse import EVENT_STREAM, EventSplitter, EventTooLarge

_LINES = "application/x-ndjson"
_DONE = b"[DONE]"
"""End marker of OpenAI's streams; the message `done` replaces it."""
_QUEUED = re.compile(rb"^: queued position=([0-9]{1,9}) deadline=([0-9]{1,9})s$", re.MULTILINE)
"""Comment that the gateway writes, in a chunk of its own, before the first event."""
WHOLE_CAP_BYTES = 16 * 1024 * 1024
"""Maximum bytes of a response that is no stream, and of a line."""


class Stage(Enum):
    """Progress of the response."""

    HEAD = "head"
    EVENTS = "events"
    LINES = "lines"
    WHOLE = "whole"
    """Not a stream: sent in one message."""
    OVER = "over"
    """The last message was produced."""


class BridgeAnswer:
    """Response of one generation. It ends with exactly one final message."""

    def __init__(self, tag: Tag, dialect: Dialect) -> None:
        self.tag = tag
        self.stage = Stage.HEAD
        self.stream: str | None = None
        """Id under which the gateway keeps the stream for resumption; None if it does not."""
        self._dialect = dialect
        self._headers: dict[str, str] = {}
        """Header fields, by their names in lower case."""
        self._status = 0
        self._begin = b'{"id":%b,"type":"event"' % tag
        self._splitter = EventSplitter()
        self._before_first_event = True
        """True until the first event arrives."""
        self._body = bytearray()
        """Body of a response that is no stream, or the start of an incomplete line."""
        self._error: tuple[bytes, bytes] | None = None
        """Message and data of an error event that may be the last event. If it is, its data becomes
        the final message; if another event follows, the message is sent as an ordinary event.
        """
        self._messages: list[bytes] = []

    @property
    def over(self) -> bool:
        """True if the final message was produced."""
        return self.stage is Stage.OVER

    def begin(self, status: int, fields: Mapping[str, str]) -> Sequence[bytes]:
        """Take the head of the response and return the resulting messages."""
        if self.over:
            return ()
        self._status = status
        self._headers = {name.lower(): value for name, value in fields.items()}
        media_type = self._headers.get("content-type", "").partition(";")[0].strip().lower()
        self.stage = Stage.WHOLE
        if status == 200 and media_type in (EVENT_STREAM, _LINES):
            self.stage = Stage.EVENTS if media_type == EVENT_STREAM else Stage.LINES
            self.stream = self._headers.get("x-stream-id")
            self._add(
                build_message(
                    self.tag,
                    b"created",
                    **self._heads(),
                    stream=self.stream,
                    on_disconnect=self._headers.get(ON_DISCONNECT.lower()),
                )
            )
        return self._take_messages()

    def feed(self, data: bytes) -> Sequence[bytes]:
        """Take a piece of the body and return the resulting messages."""
        if self.stage is Stage.EVENTS:
            self._events(data)
        elif self.stage is Stage.LINES:
            self._lines(data)
        elif self.stage is Stage.WHOLE:
            self._body += data
            self._check_size()
        return self._take_messages()

    def complete(self) -> Sequence[bytes]:
        """Return the last messages after the whole body was taken."""
        if self.stage is Stage.WHOLE:
            self._whole()
        elif self.stage is Stage.LINES and self._body:
            self._lines(b"\n")
        if self.stage in (Stage.EVENTS, Stage.LINES):
            if self._error is not None:
                self._end_with_error()
            else:
                self._end(build_message(self.tag, b"done"))
        return self._take_messages()

    def closed(self, error: GatewayError | None = None) -> Sequence[bytes]:
        """Return the final message after the response was cut off; `error` is the reason."""
        if self._error is not None:
            self._end_with_error()
        else:
            self._fail(error or UpstreamReset("no end"))
        return self._take_messages()

    def cancelled(self) -> Sequence[bytes]:
        """Return the final message after the client has cancelled the generation."""
        self._end(build_message(self.tag, b"cancelled"))
        return self._take_messages()

    # -- private -----------------------------------------------------------------------------

    def _events(self, data: bytes) -> None:
        if self._before_first_event:
            for match in _QUEUED.finditer(data):
                place, left_s = int(match[1]), int(match[2])
                self._add(build_message(self.tag, b"queued", position=place, deadline_s=left_s))
        too_large: EventTooLarge | None = None
        try:
            events = self._splitter.feed(data)
        except EventTooLarge as exc:
            events, too_large = exc.events, exc
        for event in events:
            text = event.data
            if text is not None:
                self._before_first_event = False
                if text != _DONE:
                    self._event(text, event.type, event.id)
        if too_large is not None:
            self._fail(UpstreamInvalidResponse(str(too_large)))

    def _lines(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            whole = bytes(self._body) + line if self._body else line
            self._body.clear()
            if whole.strip():
                self._event(whole, b"message", None)
        self._body += rest
        self._check_size()

    def _event(self, data: bytes, kind: bytes, event_id: bytes | None) -> None:
        begin = self._begin
        if kind != b"message":
            begin += b',"event":%b' % _text(kind)
        if event_id is not None:
            begin += b',"event_id":%b' % _text(event_id)
        if self._error is not None:
            self._messages.append(self._error[0])  # another event follows
            self._error = None
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._add(b'%b,"text":%b}' % (begin, _text(data)))
            return
        message = b'%b,"data":%b}' % (begin, data)
        if isinstance(document, dict) and (document.get("error") or kind == b"error"):
            self._error = message, data
        else:
            self._add(message)

    def _whole(self) -> None:
        body, status = bytes(self._body), self._status
        self._body.clear()
        if status >= 400:
            after = self._headers.get("retry-after", "")
            retry_after = int(after) if after.isdigit() and len(after) < 10 else None
            self._end(
                error_message(self.tag, status, body, **self._heads(), retry_after=retry_after)
            )
        elif status == 204:
            self._end(build_message(self.tag, b"done"))
        else:
            said = build_message(self.tag, b"response", **self._heads(), status=status)
            self._end(b"%b,%b}" % (said[:-1], _content(body)))

    def _heads(self) -> dict[str, str | None]:
        """Return the fields from the response's headers that clients need."""
        return {
            "request_id": self._headers.get("x-request-id"),
            "rate_limit": self._headers.get("ratelimit"),
        }

    def _check_size(self) -> None:
        if len(self._body) > WHOLE_CAP_BYTES:
            self._fail(UpstreamInvalidResponse(f"more than {WHOLE_CAP_BYTES} bytes in one piece"))

    def _end_with_error(self) -> None:
        assert self._error is not None
        self._end(
            error_message(self.tag, 0, self._error[1], request_id=self._headers.get("x-request-id"))
        )

    def _fail(self, error: GatewayError) -> None:
        request_id = self._headers.get("x-request-id")
        body = self._dialect.error_body(error, "")
        self._end(error_message(self.tag, error.status, body, request_id=request_id))

    def _add(self, message: bytes) -> None:
        if self.stage is not Stage.OVER:
            self._messages.append(message)

    def _end(self, message: bytes) -> None:
        self._add(message)
        self.stage = Stage.OVER
        self._body.clear()

    def _take_messages(self) -> Sequence[bytes]:
        said, self._messages = self._messages, []
        return said


def _text(data: bytes) -> bytes:
    return orjson.dumps(data.decode("utf-8", "replace"))


def _content(body: bytes) -> bytes:
    """Return the body as a member of a message: JSON, text or base64."""
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
