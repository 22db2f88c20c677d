"""Prompts and answers, where a route records them: found in bodies, redacted, cut, and put into the
shape of OpenTelemetry's GenAI conventions.

https://github.com/open-telemetry/semantic-conventions-genai, gen-ai-input-messages.json
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import orjson

PROMPT_CAP_BYTES = 256 * 1024
ANSWER_CAP_BYTES = 512 * 1024
"""Of bodies, while they are on their way to be cut: an event has little text in many bytes."""
_ENDLESS = 10_000
"""Messages of one prompt that are looked at."""

Message = tuple[str, str]
"""A role, and its text."""


class Content:
    """The answer of one exchange as it passes, up to a cap."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer = bytearray()

    def feed(self, data: bytes) -> None:
        """A piece of it."""
        room = ANSWER_CAP_BYTES - len(self.answer)
        if room > 0:
            self.answer += data[:room]


def messages(
    prompt: str, answer: str, redact: Callable[[str], str], cap_bytes: int
) -> dict[str, str]:
    """`input` and `output` as JSON: redacted first, then cut, so that nothing is cut in two that
    should have been masked.
    """
    return {
        "input": _shaped(_prompt(prompt), redact, cap_bytes),
        "output": _shaped([("assistant", _answer(answer))], redact, cap_bytes),
    }


def _shaped(found: Iterable[Message], redact: Callable[[str], str], cap_bytes: int) -> str:
    shaped = []
    left = cap_bytes
    for role, text in found:
        data = redact(text).encode("utf-8", "replace")
        part: dict[str, Any] = {
            "type": "text",
            "content": data[:left].decode("utf-8", "ignore"),
        }
        if len(data) > left:
            part["truncated"] = True
        shaped.append({"role": role, "parts": [part]})
        left -= len(data)
        if left <= 0:
            break
    return orjson.dumps(shaped).decode()


def _prompt(body: str) -> list[Message]:
    document = _parsed(body)
    if not isinstance(document, dict):
        return [("user", body)] if body else []
    found: list[Message] = []
    if system := _text(document.get("system") or document.get("instructions")):
        found.append(("system", system))
    said = document.get("messages", document.get("input", document.get("prompt")))
    if isinstance(said, list):
        for one in said[:_ENDLESS]:
            role = one.get("role") if isinstance(one, dict) else None
            found.append((role if isinstance(role, str) else "user", _text(one)))
    elif said is not None:
        found.append(("user", _text(said)))
    return found


def _text(value: Any) -> str:
    """The text in a message, a content block, or a list of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(text for one in value if (text := _text(one)))
    if isinstance(value, dict):
        return next(
            (_text(value[name]) for name in ("text", "content", "input_text") if name in value), ""
        )
    return ""


def _answer(body: str) -> str:
    """The text of an answer: one JSON document, a stream of events, or one document a line."""
    document = _parsed(body)
    if isinstance(document, dict):
        return "".join(_said(document))
    pieces: list[str] = []
    for line in body.split("\n"):
        line = line.removeprefix("data:").strip()
        if line.startswith("{") and isinstance(document := _parsed(line), dict):
            pieces += _said(document)
    return "".join(pieces)


def _said(document: dict[str, Any]) -> Iterator[str]:
    """What one document of an answer adds, in any dialect."""
    choices = document.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield _text(choice.get("delta") or choice.get("message") or choice)
    delta = document.get("delta")
    if delta is not None:  # Anthropic's text_delta; OpenAI's response.output_text.delta
        yield _text(delta)
    elif "choices" not in document and "type" in document and "content" in document:
        yield _text(document["content"])
    elif isinstance(document.get("message"), dict) and "type" not in document:
        yield _text(document["message"])
    elif isinstance(document.get("response"), str):
        yield document["response"]
    elif isinstance(document.get("output"), list):
        yield _text(document["output"])


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
