"""Record of one request: caller, request, endpoint and answer.

Facts are taken when the request ends. Bodies are read, redacted and assembled later, in the thread
that writes.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.dialects import Dialect
from gateway.errors import GatewayError
from gateway.exchange import Exchange
from gateway.http.decoding import decoder
from gateway.outcome import EndReason
from gateway.prompt_audit.answer_forms import AnswerForms, assembled, of_document
from gateway.prompt_audit.redaction import RecordRedaction
from gateway.prompt_audit.shorten import MARGIN_BYTES, cut, shortened
from gateway.telemetry.captured_prompt import CapturedPrompt
from gateway.usage import Usage

VERSION = 1
STREAM_FACTOR = 16
"""Bytes of a streamed answer to keep for each byte of its text: most of an event is no text."""
_FACTS_BYTES = 1024
_ESCAPE = re.compile(r"\\u00([2-7][0-9a-fA-F])")
_TEXTS = ("text/", "application/json", "application/x-www-form-urlencoded", "application/xml")
Price = Callable[[str, str | None, Usage], tuple[float, str] | None]
"""Function that returns the cost of usage of a model, and its currency; None without a price."""


@dataclass(frozen=True, slots=True)
class RecordOptions:
    """Options of the records of one route."""

    sample: float
    """Share of requests that are recorded, from 0 to 1."""
    request: bool
    """True if bodies of requests are recorded."""
    answer: bool
    cap_bytes: int
    """Most bytes of a request, and most of an answer's text."""
    media: bool
    """True if data in base64 is recorded."""
    redaction: RecordRedaction | None
    dialect: Dialect


class AuditRecord:
    """Record of a request that has ended, until it is written."""

    def __init__(
        self, exchange: Exchange, captured: CapturedPrompt, options: RecordOptions, price: Price
    ) -> None:
        self.route = exchange.route or ""
        self.size_bytes = captured.size_bytes + _FACTS_BYTES
        self._captured = captured
        self._options = options
        self._facts = facts_of(exchange, captured, options, price)
        self._path = exchange.path
        self._is_complete = exchange.well
        self._made: dict[str, Any] | None = None

    def prepare(self) -> Awaitable[None] | None:
        """Redact the record with hooks. They need the event loop."""
        redaction = self._options.redaction
        return None if redaction is None or not redaction.hooks else self._redact(redaction)

    async def _redact(self, redaction: RecordRedaction) -> None:
        made = await asyncio.to_thread(self._document)
        try:
            await redaction.by_hooks(made)
        except Exception as exc:  # the library of a hook may raise anything
            left_out = {"left_out": f"it could not be redacted: {type(exc).__name__}"}
            made |= {name: left_out for name in ("request", "answer") if name in made}
            made.pop("reason", None)
        self._made = made

    def line(self) -> bytes:
        """Return the record as JSON."""
        made = self._document() if self._made is None else self._made
        return orjson.dumps(made, option=orjson.OPT_NON_STR_KEYS)

    def _document(self) -> dict[str, Any]:
        made = dict(self._facts)
        if "reason" in made:
            made["reason"] = self._mask(made["reason"])  # a backend's words may repeat the prompt
        if self._options.request:
            made["request"] = self._request()
        if self._options.answer:
            made["answer"] = self._answer()
        return made

    def _mask(self, text: str) -> str:
        redaction = self._options.redaction
        return text if redaction is None else redaction.mask(text)

    def _request(self) -> dict[str, Any]:
        captured = self._captured
        told: dict[str, Any] = {"content_type": captured.content_type or None}
        if captured.body is None:
            return {**told, "left_out": captured.left_out or "it was not read"}
        told["bytes"] = len(captured.body)
        body, is_cut = _decoded(captured.body, captured.coding, _most_decoded(self._options))
        made = self._body(body, captured.content_type)
        return {**told, **made, **({"truncated": True} if is_cut else {})}

    def _body(self, body: bytes, content_type: str) -> dict[str, Any]:
        """Return the body to record: the value of JSON, other text unchanged, and for binary data
        only the reason why it is left out.
        """
        options = self._options
        if not is_legible(content_type, body):
            return {"left_out": "it is no text"}
        short, is_cut = shortened(body, options.cap_bytes, media=options.media)
        if not is_cut:
            # Parsed first: escapes in the JSON would hide what has to be masked. One that is nested
            # too deeply to be written again is recorded as text.
            with contextlib.suppress(orjson.JSONDecodeError, orjson.JSONEncodeError):
                return {"body": self._masked(orjson.loads(short)), "truncated": False}
        text = _ESCAPE.sub(_unescaped, short.decode("utf-8", "replace"))
        text = self._mask(text)
        return {"body": cut(text, options.cap_bytes) if is_cut else text, "truncated": is_cut}

    def _masked(self, document: Any) -> Any:
        """Return a JSON value with masked texts. Raise JSONEncodeError if it is nested too deeply
        for a record.
        """
        text = orjson.dumps([[document]]).decode()  # it stands two levels deep
        if self._options.redaction is None:
            return document
        text = self._mask(text[2:-2])
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            return text

    def _answer(self) -> dict[str, Any]:
        captured, options = self._captured, self._options
        if captured.replays is not None:
            return {"left_out": "it is that of the request that began the stream"}
        if not captured.answer_type:
            return {"left_out": "there is none"}
        data, is_cut = captured.answer()
        told: dict[str, Any] = {
            "content_type": captured.answer_type,
            "bytes": captured.answer_bytes,
            "complete": self._is_complete,
        }
        data, was_cut = _decoded(data, captured.answer_coding, _most_decoded(options))
        is_cut = is_cut or was_cut
        try:
            if captured.is_streamed:
                return {**told, **self._streamed(data, is_cut=is_cut)}
            made = self._body(data, captured.answer_type)
            if isinstance(made.get("body"), dict):
                told |= _forms(of_document(made["body"], _as_is, options.cap_bytes))
        except (orjson.JSONEncodeError, RecursionError):
            # Too deeply nested for JSON. It is still recorded, so that nobody can evade the audit.
            text = self._mask(data[: options.cap_bytes + MARGIN_BYTES].decode("utf-8", "replace"))
            return {**told, "body": cut(text, options.cap_bytes), "truncated": True}
        made["truncated"] = made.get("truncated", False) or is_cut
        return {**told, **made}

    def _streamed(self, data: bytes, *, is_cut: bool) -> dict[str, Any]:
        """Return the forms of a streamed answer. Raise JSONEncodeError or RecursionError."""
        options = self._options
        forms = assembled(
            data,
            options.dialect,
            self._path,
            self._facts["request_id"],
            self._mask,
            options.cap_bytes,
            is_complete=self._is_complete and not is_cut,
        )
        body = None if forms.body is None else self._masked(forms.body)
        if body is not None and len(orjson.dumps(body)) > 2 * options.cap_bytes:
            body, is_cut = None, True
        return {**_forms(forms), "body": body, "truncated": is_cut or _is_cut(forms)}


def facts_of(
    exchange: Exchange, captured: CapturedPrompt, options: RecordOptions, price: Price
) -> dict[str, Any]:
    """Return the facts of a request besides its content. Unknown facts are left out."""
    duration_s = exchange.ended_at - exchange.started_at
    began_at = datetime.fromtimestamp(
        time.time() - (time.perf_counter() - exchange.started_at), UTC
    )
    failure, first_token, usage = exchange.failure, exchange.first_token_at, exchange.usage
    principal, trace, delegated = exchange.principal, exchange.trace, exchange.delegated
    cost = None
    if usage is not None:
        cost = price(exchange.served or exchange.model or "", exchange.upstream, usage)
    told: dict[str, Any] = {
        "v": VERSION,
        "time": began_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "request_id": exchange.request_id,
        "trace_id": trace and trace.id,
        "route": exchange.route,
        "method": exchange.method,
        "path": exchange.path,
        "client": exchange.client_ip,
        "principal": principal
        and known(
            {
                "subject": principal.subject,
                "provider": principal.provider,
                "tenant": principal.tenant,
                "key_id": principal.key_id,
                "team": principal.team,
                "tags": list(principal.tags) or None,
            }
        ),
        "model": exchange.model or (failure and failure.model),
        "served": exchange.served,
        "upstream": exchange.upstream,
        "endpoint": exchange.endpoint,
        "attempts": exchange.attempts or None,
        "fallbacks": list(exchange.fallbacks) or None,
        "continued": exchange.continued or None,
        "status": exchange.status,
        "verdict": verdict_of(exchange),
        "end": exchange.end_reason,
        "reason": failure and failure.reason,
        "streamed": exchange.streamed,
        "duration_ms": round(duration_s * 1e3, 3),
        "ttft_ms": first_token and round((first_token - exchange.started_at) * 1e3, 3),
        "usage": usage
        and {
            "input": usage.input,
            "output": usage.output,
            "cached": usage.cached,
            "cache_write": usage.cache_write,
            "reasoning": usage.reasoning,
            "estimated": usage.estimated,
        },
        "cost": cost and {"amount": cost[0], "currency": cost[1]},
        "cache": exchange.cache and exchange.cache.status,
        "stream": trace and trace.stream_digest,
        "replays": captured.replays,
        "copies": [{"model": model, "request_id": copy} for model, copy in captured.copies] or None,
        "bridge": (delegated and delegated.request_id) or None,
        "continues_stream": (delegated is not None and delegated.unfinished is not None) or None,
        "superseded": exchange.superseded or None,
        "sample": options.sample,
        "redacted": options.redaction is not None,
    }
    return known(told)


def verdict_of(exchange: Exchange) -> str:
    """Return `ok`, the code of the error, or the reason of another bad end."""
    if exchange.error_code is not None:
        return exchange.error_code
    if (exchange.status or 0) >= 400:
        return "backend_error"
    if exchange.end_reason is not EndReason.COMPLETE:
        return str(exchange.end_reason)
    return "ok"


def known(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that have a value."""
    return {name: value for name, value in facts.items() if value is not None}


def is_legible(content_type: str, body: bytes) -> bool:
    """Tell whether a body is text. A type that is not known is judged by the first bytes."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith(_TEXTS) or kind.endswith(("+json", "json", "+xml")):
        return True
    if kind:
        return False
    return b"\0" not in body[:1024]


def _most_decoded(options: RecordOptions) -> int:
    return options.cap_bytes * STREAM_FACTOR


def _forms(forms: AnswerForms) -> dict[str, Any]:
    return {"text": forms.text, "messages": forms.messages}


def _is_cut(forms: AnswerForms) -> bool:
    return any(part.get("truncated") for message in forms.messages for part in message["parts"])


def _decoded(data: bytes, coding: str, cap_bytes: int) -> tuple[bytes, bool]:
    """Return an answer without its content coding, and True if its end is missing."""
    pieces: list[bytes] = []
    room = cap_bytes
    try:
        decode = decoder(coding)
        if decode is None:
            return data, False
        for piece in decode.feed(data):
            pieces.append(piece[:room])
            room -= len(piece)
            if room <= 0:
                return b"".join(pieces), True
    except GatewayError:
        return b"".join(pieces), True
    return b"".join(pieces), False


def _unescaped(match: re.Match[str]) -> str:
    """Return the character of an escape, unless it has a meaning in JSON."""
    found = chr(int(match[1], 16))
    return match[0] if found in '"\\\x7f' else found


def _as_is(text: str) -> str:
    return text
