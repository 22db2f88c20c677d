"""Quotas that providers report in response headers, and the pause they ask for.

Read are `Retry-After` (RFC 9110 section 10.2.3), `retry-after-ms` (Azure), `x-ratelimit-*` (OpenAI,
Azure, Groq) and `anthropic-ratelimit-*`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from gateway.upstream.provider_quota import ReportedQuota

LONGEST_PAUSE_S = 300.0
_UNTOLD_S = 1.0
"""Pause after a refusal that tells none."""
_NO_CREDENTIAL_S = 60.0
"""Pause after a refusal of the endpoint's credential, which only its owner can correct."""
_CREDENTIAL_STATUSES = (401, 402, 403)
_NUMBER = re.compile(rb"[0-9]{1,9}(?:\.[0-9]{1,9})?")
_PARTS = re.compile(rb"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|h|m|s|d)")
_UNITS_S = {b"ms": 0.001, b"s": 1.0, b"m": 60.0, b"h": 3600.0, b"d": 86400.0}
_MOST_QUOTAS = 8
RawFields = Iterable[tuple[bytes, bytes]]


def pause_after_s(status: int, fields: RawFields, now: datetime | None = None) -> float:
    """Return for how many seconds an endpoint that refused a request should be left alone."""
    told = _told_s(fields, now)
    if told is not None:
        return min(told, LONGEST_PAUSE_S)
    return _NO_CREDENTIAL_S if status in _CREDENTIAL_STATUSES else _UNTOLD_S


def used_up_s(fields: RawFields, now: datetime | None = None) -> float:
    """Return in how many seconds a quota that a response reports as used up is renewed; 0 if none
    is used up, or if the response does not tell when it is renewed.
    """
    named = {name.lower(): value for name, value in fields if b"ratelimit" in name.lower()}
    longest = 0.0
    for name, value in named.items():
        if value.strip() != b"0":
            continue
        if name.startswith(b"x-ratelimit-remaining-"):
            reset = named.get(name.replace(b"-remaining-", b"-reset-"))
        elif name.startswith(b"anthropic-ratelimit-") and name.endswith(b"-remaining"):
            reset = named.get(name.removesuffix(b"-remaining") + b"-reset")
        else:
            continue
        if reset is not None:
            longest = max(longest, _duration_s(reset.strip(), now) or 0.0)
    return min(longest, LONGEST_PAUSE_S)


def reported_quotas(fields: RawFields, now: datetime | None = None) -> list[ReportedQuota]:
    """Return the quotas that a response reports, in the form of OpenAI and Azure, or of
    Anthropic.
    """
    named = {name.lower(): value.strip() for name, value in fields if b"ratelimit" in name.lower()}
    found = []
    for name, value in named.items():
        if name.startswith(b"x-ratelimit-remaining-"):
            kind = name.removeprefix(b"x-ratelimit-remaining-")
            others = b"x-ratelimit-limit-" + kind, b"x-ratelimit-reset-" + kind
        elif name.startswith(b"anthropic-ratelimit-") and name.endswith(b"-remaining"):
            kind = name.removeprefix(b"anthropic-ratelimit-").removesuffix(b"-remaining")
            start = name.removesuffix(b"remaining")
            others = start + b"limit", start + b"reset"
        else:
            continue
        limit, reset = (named.get(other) for other in others)
        if limit is None or not (_NUMBER.fullmatch(value) and _NUMBER.fullmatch(limit)):
            continue
        reset_s = None if reset is None else _duration_s(reset, now)
        found.append(ReportedQuota(kind.decode("latin-1"), float(limit), float(value), reset_s))
    return found[:_MOST_QUOTAS]


def retry_after_s(fields: RawFields, now: datetime | None = None) -> float | None:
    """Return the pause that a response asks for, in seconds; None if it asks for none."""
    told = {name.lower(): value.strip() for name, value in fields if name[:1] in b"rR"}
    exact = told.get(b"retry-after-ms")
    if exact is not None and _NUMBER.fullmatch(exact):
        return float(exact) / 1000
    value = told.get(b"retry-after")
    return None if value is None else _duration_s(value, now)


def _told_s(fields: RawFields, now: datetime | None) -> float | None:
    fields = list(fields)
    asked = retry_after_s(fields, now)
    return asked if asked is not None else used_up_s(fields, now) or None


def _duration_s(value: bytes, now: datetime | None) -> float | None:
    """Parse a number of seconds, a duration such as 6m0s, or a date. Return seconds from now."""
    if _NUMBER.fullmatch(value):
        return float(value)
    parts = _PARTS.findall(value)
    if parts and b"".join(number + unit for number, unit in parts) == value:
        return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    text = value.decode("latin-1")
    try:
        at = datetime.fromisoformat(text) if text[:1].isdigit() else parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - (now or datetime.now(UTC))).total_seconds())
