"""Convert a backend's errors, in whatever dialect, to errors of the gateway."""

from __future__ import annotations

from typing import Any

import orjson

from gateway.dialects.backend_words import shown, words_in, words_of
from gateway.errors import UpstreamToldError

_STATUSES = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 502,
    "overloaded_error": 503,
    "timeout_error": 504,
}
"""Statuses of errors inside a stream, by Anthropic's error types."""
_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
}
_OWN_STATUSES = {529: 503}
"""Statuses that only one dialect uses. 529 is Anthropic's status for an overloaded server."""


def of_answer(status: int, body: bytes, endpoint: str | None = None) -> UpstreamToldError:
    """Convert an error response.

    `endpoint` is the URL of the backend, which is masked in the message.
    """
    status = _OWN_STATUSES.get(status, status)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    words = words_of(body, endpoint) or f"The model backend answered with status {status}."
    return _told(document, status, words)


def of_document(body: bytes) -> UpstreamToldError | None:
    """Convert an error in a response with a success status; None if it reports no error."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return of_event(document) if isinstance(document, dict) and is_error(document) else None


def is_error(document: dict[str, Any]) -> bool:
    """True if a document reports an error instead of a result."""
    told = document.get("error") or "error" in (document.get("type"), document.get("object"))
    return bool(told)


def concealed(error: UpstreamToldError, endpoint: str) -> UpstreamToldError:
    """Return a copy of the error without the address of the backend."""
    message = shown(error.message, endpoint) or error.message
    return UpstreamToldError(message, status=error.status, kind=error.kind, code=error.code)


def of_event(document: dict[str, Any]) -> UpstreamToldError:
    """Convert an error reported inside a stream, or in a response with a success status."""
    error = document.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    words = words_in(document) or "The model backend reported an error without a reason."
    return _told(document, _STATUSES.get(kind, 502) if isinstance(kind, str) else 502, words)


def _told(document: Any, status: int, words: str) -> UpstreamToldError:
    kind = code = None
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, dict):
            kind, code = error.get("type"), error.get("code")
    usual = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    told = kind if isinstance(kind, str) and kind not in ("error", "") else None
    return UpstreamToldError(
        words,
        status=status,
        kind=told or usual,
        code=code if isinstance(code, str) and code else told,
    )
