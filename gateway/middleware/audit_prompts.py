"""Prompt audit: a share of the requests of a route is recorded, with prompts and answers.

Three policies of one route share the state in `Exchange.captured`:

- `AuditPrompts` decides which requests are recorded, and makes the record at the end. It stands
  before kept streams, so that it sees answers that are replayed.
- `CaptureAnswers` stands behind kept streams, and copies answers as callers get them.
- `CaptureRequests` stands behind hooks, and keeps bodies as they left them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable

from aiohttp import web

from gateway.errors import AuditUnavailable
from gateway.exchange import Exchange
from gateway.prompt_audit.audit_log import PromptLog
from gateway.prompt_audit.record import STREAM_FACTOR, AuditRecord, Price, RecordOptions
from gateway.proxy.relay import RelayedResponse
from gateway.request import Request
from gateway.request_body.reader import BodyReader
from gateway.resume.replay import Replay
from gateway.telemetry.captured_prompt import CapturedPrompt
from gateway.telemetry.traces.recording import digest_of_stream

_WITH_PROMPT = frozenset({"POST", "PUT", "PATCH"})
_UPLOADS = ("multipart/", "audio/", "image/", "video/", "application/octet-stream")
_UPLOADED = "it is an upload"


class AuditPrompts:
    """Policy that decides which requests are recorded, and records them."""

    def __init__(self, options: RecordOptions, log: PromptLog, price: Price) -> None:
        self._options = options
        self._log = log
        self._price = price
        self._sample = options.sample
        self._cap_bytes = options.cap_bytes * STREAM_FACTOR

    def on_request(self, request: Request) -> None:
        """Begin to record the request, if it is in the share. Raise AuditUnavailable."""
        if request.method not in _WITH_PROMPT or random.random() >= self._sample:  # noqa: S311
            return
        if self._log.refuses:
            raise AuditUnavailable(self._log.destination.reason)
        captured = request.exchange.captured = CapturedPrompt(self._cap_bytes)
        captured.content_type = request.headers.get("Content-Type", "")

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Note a replay: the request that began the stream has the answer in its record."""
        captured = request.exchange.captured
        if captured is not None and isinstance(response, Replay) and not captured.answer_type:
            captured.replays = digest_of_stream(response.log.id)
        return response

    def on_end(self, exchange: Exchange) -> None:
        """Record the request."""
        captured = exchange.captured
        if captured is None:
            return
        if self._options.request and captured.body is None and captured.left_out is None:
            captured.body = _body_of(exchange)  # a hook or a limit refused the request
        self._log.add(AuditRecord(exchange, captured, self._options, self._price))
        exchange.captured = None


class CaptureAnswers:
    """Policy that copies answers."""

    def on_response(self, request: Request, response: web.StreamResponse) -> web.StreamResponse:
        """Copy the answer as it is sent to the caller."""
        captured = request.exchange.captured
        if captured is None:
            return response
        if isinstance(response, RelayedResponse):
            headers = response.initial_headers()
            captured.answer_coding = headers.get("Content-Encoding", "")
            captured.is_streamed = response.body.is_stream
            response.tee(captured.feed)
        elif isinstance(response, web.Response) and isinstance(response.body, bytes):
            headers = response.headers
            captured.feed(response.body)
        else:
            return response
        captured.answer_type = headers.get("Content-Type", "application/octet-stream")
        return response


class CaptureRequests:
    """Policy that keeps the bodies of requests."""

    def __init__(self, reader: BodyReader) -> None:
        self._reader = reader

    def on_request(self, request: Request) -> Awaitable[None] | None:
        """Keep the body. Wait for one that would otherwise be passed on as it arrives, unless it is
        an upload.
        """
        exchange = request.exchange
        captured = exchange.captured
        if captured is None:
            return None
        body = _body_of(exchange)
        if exchange.json is None and request.received:
            body = request.received  # a form may have been rewritten with another model name
        if body is None and request.body_exists:
            if captured.content_type.strip().lower().startswith(_UPLOADS):
                captured.left_out = _UPLOADED
                return None
            # Not decoded here: a backend may know codings that the gateway does not.
            captured.coding = ",".join(request.headers.getall("Content-Encoding", ()))
            body = self._reader.here(request)
            if body is None:
                return self._read(request, captured)
        captured.body = body
        return None

    async def _read(self, request: Request, captured: CapturedPrompt) -> None:
        self._reader.ask(request)
        captured.body = await self._reader.held(request)


def _body_of(exchange: Exchange) -> bytes | None:
    """Return the body as the caller sent it or a hook left it, not as the rules of a model change
    it. None if it was not read.
    """
    if exchange.json is not None and exchange.json.raw:
        return exchange.json.restored().raw
    return exchange.body
