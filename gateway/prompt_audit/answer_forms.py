"""Answers in records: assembled from their events, as plain text, as messages, and in the form that
the caller's API has for an answer that is no stream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.dialects import Dialect
from gateway.dialects.translation.pieces import MessageFailed, WriterContext, whole
from gateway.errors import GatewayError
from gateway.telemetry.traces.content import messages

_ENDS_OF_RESPONSES = ("response.completed", "response.incomplete", "response.failed")


@dataclass(frozen=True, slots=True)
class AnswerForms:
    """Answer of a model."""

    text: str
    """Text of all choices."""
    messages: list[dict[str, Any]]
    """Messages in the form of OpenTelemetry's GenAI conventions, one for each choice."""
    body: dict[str, Any] | None
    """Assembled answer in the caller's API; None if it cannot be assembled."""


def assembled(
    data: bytes,
    dialect: Dialect,
    path: str,
    request_id: str,
    redact: Callable[[str], str],
    cap_bytes: int,
    *,
    is_complete: bool,
) -> AnswerForms:
    """Return the forms of a streamed answer, redacted, with `cap_bytes` of text at most.
    `is_complete` is False if the answer broke off, or its end was not kept.
    """
    found = _messages(data.decode("utf-8", "replace"), redact, cap_bytes, is_complete=is_complete)
    body = None if len(found) > 1 else _own_form(data, dialect, path, request_id)
    return AnswerForms(_text(found), found, body)


def of_document(document: Any, redact: Callable[[str], str], cap_bytes: int) -> AnswerForms:
    """Return the forms of an answer that is one JSON document, without its body."""
    try:
        text = orjson.dumps(document).decode()
    except orjson.JSONEncodeError:  # it is nested too deeply
        return AnswerForms("", [], None)
    found = _messages(text, redact, cap_bytes, is_complete=True)
    return AnswerForms(_text(found), found, None)


def _messages(
    answer: str, redact: Callable[[str], str], cap_bytes: int, *, is_complete: bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = orjson.loads(
        messages("", answer, redact, cap_bytes, complete=is_complete)["output"]
    )
    return found


def _text(found: list[dict[str, Any]]) -> str:
    return "\n".join(
        "".join(part["content"] for part in message["parts"] if part["type"] == "text")
        for message in found
    )


def _own_form(data: bytes, dialect: Dialect, path: str, request_id: str) -> dict[str, Any] | None:
    """Return the document that the API would have sent for this stream; None if it is not known."""
    if path.endswith("/responses"):
        return _last_response(data)
    backend = dialect.chat_backend
    chat = dialect.chats.get(backend.path)
    if chat is None or not path.endswith(backend.path):
        return None
    reader = backend.reader()
    try:
        pieces = [*reader.feed(data), *reader.flush()]
        # An answer that broke off is shown as far as it came.
        answer = whole(piece for piece in pieces if not isinstance(piece, MessageFailed))
        written = orjson.loads(chat.write(answer, WriterContext(request_id, time.time())))
    except (GatewayError, orjson.JSONDecodeError, orjson.JSONEncodeError, LookupError):
        return None
    return written if isinstance(written, dict) else None


def _last_response(data: bytes) -> dict[str, Any] | None:
    """Return the response in the last event of a stream of the Responses API."""
    for line in reversed(data.splitlines()):
        if not line.startswith(b"data:"):
            continue
        try:
            event = orjson.loads(line[5:])
        except orjson.JSONDecodeError:
            return None
        if isinstance(event, dict) and event.get("type") in _ENDS_OF_RESPONSES:
            response = event.get("response")
            return response if isinstance(response, dict) else None
    return None
