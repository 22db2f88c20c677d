"""Durations, sizes and shares in the form used in YAML: `30s`, `10MiB`, `20%`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, SerializationInfo, WithJsonSchema

UNITS: Mapping[str, Any] = {"units": True}
"""Context of `model_dump` that writes values as in the file, and not as plain numbers."""

_DURATION = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")
_DURATION_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SHARE_PATTERN = r"([0-9]{1,3}(?:\.[0-9]{1,3})?)%"
_SHARE = re.compile(_SHARE_PATTERN)
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB|kB|KB|MB|GB)")
_SIZE_BYTES = {
    "B": 1,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
}


def parse_duration(value: object) -> float:
    """Return the seconds of `500ms`, `30s`, `5m`, `1h` or `1d`. Raise ValueError."""
    if isinstance(value, str) and (match := _DURATION.fullmatch(value.strip())):
        return float(match[1]) * _DURATION_S[match[2]]
    raise ValueError("not a duration: write a number with its unit, such as 500ms, 30s, 5m or 1h")


def parse_size(value: object) -> int:
    """Return the bytes of `512B`, `64KiB` or `10MiB`. Raise ValueError with the accepted forms."""
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        return int(match[1]) * _SIZE_BYTES[match[2]]
    raise ValueError("not a size: write a whole number with its unit, such as 64KiB or 10MiB")


def parse_share(value: object) -> float:
    """Return a number from 0 to 1 for a text such as `20%`. Raise ValueError."""
    if isinstance(value, str) and (match := _SHARE.fullmatch(value.strip())):
        share = float(match[1]) / 100
        if share <= 1.0:
            return share
    raise ValueError("not a share: write a percentage, such as 20%")


def duration_text(seconds: float) -> str:
    """Return a duration as it is written in YAML, in the largest unit that shows it exactly."""
    if not seconds:
        return "0s"
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= length and seconds % length == 0 and (unit == "s" or seconds >= 2 * length):
            return f"{int(seconds // length)}{unit}"
    return f"{round(seconds * 1000, 6):.12g}ms"


def size_text(size_bytes: int) -> str:
    """Return a size as it is written in YAML, in the largest unit that shows it exactly."""
    for unit, length in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes and size_bytes % length == 0:
            return f"{size_bytes // length}{unit}"
    return f"{size_bytes}B"


def share_text(share: float) -> str:
    """Return a share as it is written in YAML."""
    return f"{round(share * 100, 3):g}%"


def bound_text(bound: float, written: object) -> str:
    """Return the bound of a range in units of the kind in which a value is written."""
    for parse, text in _KINDS:
        try:
            parse(written)
        except ValueError:
            continue
        return text(bound)
    return f"{bound:g}"


_KINDS: tuple[tuple[Callable[[object], float], Callable[[Any], str]], ...] = (
    (parse_duration, duration_text),
    (parse_size, size_text),
    (parse_share, share_text),
)


def _written(text: Callable[[Any], str]) -> PlainSerializer:
    """Return a serializer that writes a value by `text` if the context is `UNITS`."""

    def write(value: Any, info: SerializationInfo) -> Any:
        return text(value) if info.context is not None and "units" in info.context else value

    return PlainSerializer(write)


Share = Annotated[
    float,
    BeforeValidator(parse_share),
    _written(share_text),
    WithJsonSchema({"type": "string", "pattern": _SHARE_PATTERN}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    _written(duration_text),
    WithJsonSchema({"type": "string", "pattern": rf"^{_DURATION.pattern}$", "examples": ["30s"]}),
]
"""Time span; in seconds after validation."""

Size = Annotated[
    int,
    BeforeValidator(parse_size),
    _written(size_text),
    WithJsonSchema({"type": "string", "pattern": rf"^{_SIZE.pattern}$", "examples": ["10MiB"]}),
]
"""Amount of data; in bytes after validation."""
