"""Cache-Control of requests and responses (RFC 9111 section 5.2), as far as the cache obeys it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_DIRECTIVE = re.compile(r'([!#$%&\'*+.^_`|~0-9A-Za-z-]+)(?:[ \t]*=[ \t]*("[^"]*"|[^,\s]*))?')
_LONGEST_S = 2.0**31
"""Largest number of seconds; RFC 9111 section 1.2.2."""
_DIGITS = 10


@dataclass(frozen=True, slots=True)
class RequestDirectives:
    """Directives of a request. Ages are in seconds."""

    no_store: bool = False
    """The answer must not be stored, nor taken from the cache."""
    no_cache: bool = False
    """The answer must not come from the cache. It may be stored."""
    max_age_s: float | None = None
    """Largest age of a stored answer."""
    min_fresh_s: float = 0.0
    """Time for which a stored answer has to stay fresh."""


def request_directives(values: Iterable[str], pragma: str | None = None) -> RequestDirectives:
    """Return the directives in all Cache-Control values of a request. `pragma` is the Pragma field,
    which counts only without Cache-Control (RFC 9111 section 5.4).
    """
    found = _parsed(values)
    if not found:
        return RequestDirectives(no_cache=pragma is not None and "no-cache" in pragma.lower())
    return RequestDirectives(
        no_store="no-store" in found,
        no_cache="no-cache" in found,
        max_age_s=_seconds(found["max-age"]) if "max-age" in found else None,
        min_fresh_s=_seconds(found["min-fresh"]) if "min-fresh" in found else 0.0,
    )


def lifetime_s(
    values: Iterable[str], configured_s: float, *, is_private: bool, is_stream: bool
) -> float:
    """Return the seconds for which a response may be stored, `configured_s` at most; 0 if it must
    not be stored. `values` are those of Cache-Control. `is_private`: one caller alone gets it.

    `no-cache` of an event stream is ignored: model servers send it with every stream, for the
    proxies that would hold the stream back.
    """
    found = _parsed(values)
    if "no-store" in found or ("private" in found and not is_private):
        return 0.0
    if "no-cache" in found and not is_stream:
        return 0.0
    told = found.get("s-maxage") if "s-maxage" in found and not is_private else None
    if told is None and "max-age" in found:
        told = found["max-age"]
    return configured_s if told is None else min(configured_s, _seconds(told))


def age_s(value: str | None) -> float:
    """Return the Age of a response in seconds (RFC 9111 section 5.1); 0 without one."""
    return 0.0 if value is None else _seconds(value.strip())


def _parsed(values: Iterable[str]) -> Mapping[str, str]:
    """Return the directives by lower-case name. Of several with one name, the first counts."""
    found: dict[str, str] = {}
    for match in _DIRECTIVE.finditer(",".join(values)):
        found.setdefault(match[1].lower(), (match[2] or "").strip('"'))
    return found


def _seconds(text: str) -> float:
    """Return a number of seconds; 0 if it is malformed, so that nothing stale is used."""
    if not (text.isascii() and text.isdecimal()):
        return 0.0
    digits = text.lstrip("0")
    return _LONGEST_S if len(digits) > _DIGITS else min(float(digits or 0), _LONGEST_S)
