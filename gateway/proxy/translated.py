"""Requests to an upstream of another dialect, with translation of request and response. To the
relay, the result is an ordinary response.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence

import orjson

from gateway import json_body
from gateway.dialects.refusals import FIELD_STATUSES, LONGEST_BYTES
from gateway.dialects.translation import backend_errors
from gateway.dialects.translation.pieces import (
    MessageEnd,
    MessageFailed,
    Piece,
    Skip,
    Skipped,
    StreamReader,
    StreamWriter,
    WriterContext,
)
from gateway.dialects.translation.translation import TranslatedCall, Translation
from gateway.dialects.usage_chunk import UsageFilter
from gateway.errors import (
    GatewayError,
    NotTranslatable,
    RequestError,
    UpstreamInvalidResponse,
    UpstreamToldError,
)
from gateway.exchange import Exchange
from gateway.json_body import TRANSLATED_OBJECT_US, is_heavy_to_read, is_plain
from gateway.proxy.attempt import SendOptions
from gateway.proxy.attempts import Attempts
from gateway.proxy.remade import abort_soon, head_for, made, whole
from gateway.proxy.request_head import Rewrite
from gateway.request import Request
from gateway.routing.target import Target
from gateway.upstream.endpoint import Endpoint
from gateway.upstream.response import UpstreamResponse

_MOST_FIELDS = 3
"""Maximum number of fields left out, one retry for each."""
_DROPPED = "X-Translation-Dropped"
_MOST_NAMES = 20
_ERROR_CAP_BYTES = 64 * 1024
"""Size cap of a document that came in place of a stream and may contain an error."""


async def send_translated(
    request: Request,
    target: Target,
    translation: Translation,
    body: bytes,
    send: SendOptions,
    tried: Iterable[Endpoint] = (),
) -> UpstreamResponse:
    """Send a body given in the caller's dialect, and return the response in the caller's dialect.
    Raise GatewayError; for a request that cannot be translated this is a RequestError.
    """
    call, raw = await _asked(request, target, translation, body, send, tried)
    exchange = request.exchange
    attempt = exchange.attempt
    assert attempt is not None
    _tell_dropped(exchange, call.dropped)
    try:
        response = await _answer(raw, call, translation, exchange)
    except UpstreamInvalidResponse as exc:
        attempt.lost(exc)
        raise
    except UpstreamToldError as exc:
        raise backend_errors.concealed(exc, attempt.endpoint.url) from exc
    # The endpoint's success is decided by the translated response.
    attempt.response = response
    return response


async def _asked(
    request: Request,
    target: Target,
    translation: Translation,
    body: bytes,
    send: SendOptions,
    tried: Iterable[Endpoint],
) -> tuple[TranslatedCall, UpstreamResponse]:
    """Return the call and the upstream's response to it. If the upstream rejects a field, retry
    without it or with its alternative; remember for later requests what helped.
    """
    fields, exchange = target.upstream.fields, request.exchange
    model = exchange.served or exchange.model or ""
    credential = _credential(request) if target.shows_credential else None
    lines = translation.header_lines(credential)
    refused: list[str] = []
    mark = exchange.mark()
    while True:
        known = fields.refused(model)
        call = await translated_call(request, translation, body, send, [*known, *refused])
        rewrite = Rewrite(call.path, lines)
        raw = await Attempts(request, target, call.body, send, tried, rewrite).send()
        status = raw.head.status
        if status in FIELD_STATUSES and call.fields and len(refused) < _MOST_FIELDS:
            answer = await raw.held(LONGEST_BYTES)
            field = answer and translation.refused_field(
                status, answer, call.fields, fields.taken(model)
            )
            if field and field not in refused:
                refused.append(field)
                exchange.unwind(mark)
                continue
        elif status < 400:
            fields.refuses(model, refused)
            fields.takes(model, call.fields)
        return call, raw


def _tell_dropped(exchange: Exchange, names: Sequence[str]) -> None:
    """Tell the caller, and the trace, which fields of the request were dropped."""
    if not names:
        return
    told = ", ".join(names[:_MOST_NAMES])
    headers, field = exchange.response_headers, (_DROPPED, told)
    headers.append(field)

    def forget(_: Exchange) -> None:
        """Remove the header: another model is tried, or the exchange has ended."""
        if field in headers:
            headers.remove(field)

    exchange.at_end(forget)
    if exchange.trace is not None:
        exchange.trace.event("translation_dropped", told)


async def translated_call(
    request: Request,
    translation: Translation,
    body: bytes,
    send: SendOptions,
    refused: Collection[str] = (),
) -> TranslatedCall:
    """Return the call to send to the upstream, without the fields that it has `refused`. A large
    body is translated in a helper process. Raise RequestError or Overloaded.
    """
    exchange = request.exchange
    if request.method != "POST":
        raise NotTranslatable("method", "only POST can")
    counted = exchange.tap is not None
    name = exchange.model or ""
    context = WriterContext(exchange.request_id, time.time(), model=name, counted=counted)
    path = exchange.path
    document = exchange.json.parsed_as_sent(body) if exchange.json is not None else None
    plain = document is not None or is_plain(body)
    if is_heavy_to_read(body, plain=plain, object_us=TRANSLATED_OBJECT_US):
        asked = await send.reader.offload.run(translation.ask_body, path, body, refused)
        return translation.answering(asked, context)
    if document is None:
        document = json_body.read(body, plain=plain).document
    return translation.call(path, document, context, refused)


async def _answer(
    raw: UpstreamResponse, call: TranslatedCall, translation: Translation, exchange: Exchange
) -> UpstreamResponse:
    head = raw.head
    if any(name.lower() == b"content-encoding" for name, _ in head.fields):
        raise _useless(raw, "it is compressed, which was not asked for")
    if head.status >= 400:
        status, body = translation.refusal(
            head.status, await whole(raw), exchange.request_id, exchange.backend_url or ""
        )
        return made(head, status, body)
    if head.status != 200:
        raise _useless(raw, f"status {head.status}")
    if call.reader is None or call.writer is None:
        body, skipped = call.whole(await whole(raw))
        for what in skipped:
            _count(exchange, what)
        return made(head, 200, body)
    if not head.content_type.lower().startswith(translation.backend_stream_type):
        raise await _no_stream(raw, exchange.backend_url or "")
    if call.hides_usage:
        exchange.filter = UsageFilter()
    return _Translating(raw, call.reader, call.writer, translation.stream_type, exchange).response


def _count(exchange: Exchange, what: Skip) -> None:
    """Count the pieces that the translation left out. The first of each kind adds an event to the
    trace.
    """
    if exchange.skipped is None:
        exchange.skipped = {}
    times = exchange.skipped[what] = exchange.skipped.get(what, 0) + 1
    if times == 1 and exchange.trace is not None:
        exchange.trace.event("translation_skipped", what.value)


class _Translating:
    """Sink of the upstream's response, which is the source of the caller's response."""

    def __init__(
        self,
        raw: UpstreamResponse,
        reader: StreamReader,
        writer: StreamWriter,
        content_type: bytes,
        exchange: Exchange,
    ) -> None:
        self._raw = raw
        self._exchange = exchange
        self._ended = False
        """True once the answer is complete."""
        self._reader = reader
        self._writer = writer
        self.response = UpstreamResponse(head_for(raw.head, 200, content_type, None), raw)
        raw.read_into(self)

    def feed(self, data: bytes) -> None:
        """Translate the bytes and pass them on."""
        try:
            self._pass(self._reader.feed(data))
        except orjson.JSONEncodeError:
            self._pass([MessageFailed(UpstreamInvalidResponse("nested too deeply"))])

    def finish(self, error: GatewayError | None) -> None:
        """End the caller's response: the upstream's body is complete or broke off."""
        if not self._ended:
            rest = self._reader.flush()
            if error is None or (rest and isinstance(rest[-1], MessageEnd)):
                self._pass(rest)
        if self._ended:
            error = None  # the answer was complete before the connection failed
        self.response.finish(error)  # no effect if the response has failed already

    def _pass(self, pieces: Iterable[Piece]) -> None:
        if self.response.error is not None:
            return
        said = []
        error: GatewayError | None = None
        for piece in pieces:
            if isinstance(piece, MessageFailed):
                error = piece.error
                if isinstance(error, UpstreamToldError):
                    error = backend_errors.concealed(error, self._exchange.backend_url or "")
                break
            if isinstance(piece, Skipped):
                _count(self._exchange, piece.what)
                continue
            if isinstance(piece, MessageEnd):
                self._ended = True
            try:
                said.append(self._writer.write(piece))
            except UpstreamInvalidResponse as exc:
                error = exc
                break
            except orjson.JSONEncodeError:
                error = UpstreamInvalidResponse("nested too deeply")
                break
        data = b"".join(said)
        if data:
            self.response.feed(data)
        if error is not None:
            abort_soon(self._raw)
            self.response.finish(error)


def _useless(raw: UpstreamResponse, why: str) -> UpstreamInvalidResponse:
    raw.abort()
    return UpstreamInvalidResponse(why)


async def _no_stream(raw: UpstreamResponse, endpoint: str) -> GatewayError:
    """Return the error for a response that should be a stream and is not: the backend's own error
    if the document contains one.
    """
    body = await raw.held(_ERROR_CAP_BYTES)
    told = backend_errors.of_document(body or b"")
    if told is not None:
        return backend_errors.concealed(told, endpoint)
    return _useless(raw, "no stream, which was asked for")


def _credential(request: Request) -> bytes | None:
    """Return the caller's credential, from whichever header it is in."""
    headers = request.headers
    kind, _, token = headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        token = headers.get("x-api-key") or headers.get("api-key") or ""
    # Keep the bytes as they came, even if they are not valid UTF-8.
    return token.strip().encode("utf-8", "surrogateescape") or None


async def understands(request: Request, target: Target, sending: SendOptions) -> bool:
    """Tell whether the request can be translated to the target's dialect."""
    if target.translation is None:
        return True
    try:
        await translated_call(request, target.translation, request.exchange.body or b"", sending)
    except RequestError:
        return False
    return True
