"""Secrets in text: found by their form, and masked, before a log line or a trace leaves."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache

from structlog.typing import EventDict

_MASK = b"***"
_SECRET_NAMES = (
    rb"ticket|token|access_token|refresh_token|id_token|client_secret|api[-_]?key|apikey|key|secret"
    rb"|(?:sentinel_)?password|passwd|sig|signature|x-amz-signature"
)
# As in a header line, a JSON object, or a printed tuple of bytes.
_SAYS = rb"(?:[\\\"']*\s*[:=]|[\\\"']+\s*,)\s*[\\\"'b]*"
# What has to be in a text, in lower case, before the pattern is worth trying; the pattern, of which
# the first group stays.
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
"""Fields that are made here, stand in the configuration, or are checked to be an id or address."""
_PLAIN = frozenset[type]({int, float, bool, type(None)})
_SHORT = 256
_CACHED = 2048
_EMAIL = r"([\w.+-]{1,64})@[\w-]{1,63}(?:\.[\w-]{1,63})+"


def mask(text: bytes) -> bytes:
    """A text in which no bearer token, key, JWT, credential header or password of a URL is left."""
    lowered = text.lower()
    for marker, pattern in _RULES:
        if marker in lowered:
            text = pattern.sub(rb"\1" + _MASK, text)
    return text


def mask_text(text: str) -> str:
    """The same, of a str."""
    return mask(text.encode("utf-8", "surrogatepass")).decode("utf-8", "surrogatepass")


_remembered = lru_cache(_CACHED)(mask_text)


def mask_event(_: object, __: str, event: EventDict) -> EventDict:
    """structlog's processor: masks every text of a line, however deep inside it."""
    for name, value in event.items():
        kind = value.__class__
        if kind in _PLAIN or name in _OURS:
            continue
        if kind is str:
            # The same paths, subjects and models come again and again: a microsecond each is saved.
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
    """For prompts and answers: masks e-mail addresses and what the operator names, too."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = [re.compile(pattern) for pattern in (_EMAIL, *patterns)]

    def __call__(self, text: str) -> str:
        """The text without what is not for everybody."""
        text = mask_text(text)
        for pattern in self._patterns:
            text = pattern.sub("***", text)
        return text
