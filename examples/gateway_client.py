"""Client for event streams that reconnects; no event is lost or repeated where the route keeps its
streams. Copy this file: it needs httpx only, which the SDKs of OpenAI and Anthropic bring along.

    async with httpx.AsyncClient(base_url="https://llm.example") as http:
        body = {"model": "llama-3", "stream": True, "messages": [...]}
        headers = {"Authorization": f"Bearer {token}", "X-On-Disconnect": "grace=1m"}
        async for event in stream(http, "/v1/chat/completions", json=body, headers=headers):
            if event.data != "[DONE]":
                print(event.json()["choices"][0]["delta"].get("content", ""), end="")

`gateway/browser/client.js` is the same for pages. docs/resume.md describes both.
"""

from __future__ import annotations

import asyncio
import codecs
import json as json_module
import random
import re
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 8.0
_API = re.compile(r"(?:chat/completions|completions|messages|responses)$")
"""Ends of the API paths below which a route's `streams/` are."""
_RECONNECT = ("gateway_draining", "credential_expired", "stream_expired", "follower_behind")
"""Errors that end one connection, but not the stream."""
_LOST = ("stream_lost", "stream_trimmed", "stream_cancelled", "stream_not_found")
"""Errors after which nothing of the stream can be read any more."""
_ONCE = ("content-type", "idempotency-key", "x-on-disconnect")
"""Headers of a request that mean nothing when its stream is read again."""
_LINE_END = re.compile(r"\r\n?|\n")
_ERROR = re.compile(r'\{\s*"(?:error"|type":\s*"error")')

Headers = Mapping[str, str]


class StreamError(Exception):
    """The stream ended with an error. `retry_after_s` is what the response asks to wait."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        status: int = 0,
        request_id: str = "",
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.request_id = request_id
        self.retry_after_s = retry_after_s


class Refused(StreamError):
    """The request was refused, and repeating it is of no use now."""


class StreamLost(StreamError):
    """The rest of the stream cannot be read: it is trimmed, cancelled, forgotten, or was never
    kept.
    """


class _Interrupted(Exception):
    """One attempt failed. The next one may succeed."""

    def __init__(
        self, cause: Exception, retry_after_s: float | None = None, *, unserved: bool = False
    ) -> None:
        super().__init__(str(cause))
        self.cause = cause
        self.retry_after_s = retry_after_s or 0.0
        self.unserved = unserved
        """True if the server did not serve the request, so that it can be sent again."""


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event."""

    type: str
    data: str
    id: str
    """Last event id as of this event."""
    numbered: bool
    """True if the event has an id of its own."""

    def json(self) -> Any:
        """Return the data, parsed. Raise ValueError."""
        return json_module.loads(self.data)


@dataclass(slots=True)
class _Fields:
    """Fields of an incomplete event."""

    type: str = ""
    data: list[str] = field(default_factory=list)
    id: str | None = None
    retry_ms: int | None = None


class EventParser:
    """Parser of the event stream format (WHATWG HTML section 9.2.6), from bytes split anywhere."""

    def __init__(self) -> None:
        self.id = ""
        """Last event id as of the last blank line."""
        self.retry_ms: int | None = None
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._started = False
        self._pieces: list[str] = []
        self._ended_by_cr = False
        self._fields = _Fields()

    def feed(self, data: bytes) -> list[StreamEvent]:
        """Return the events that end in this data."""
        text = self._decoder.decode(data)
        if not text:
            return []
        if not self._started:
            self._started = True
            text = text.removeprefix("\ufeff")
        start = 1 if self._ended_by_cr and text.startswith("\n") else 0
        self._ended_by_cr = text.endswith("\r")
        events = []
        for end in _LINE_END.finditer(text, start):
            self._pieces.append(text[start : end.start()])
            line = "".join(self._pieces)
            self._pieces.clear()
            start = end.end()
            if (event := self._line(line)) is not None:
                events.append(event)
        if start < len(text):
            self._pieces.append(text[start:])
        return events

    def _line(self, line: str) -> StreamEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        fields = self._fields
        if name == "data":
            fields.data.append(value)
        elif name == "event":
            fields.type = value
        elif name == "id" and "\0" not in value:
            fields.id = value
        elif name == "retry" and re.fullmatch(r"[0-9]{1,15}", value):
            fields.retry_ms = int(value)
        return None

    def _dispatch(self) -> StreamEvent | None:
        fields, self._fields = self._fields, _Fields()
        if fields.id is not None:
            self.id = fields.id
        if fields.retry_ms is not None:
            self.retry_ms = fields.retry_ms
        if not fields.data:
            return None
        data = "\n".join(fields.data)
        return StreamEvent(fields.type or "message", data, self.id, fields.id is not None)


async def stream(
    http: httpx.AsyncClient,
    url: str,
    *,
    json: object = None,
    headers: Headers | Callable[[], Headers] | None = None,
    streams: str | None = None,
    last_event_id: str = "",
    follow: bool = False,
    retries: int = 10,
    longest_wait_s: float = 60.0,
    idle_s: float = 60.0,
) -> AsyncGenerator[StreamEvent, None]:
    """Iterate over the events of a stream, over as many connections as it takes.

    `json` is a body, which is sent by POST. `headers` may be a function, which is called for each
    request. `streams` is the URL of the route's kept streams; it is found by itself for the paths
    of OpenAI and Anthropic. `last_event_id` continues after an event. `follow` reconnects after a
    complete response as well, until the server answers 204. `retries` is the number of failed
    attempts in a row, `longest_wait_s` the longest Retry-After to wait for, and `idle_s` the
    silence, heartbeats included, after which the connection counts as broken.

    Raise Refused, StreamLost or StreamError. Cancelling the task that iterates closes the
    connection, and cancels the generation that `json` began.
    """
    reading = _Reading(http, http.base_url.join(url), json, headers, streams, last_event_id)
    failures = 0
    try:
        while True:
            wait_s = 0.0
            try:
                attempt = reading.attempt(idle_s, longest_wait_s)
                async with aclosing(attempt) as events:
                    async for event in events:
                        failures = 0
                        yield event
                if not follow or reading.nothing_left:
                    return
            except _Interrupted as exc:
                if not reading.can_continue and not exc.unserved:
                    raise _final(exc.cause, "connection_lost", _UNKEPT) from exc.cause
                if failures >= retries:
                    raise _final(exc.cause, "unreachable", _UNREACHABLE) from exc.cause
                wait_s = exc.retry_after_s
            # Full jitter, so that the clients of a restarted server do not return all at once.
            longest_s = min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2**failures)
            await asyncio.sleep(max(wait_s, reading.retry_s) + random.uniform(0, longest_s))  # noqa: S311
            failures += 1
    except asyncio.CancelledError:
        await asyncio.shield(reading.cancel())
        raise


_UNKEPT = "The connection broke, and the stream cannot be resumed: the route does not keep it."
_UNREACHABLE = "The gateway cannot be reached."


def _final(cause: Exception, code: str, message: str) -> StreamError:
    return cause if isinstance(cause, StreamError) else StreamLost(message, code=code)


@dataclass
class _Reading:
    """What is to be asked for next."""

    http: httpx.AsyncClient
    url: httpx.URL
    json: object
    headers: Headers | Callable[[], Headers] | None
    streams: str | None
    last_id: str
    retry_s: float = 0.0
    nothing_left: bool = False
    """True if the server answered that there are no more events."""
    _stream_id: str | None = None
    _delivered: bool = False
    _sent: httpx.Headers = field(default_factory=httpx.Headers)

    @property
    def can_continue(self) -> bool:
        """True if the next request neither begins a second generation nor repeats an event."""
        if self.json is None or self._kept is not None or (self._stream_id and self.last_id):
            return True
        return "idempotency-key" in self._sent and not self._delivered

    @property
    def _kept(self) -> httpx.URL | None:
        """URL of the kept stream."""
        if self.json is None or self._stream_id is None:
            return None
        if self.streams is not None:
            return self.url.join(self.streams).join(self._stream_id)
        if _API.search(self.url.path) is None:
            return None
        path = _API.sub("streams/", self.url.path) + self._stream_id
        return self.url.copy_with(path=path, query=None)

    def _is_data(self, event: StreamEvent) -> bool:
        """True for an event of a channel, which has an id: an error in it is what somebody
        published.
        """
        return event.numbered and self.json is None and self._stream_id is None

    async def attempt(
        self, idle_s: float, longest_wait_s: float
    ) -> AsyncGenerator[StreamEvent, None]:
        """Yield the events of one response. Raise _Interrupted and StreamError."""
        self._sent = httpx.Headers(self.headers() if callable(self.headers) else self.headers)
        can_continue = self.can_continue
        timeout = httpx.Timeout(idle_s if can_continue else None, connect=10.0)
        request = self._request(timeout)
        try:
            response = await self.http.send(request, stream=True)
        except httpx.TransportError as exc:
            raise _Interrupted(exc) from exc
        try:
            self._stream_id = response.headers.get("X-Stream-Id", self._stream_id)
            if not can_continue and self.can_continue:
                # httpx reads this for each piece.
                request.extensions["timeout"]["read"] = idle_s
            if response.status_code == 204:
                self.nothing_left = True
                return
            kind = response.headers.get("Content-Type", "")
            if not response.is_success or not kind.startswith("text/event-stream"):
                await response.aread()
                raise self._refusal(response, longest_wait_s)
            parser = EventParser()
            parser.id = self.last_id
            async for data in response.aiter_bytes():
                for event in parser.feed(data):
                    if not self._is_data(event) and (error := _error_in(event)) is not None:
                        raise self._meaning(error, event)
                    self.last_id, self._delivered = event.id, True
                    yield event
                self.last_id = parser.id
                if parser.retry_ms is not None:
                    self.retry_s = parser.retry_ms / 1000
        except httpx.TransportError as exc:
            raise _Interrupted(exc) from exc
        finally:
            await response.aclose()

    async def cancel(self) -> None:
        """End the generation that this client began, which could go on without a reader."""
        if (kept := self._kept) is None:
            return
        try:
            await self.http.delete(kept, headers=self._again())
        except httpx.HTTPError:
            return

    def _again(self) -> httpx.Headers:
        headers = self._sent.copy()
        for name in _ONCE:
            headers.pop(name, None)
        return headers

    def _request(self, timeout: httpx.Timeout) -> httpx.Request:
        kept = self._kept
        headers = self._sent.copy() if kept is None else self._again()
        headers.setdefault("Accept", "text/event-stream")
        if self.last_id:
            headers["Last-Event-ID"] = self.last_id
        if kept is not None:
            return self.http.build_request("GET", kept, headers=headers, timeout=timeout)
        method = "GET" if self.json is None else "POST"
        return self.http.build_request(
            method, self.url, json=self.json, headers=headers, timeout=timeout
        )

    def _refusal(self, response: httpx.Response, longest_wait_s: float) -> Exception:
        status = response.status_code
        if response.is_success:
            return Refused("The response is not an event stream.", status=status)
        try:
            said = _told(response.json()) or {}
        except ValueError:
            said = {}
        retry_after_s = _seconds(response.headers.get("Retry-After", ""))
        code = said.get("code") or ""
        kind = StreamLost if self._kept is not None and code in _LOST else Refused
        error = kind(
            said.get("message") or f"The request was refused with {status}.",
            code=code,
            status=status,
            request_id=response.headers.get("X-Request-ID", ""),
            retry_after_s=retry_after_s,
        )
        unserved = status in (429, 503)
        if not unserved and not (status in (502, 504) and self.can_continue):
            return error
        if response.headers.get("X-Should-Retry") == "false":
            return error
        if (retry_after_s or 0.0) > longest_wait_s:
            return error
        return _Interrupted(error, retry_after_s, unserved=unserved)

    def _meaning(self, said: dict[str, Any], event: StreamEvent) -> Exception:
        """Return the exception for an error event. An error without an id concerns this connection
        alone.
        """
        code = said.get("code") or ""
        kind = StreamLost if code in _LOST else StreamError
        message = said.get("message") or "The stream ended with an error."
        error = kind(message, code=code, request_id=said.get("request_id") or "")
        passing = not event.numbered and (self._stream_id or self.last_id) and code in _RECONNECT
        return _Interrupted(error) if passing else error


def _error_in(event: StreamEvent) -> dict[str, Any] | None:
    """Return the error that an event reports, in the shapes of OpenAI and Anthropic."""
    if event.type != "error" and not _ERROR.match(event.data):
        return None
    try:
        return _told(event.json())
    except ValueError:
        return None


def _told(document: Any) -> dict[str, Any] | None:
    """Return the error of a document: `{"error": {...}}`, `{"error": "..."}`, or OpenAI's
    `{"type": "error", ...}`.
    """
    if not isinstance(document, dict):
        return None
    error = document.get("error") or (document if document.get("type") == "error" else None)
    if isinstance(error, str):
        return {"message": error, "code": document.get("code")}
    if not isinstance(error, dict):
        return None
    return {
        **error,
        "code": error.get("code") or error.get("type"),
        "request_id": error.get("request_id") or document.get("request_id"),
    }


def _seconds(value: str) -> float | None:
    """Return Retry-After in seconds (RFC 9110 section 10.2.3), or None."""
    if re.fullmatch(r"[0-9]{1,15}", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
