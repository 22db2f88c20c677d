"""Reference parser for event streams: WHATWG HTML sections 9.2.5 and 9.2.6, step by step.

Tests compare other parsers with it. It takes the whole stream, decodes it, and reads it character
by character.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_DIGITS = "0123456789"


@dataclass(frozen=True)
class Message:
    """Dispatched MessageEvent, with its visible fields."""

    type: str
    data: str
    last_event_id: str


@dataclass
class Reading:
    """State of a client after the last blank line of the stream."""

    messages: list[Message] = field(default_factory=list)
    last_event_id: str = ""
    reconnection_ms: int | None = None


def read(stream: bytes) -> Reading:
    """Interpret a complete stream. Lines after the last blank line are discarded."""
    reading = Reading()
    data_buffer = type_buffer = id_buffer = ""
    reconnection_ms: int | None = None
    for line in _lines(stream.decode("utf-8", "replace").removeprefix("\ufeff")):
        if line == "":
            reading.last_event_id = id_buffer
            reading.reconnection_ms = reconnection_ms
            if data_buffer != "":
                data_buffer = data_buffer.removesuffix("\n")
                name = "message" if type_buffer == "" else type_buffer
                reading.messages.append(Message(name, data_buffer, id_buffer))
            data_buffer = type_buffer = ""
            continue
        if line[0] == ":":
            continue
        name, value = line, ""
        if ":" in line:
            colon = line.index(":")
            name, value = line[:colon], line[colon + 1 :]
            if value != "" and value[0] == " ":
                value = value[1:]
        if name == "event":
            type_buffer = value
        elif name == "data":
            data_buffer += value + "\n"
        elif name == "id":
            if "\0" not in value:
                id_buffer = value
        elif name == "retry" and value != "" and all(digit in _DIGITS for digit in value):
            reconnection_ms = 0
            for digit in value:
                reconnection_ms = 10 * reconnection_ms + _DIGITS.index(digit)
    return reading


def _lines(text: str) -> list[str]:
    """Return the complete lines, which end with CR LF, LF or CR."""
    lines = []
    line = ""
    at = 0
    while at < len(text):
        if text[at] == "\r":
            lines.append(line)
            line = ""
            if at + 1 < len(text) and text[at + 1] == "\n":
                at += 1
        elif text[at] == "\n":
            lines.append(line)
            line = ""
        else:
            line += text[at]
        at += 1
    return lines
