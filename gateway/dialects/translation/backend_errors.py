"""Errors as backends tell them, in whatever dialect, as errors of the gateway's."""

from __future__ import annotations

from typing import Any

import orjson

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
_LONGEST = 4096


def of_answer(status: int, body: bytes) -> UpstreamToldError:
    """The error of an error response."""
    status = _OWN_STATUSES.get(status, status)
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    return _told(document, status)


def of_event(document: dict[str, Any]) -> UpstreamToldError:
    """The error told inside a stream, or with a status that says all is well."""
    error = document.get("error")
    kind = error.get("type") if isinstance(error, dict) else None
    return _told(document, _STATUSES.get(kind, 502) if isinstance(kind, str) else 502)


def _told(document: Any, status: int) -> UpstreamToldError:
    message = kind = code = None
    if isinstance(document, dict):
        error = document.get("error", document)
        if isinstance(error, dict):
            # FastAPI, and so vLLM and SGLang where they did not mean to refuse: `detail`.
            message = error.get("message") or error.get("detail")
            kind, code = error.get("type"), error.get("code")
        else:
            message = error
    usual = _KINDS.get(status, "api_error" if status >= 500 else "invalid_request_error")
    told = kind if isinstance(kind, str) and kind not in ("error", "") else None
    return UpstreamToldError(
        message[:_LONGEST] if isinstance(message, str) and message else None,
        status=status,
        kind=told or usual,
        code=code if isinstance(code, str) and code else told,
    )
