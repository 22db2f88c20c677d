"""JSON Schemas of requests in Anthropic's dialect: https://docs.anthropic.com/en/api/messages

`model` is required by no schema: Vertex and Bedrock take it from the path, and a route that serves
models asks for it by itself.
"""

from __future__ import annotations

from typing import Any

from gateway.dialects.json_schema import (
    MAYBE_FLAG,
    MAYBE_OBJECT,
    MAYBE_TEXT,
    MAYBE_TEXTS,
    NAME,
    OBJECT,
    TEXT,
    Schema,
    chosen_by,
    maybe_list,
    maybe_number,
    maybe_whole,
    record,
    text_or_list,
)

_SOURCE = {"properties": {"source": record({"type": NAME}, ["type"])}, "required": ["source"]}
_TEXT_BLOCK = record({"text": TEXT}, ["text"])
_BLOCK = chosen_by(
    "type",
    {
        "text": _TEXT_BLOCK,
        "image": _SOURCE,
        "document": _SOURCE,
        "tool_use": record({"id": TEXT, "name": TEXT, "input": OBJECT}, ["id", "name", "input"]),
        "tool_result": record(
            {
                "tool_use_id": TEXT,
                "content": text_or_list(OBJECT, null=True),
                "is_error": MAYBE_FLAG,
            },
            ["tool_use_id"],
        ),
        "thinking": record({"thinking": TEXT, "signature": TEXT}, ["thinking", "signature"]),
        "redacted_thinking": record({"data": TEXT}, ["data"]),
    },
    **record({"type": NAME}, ["type"]),
)
_MESSAGE = record(
    {"role": {"enum": ["user", "assistant", "system"]}, "content": text_or_list(_BLOCK)},
    ["role", "content"],
)
_CUSTOM_TOOL = {"properties": {"input_schema": OBJECT}, "required": ["input_schema"]}
_TOOL = {
    **record({"type": MAYBE_TEXT, "name": TEXT, "description": MAYBE_TEXT}),
    "allOf": [
        # The tools of Anthropic's own have a type and no schema.
        {"if": {"not": {"required": ["type"]}}, "then": _CUSTOM_TOOL},
        {
            "if": {"properties": {"type": {"enum": ["custom", None]}}},
            "then": record({"name": NAME}, ["name"]),
        },
    ],
}
_CONVERSATION: dict[str, Schema] = {
    "model": NAME,
    "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
    "system": text_or_list(
        chosen_by("type", {"text": _TEXT_BLOCK}, **record({"type": NAME}, ["type"])), null=True
    ),
    "tools": maybe_list(_TOOL),
    "tool_choice": record({"type": NAME}, ["type"], null=True),
    "thinking": chosen_by(
        "type",
        {"enabled": record({"budget_tokens": {"type": "integer", "minimum": 1}})},
        **record({"type": NAME}, ["type"], null=True),
    ),
}
MESSAGES: dict[str, Any] = record(
    {
        **_CONVERSATION,
        "max_tokens": {"type": "integer", "minimum": 0},
        "stream": MAYBE_FLAG,
        "temperature": maybe_number(0, 1),
        "top_p": maybe_number(0, 1),
        "top_k": maybe_whole(0),
        "stop_sequences": MAYBE_TEXTS,
        "metadata": MAYBE_OBJECT,
        "service_tier": MAYBE_TEXT,
        "mcp_servers": maybe_list(OBJECT),
    },
    ["messages", "max_tokens"],
)
COUNT_TOKENS: dict[str, Any] = record(_CONVERSATION, ["messages"])
SCHEMAS = {"/messages/count_tokens": COUNT_TOKENS, "/messages": MESSAGES}
"""Schemas by the end of the path."""
