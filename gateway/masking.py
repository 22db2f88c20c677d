"""Masking of secrets in text, recognised by their form, before a log line or a trace leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # commands that mask nothing start sooner without structlog
    from structlog.typing import EventDict

_MASK = b"***"
_SECRET_NAMES = (
    rb"ticket|token|access_token|refresh_token|id_token|client_secret|api[-_]?key|apikey|key|secret"
    rb"|(?:sentinel_)?password|passwd|sig|signature|x-amz-signature"
)
# Separator between a name and its value in a header line, a JSON object or a printed tuple of
# bytes.
_SAYS = rb"(?:[\\\"']*\s*[:=]|[\\\"']+\s*,)\s*[\\\"'b]*"
# Pairs of a marker and a pattern. The pattern is tried only if the text contains the marker in
# lower case. The pattern's first group is kept.
_RULES: tuple[tuple[bytes, re.Pattern[bytes]], ...] = tuple(
    (marker, re.compile(pattern, re.IGNORECASE))
    for marker, pattern in (
        (b"bearer", rb"(\bbearer(?:\s|%20|\+)+)[\w.~+/=%-]{4,}"),
        (b"basic", rb"(\bbasic\s+)[\w+/]{6,}={0,2}"),
        (b"eyj", rb"(\b)eyJ[\w-]{8,}(?:\.[\w-]*){0,4}"),
        (b"sk-", rb"(\b)sk-[\w-]{8,}"),
        (b"gw-", rb"(\b)gw-[\w-]{8,}"),
        (b"authorization", rb"(authorization" + _SAYS + rb"(?:\w+ )?)[^\s\"'\\,;}]+"),
        (b"api-key", rb"(api-key" + _SAYS + rb")[^\s\"'\\,;}]+"),
        (b"cookie", rb"(cookie" + _SAYS + rb")[^\"'\\,}]+"),
        (b"=", rb"((?:[?&;\s\"']|\b)(?:" + _SECRET_NAMES + rb")=)[^&\s\"'\\#,;}]+"),
        (b"@", rb"(://[^/@\s\":]*:)[^/@\s\"]+(?=@)"),
    )
)
_SECRET_KEYS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "set-cookie", "x-api-key", "api-key"}
    | {"api_key", "password", "secret", "token", "ticket"}
)
_OURS = frozenset(
    {"event", "level", "request_id", "trace_id", "client", "method", "route", "upstream"}
    | {"endpoint", "end"}
)
"""Fields set by the gateway or by the configuration, or validated as an id or address."""
_PLAIN = frozenset[type]({int, float, bool, type(None)})
_SHORT = 256
_CACHED = 2048
_EMAIL = r"([\w.+-]{1,64})@[\w-]{1,63}(?:\.[\w-]{1,63})+"


def mask(text: bytes) -> bytes:
    """Mask bearer tokens, keys, JWTs, credential headers and passwords in URLs."""
    lowered = text.lower()
    for marker, pattern in _RULES:
        if marker in lowered:
            text = pattern.sub(rb"\1" + _MASK, text)
    return text


def mask_text(text: str) -> str:
    """Mask secrets as `mask` does, in a str."""
    return mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


_remembered = lru_cache(_CACHED)(mask_text)


def mask_event(_: object, __: str, event: EventDict) -> EventDict:
    """structlog processor that masks every text of an event, at any depth."""
    for name, value in event.items():
        kind = value.__class__
        if kind in _PLAIN or name in _OURS:
            continue
        if kind is str:
            # The same paths, subjects and models recur. The cache saves a microsecond for each.
            if name.lower() in _SECRET_KEYS:
                event[name] = "***"
            else:
                event[name] = _remembered(value) if len(value) <= _SHORT else mask_text(value)
        else:
            event[name] = _masked(name, value)
    return event


def _masked(name: str, value: object) -> object:
    if name.lower() in _SECRET_KEYS:
        return "***"
    if isinstance(value, str):
        return mask_text(value)
    if isinstance(value, Mapping):
        return {key: _masked(str(key), one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", one) for one in value]
    return value if isinstance(value, (int, float, type(None), datetime)) else mask_text(str(value))


class Redaction:
    """Masking for prompts and answers: also e-mail addresses and the operator's patterns."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [re.compile(pattern) for pattern in (_EMAIL, *patterns)]

    def __call__(self, text: str) -> str:
        """Return the text with secrets, e-mail addresses and the patterns' matches masked."""
        text = mask_text(text)
        for pattern in self._patterns:
            text = pattern.sub("***", text)
        return text
