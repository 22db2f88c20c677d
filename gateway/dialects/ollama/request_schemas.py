"""JSON Schemas of requests in Ollama's dialect:
https://github.com/ollama/ollama/blob/main/docs/api.md

Ollama reads a conversation without messages, and a prompt that is missing, as the wish to load the
model, so hardly a field is required.
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

_OPTIONS = record(
    {
        **dict.fromkeys(("num_ctx", "num_predict", "num_keep", "seed", "top_k"), maybe_whole()),
        **dict.fromkeys(
            ("temperature", "top_p", "min_p", "typical_p", "repeat_penalty"), maybe_number()
        ),
        "stop": text_or_list(TEXT, null=True),
    },
    null=True,
)
_LOADING: dict[str, Schema] = {
    "model": NAME,
    "options": _OPTIONS,
    "keep_alive": {"type": ["string", "number", "null"]},
}
_GENERATING: dict[str, Schema] = {
    **_LOADING,
    "stream": MAYBE_FLAG,
    "format": {"type": ["string", "object", "null"]},
    "think": {"type": ["boolean", "string", "null"]},
    "logprobs": MAYBE_FLAG,
    "top_logprobs": maybe_whole(0),
}
_CALL = record(
    {"function": record({"name": TEXT, "arguments": MAYBE_OBJECT}, ["name"])}, ["function"]
)
_MESSAGE = record(
    {
        "role": NAME,
        "content": MAYBE_TEXT,
        "thinking": MAYBE_TEXT,
        "images": MAYBE_TEXTS,
        "tool_calls": maybe_list(_CALL),
        "tool_name": MAYBE_TEXT,
    },
    ["role"],
)
_TOOL = chosen_by(
    "type",
    {"function": record({"function": record({"name": NAME}, ["name"])}, ["function"])},
    **record({"type": MAYBE_TEXT, "function": OBJECT}),
)
CHAT: dict[str, Any] = record(
    {**_GENERATING, "messages": maybe_list(_MESSAGE), "tools": maybe_list(_TOOL)}
)
GENERATE: dict[str, Any] = record(
    {
        **_GENERATING,
        "prompt": MAYBE_TEXT,
        "suffix": MAYBE_TEXT,
        "system": MAYBE_TEXT,
        "template": MAYBE_TEXT,
        "context": maybe_list({"type": "integer"}),
        "images": MAYBE_TEXTS,
        "raw": MAYBE_FLAG,
    }
)
EMBED: dict[str, Any] = record(
    {
        **_LOADING,
        "input": text_or_list(TEXT),
        "truncate": MAYBE_FLAG,
        "dimensions": maybe_whole(0),
    },
    ["input"],
)
EMBEDDINGS: dict[str, Any] = record({**_LOADING, "prompt": MAYBE_TEXT})
SCHEMAS: dict[str, dict[str, Any]] = {
    "/chat": CHAT,
    "/generate": GENERATE,
    "/embed": EMBED,
    "/embeddings": EMBEDDINGS,
}
"""Schemas by the end of the path."""
