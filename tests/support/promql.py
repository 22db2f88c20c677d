"""Minimal PromQL parser that finds the metrics and labels of an expression."""

from __future__ import annotations

import re
from collections.abc import Iterator

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_RANGE = re.compile(r"\[[^\]]*\]")
_GROUPING = re.compile(
    r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", re.IGNORECASE
)
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?(\s*\()?")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
_WORDS = {
    *("by", "without", "on", "ignoring", "group_left", "group_right", "and", "or", "unless"),
    *("bool", "offset", "inf", "nan"),
}


def used(expression: str) -> Iterator[tuple[str, set[str]]]:
    """Yield each metric, with the labels in its selector."""
    text = _RANGE.sub("", _STRING.sub('""', expression))
    text = _GROUPING.sub(" ", text)
    for match in _SELECTOR.finditer(text):
        name, selector, called = match.groups()
        number = text[: match.start()][-1:].isdigit()  # 1e3, or the unit of a duration
        if called or number or name.lower() in _WORDS:
            continue
        yield name, set(_MATCHER.findall(selector or ""))


def grouped(expression: str) -> set[str]:
    """Return the labels by which an expression groups and joins."""
    text = _STRING.sub('""', expression)
    return {
        name.strip()
        for match in _GROUPING.finditer(text)
        for name in match.group(1).split(",")
        if name.strip()
    }
