"""Content recording: prompts and answers of every dialect, redacted, truncated and converted to
OpenTelemetry's GenAI conventions.

https://github.com/open-telemetry/semantic-conventions-genai: gen-ai-input-messages.json,
gen-ai-output-messages.json and gen-ai-system-instructions.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import orjson

from gateway.telemetry.traces.answer_messages import answer_messages
from gateway.telemetry.traces.message_parts import Part, RecordedMessage, json_of
from gateway.telemetry.traces.prompt_messages import prompt_messages

PROMPT_CAP_BYTES = 256 * 1024
ANSWER_CAP_BYTES = 512 * 1024
"""Size limit of recorded bodies before truncation. It is large, as events contain little text."""
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "refusal": "content_filter",
    "failed": "error",
}
"""Finish reasons of the conventions by the dialects' words. Other words are passed on."""


class RecordedContent:
    """Buffer of one exchange's answer, up to a size limit."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add a piece of the answer."""
        room = ANSWER_CAP_BYTES - len(self.answer)
        if room > 0:
            self.answer += data[:room]


def messages(
    prompt: str,
    answer: str,
    redact: Callable[[str], str],
    cap_bytes: int,
    *,
    finish: str | None = None,
    complete: bool = True,
) -> dict[str, str]:
    """Return `input`, `output` and, if there are any, `system` instructions as JSON. Each is
    redacted before it is truncated, so that truncation cannot split a text that must be masked.

    `finish` is the finish reason, used if the recorded part of the answer does not contain it.
    `complete` is False if the answer broke off.
    """
    system, asked = prompt_messages(prompt)
    answered = answer_messages(answer)
    for message in answered:
        reason = message.finish or (finish if len(answered) == 1 else None)
        message.finish = _FINISHES.get(reason, reason) if complete and reason else None
        message.finish = message.finish or ("stop" if complete else "error")
    shaped = {
        "input": _dumped(_cut(asked, redact, cap_bytes)),
        "output": _dumped(_cut(answered, redact, cap_bytes)),
    }
    if system:
        (instructions,) = _cut([RecordedMessage("system", system)], redact, cap_bytes)
        shaped["system"] = _dumped(instructions["parts"])
    return shaped


def _dumped(value: object) -> str:
    return orjson.dumps(value).decode()


def _cut(
    found: Iterable[RecordedMessage], redact: Callable[[str], str], cap_bytes: int
) -> list[dict[str, Any]]:
    """Return the messages in the conventions' form, with at most `cap_bytes` of text in all."""
    shaped = []
    left = cap_bytes
    for message in found:
        parts = []
        for part in message.parts:
            if left <= 0:
                break
            part, used = _cut_part(part, redact, left)
            parts.append(part)
            left -= used
        one: dict[str, Any] = {"role": redact(message.role)[:64], "parts": parts}
        if message.finish is not None:
            one["finish_reason"] = redact(message.finish)[:64]
        shaped.append(one)
        if left <= 0:
            break
    return shaped


def _cut_part(part: Part, redact: Callable[[str], str], left: int) -> tuple[Part, int]:
    """Return the part with redacted, truncated text, and the bytes used of `left`."""
    shaped = {name: _redacted(value, redact) for name, value in part.items()}
    for name in ("content", "response", "arguments", "uri"):
        value = shaped.get(name)
        if value is None:
            continue
        data = (value if isinstance(value, str) else _dumped(value)).encode("utf-8", "replace")
        if len(data) > left:
            shaped[name] = data[:left].decode("utf-8", "ignore")
            shaped["truncated"] = True
        return shaped, len(data)
    return shaped, 0


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Redact a text. JSON is redacted as text, and stays JSON unless a mask breaks it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict | list):
        text = redact(_dumped(value))
        parsed = json_of(text)
        return text if parsed is None else parsed
    return value
