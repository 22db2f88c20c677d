"""Recorded prompts in any dialect: system instructions and the conversation."""

from __future__ import annotations

from typing import Any

from gateway.telemetry.traces.message_parts import (
    MOST_MESSAGES,
    Part,
    RecordedMessage,
    blob_part,
    calls_of,
    json_of,
    listed,
    parts_of,
    result_part,
    text_part,
    thoughts_of,
)


def prompt_messages(body: str) -> tuple[list[Part], list[RecordedMessage]]:
    """Return the separate system instructions, and the conversation."""
    document = json_of(body)
    if not isinstance(document, dict):
        return [], [RecordedMessage("user", [text_part(body)])] if body else []
    system = parts_of(document.get("system") or document.get("instructions"))
    prompt = document.get("messages", document.get("input", document.get("prompt")))
    if isinstance(prompt, list):
        return system, [_asked(one) for one in prompt[:MOST_MESSAGES]]
    return system, [] if prompt is None else [RecordedMessage("user", parts_of(prompt))]


def _asked(one: Any) -> RecordedMessage:
    """Return the message for a prompt's message or an item of the Responses API."""
    if not isinstance(one, dict):
        return RecordedMessage("user", parts_of(one))
    role = one.get("role")
    if not isinstance(role, str):
        role = _role_of(one.get("type"))
        return RecordedMessage(role, parts_of(one))
    if role in ("tool", "function"):
        name = one.get("tool_call_id") or one.get("tool_name") or one.get("name")
        return RecordedMessage("tool", [result_part(name, one.get("content"))])
    parts = [*thoughts_of(one), *parts_of(one.get("content")), *calls_of(one)]
    parts += [blob_part("image", None) for _ in listed(one.get("images"))]
    if role == "user" and parts and all(one["type"] == "tool_call_response" for one in parts):
        role = "tool"  # Anthropic sends tool results with the role user
    return RecordedMessage(role, parts)


def _role_of(kind: Any) -> str:
    """Return the role of an item that has none, by its type."""
    if not isinstance(kind, str):
        return "user"
    if kind.endswith("_call_output"):
        return "tool"
    return "assistant" if kind.endswith("_call") or kind == "reasoning" else "user"
