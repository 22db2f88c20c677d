"""Errors as backends tell them, in whatever dialect, as errors of the gateway's."""

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
"""Of errors inside a stream, by Anthropic's types."""
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
"""Statuses that only one dialect knows: 529 is Anthropic's for being overloaded."""


def of_answer(status: int, body: bytes, endpoint: str | None = None) -> UpstreamToldError:
    """The error of an error response. `endpoint` is the URL of who answered: it is not shown."""
    status = _OWN_STATUSES.get(status, status)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    words = words_of(body, endpoint) or f"The model backend answered with status {status}."
    return _told(document, status, words)


def of_document(body: bytes) -> UpstreamToldError | None:
    """The error that a document tells whose status says that all is well; None: it tells none."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return of_event(document) if isinstance(document, dict) and is_error(document) else None


def is_error(document: dict[str, Any]) -> bool:
    """Whether a document tells an error, and no answer."""
    told = document.get("error") or "error" in (document.get("type"), document.get("object"))
    return bool(told)


def concealed(error: UpstreamToldError, endpoint: str) -> UpstreamToldError:
    """The error without the address of who told it."""
    message = shown(error.message, endpoint) or error.message
    return UpstreamToldError(message, status=error.status, kind=error.kind, code=error.code)


def of_event(document: dict[str, Any]) -> UpstreamToldError:
    """The error told inside a stream, or with a status that says all is well."""
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
