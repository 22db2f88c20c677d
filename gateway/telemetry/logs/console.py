"""Log lines for people at a terminal: one line for each request, its status first."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

_WIDTH = 160
_PATH_WIDTH = 48
_GREEN, _YELLOW, _RED, _DIM, _PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"


def has_colours(environment: Mapping[str, str] = os.environ) -> bool:
    """True if lines are coloured: on a terminal or with FORCE_COLOR, but never with NO_COLOR
    (no-color.org). A variable that is empty counts as not set.
    """
    if environment.get("NO_COLOR"):
        return False
    return bool(environment.get("FORCE_COLOR")) or sys.stdout.isatty()


class ConsoleRenderer:
    """Last structlog processor: render an event as bytes."""

    def __init__(self, *, colours: bool) -> None:
        self._colours = colours
        self._others = structlog.dev.ConsoleRenderer(colors=colours)

    def __call__(self, logger: WrappedLogger, name: str, event: EventDict) -> bytes:
        time = event.pop("time").strftime("%H:%M:%S")
        known = {key: value for key, value in event.items() if value is not None}
        if known.get("event") == "request" and "status" in known and "exception" not in known:
            fields = {key: _printable(value) for key, value in known.items()}
            text = request_line(time, fields, colours=self._colours)
        else:
            fields = {key: _printable_lines(value) for key, value in known.items()}
            text = self._others(logger, name, {**fields, "timestamp": time})
        return text.encode("utf-8", "backslashreplace") + b"\n"


def request_line(time: str, fields: Mapping[str, Any], *, colours: bool) -> str:
    """Return the access line in at most 160 columns. The request id, the search key, is last."""
    status = int(fields["status"])
    failed = fields.get("error") is not None or fields.get("end", "complete") != "complete"
    words = [str(fields.get("method", "")), _cut(str(fields.get("path", "")), _PATH_WIDTH)]
    words += [" ".join(_facts(fields))]
    start, end = f"{time} {status} ", str(fields.get("request_id", ""))
    room = _WIDTH - len(start) - len(end) - 2
    middle = _cut("  ".join(filter(None, words)), room)
    if not colours:
        return f"{start}{middle}  {end}".rstrip()
    colour = _RED if status >= 500 or (failed and status < 400) else _GREEN
    if 400 <= status < 500:
        colour = _YELLOW
    return f"{time} {colour}{status}{_PLAIN} {middle}  {_DIM}{end}{_PLAIN}"


def _facts(fields: Mapping[str, Any]) -> list[str]:
    facts = []
    model, served = fields.get("model"), fields.get("served")
    if model is not None:
        facts.append(f"{model}→{served}" if served is not None else str(model))
    if (took := fields.get("duration_ms")) is not None:
        facts.append(_time(took))
    if (first := fields.get("ttft_ms")) is not None:
        facts.append(f"ttft {_time(first)}")
    if (read := fields.get("tokens_in")) is not None:
        facts.append(f"{read}→{fields.get('tokens_out', 0)} tokens")
    if (who := fields.get("subject") or fields.get("client")) is not None:
        facts.append(str(who))
    if (error := fields.get("error")) is not None:
        facts.append(str(error))
    if (limit := fields.get("limit")) is not None:
        facts.append(f"limit={limit}")
    if (end := fields.get("end", "complete")) not in ("complete", error):
        facts.append(str(end))
    if (reason := fields.get("reason")) is not None:
        facts.append(f"({reason})")
    return facts


def _time(milliseconds: float) -> str:
    if milliseconds < 10:
        return f"{milliseconds:.1f} ms"
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.2f} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _printable(value: object) -> object:
    """Escape control characters and line breaks, which could control a terminal."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return value.encode("unicode_escape").decode()


def _printable_lines(value: object) -> object:
    """Escape control characters, but keep the lines of a traceback."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return "\n".join(str(_printable(line)) for line in value.split("\n"))
