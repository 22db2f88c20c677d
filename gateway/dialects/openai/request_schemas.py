"""JSON Schemas of requests in OpenAI's dialect: https://platform.openai.com/docs/api-reference

Fields that vLLM, SGLang, llama.cpp and other servers add are unknown here, and so allowed. `model`
is required by no schema: some servers take it from the path, and a route that serves models asks
for it by itself.
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
    TEXT_OR_OBJECT,
    Schema,
    chosen_by,
    maybe_list,
    maybe_number,
    maybe_whole,
    record,
    text_or_list,
)

_ROLES = ("developer", "system", "user", "assistant", "tool", "function")
_FUNCTION = record({"name": NAME, "description": MAYBE_TEXT, "parameters": MAYBE_OBJECT}, ["name"])
_SAMPLING: dict[str, Schema] = {
    "model": NAME,
    "stream": MAYBE_FLAG,
    "temperature": maybe_number(0, 2),
    "top_p": maybe_number(0, 1),
    "user": MAYBE_TEXT,
}
_COMPLETION: dict[str, Schema] = {
    **_SAMPLING,
    "stream_options": record({"include_usage": MAYBE_FLAG}, null=True),
    "n": maybe_whole(1, 128),
    "stop": text_or_list(TEXT, null=True),
    "seed": maybe_whole(),
    "presence_penalty": maybe_number(-2, 2),
    "frequency_penalty": maybe_number(-2, 2),
    "logit_bias": {
        "type": ["object", "null"],
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    },
}
_PART = chosen_by(
    "type",
    {
        "text": record({"text": TEXT}, ["text"]),
        "image_url": {
            "properties": {
                "image_url": {
                    "type": ["object", "string"],
                    "properties": {"url": TEXT, "detail": MAYBE_TEXT},
                    "required": ["url"],
                }
            },
            "required": ["image_url"],
        },
        "input_audio": record(
            {"input_audio": record({"data": TEXT, "format": TEXT}, ["data", "format"])},
            ["input_audio"],
        ),
        "file": record({"file": OBJECT}, ["file"]),
        "refusal": record({"refusal": TEXT}, ["refusal"]),
    },
    **record({"type": NAME}, ["type"]),
)
_CONTENT = text_or_list(_PART)
_TOOL_CALL = chosen_by(
    "type",
    {
        "function": record(
            {"function": record({"name": TEXT, "arguments": TEXT}, ["name", "arguments"])},
            ["function"],
        ),
        "custom": record({"custom": record({"name": TEXT, "input": TEXT}, ["name"])}, ["custom"]),
    },
    **record({"id": TEXT, "type": TEXT}, ["id"]),
)
_MESSAGE = chosen_by(
    "role",
    {
        **{
            role: {"properties": {"content": _CONTENT}, "required": ["content"]}
            for role in ("developer", "system", "user")
        },
        "assistant": {
            "properties": {
                "content": text_or_list(_PART, null=True),
                "tool_calls": maybe_list(_TOOL_CALL),
                "refusal": MAYBE_TEXT,
            },
        },
        "tool": {
            "properties": {"content": _CONTENT, "tool_call_id": TEXT},
            "required": ["content", "tool_call_id"],
        },
        "function": {"properties": {"name": TEXT}, "required": ["name"]},
    },
    **record({"role": {"enum": list(_ROLES)}, "name": MAYBE_TEXT}, ["role"]),
)
_TOOL = chosen_by(
    "type",
    {
        "function": record({"function": _FUNCTION}, ["function"]),
        "custom": record({"custom": record({"name": NAME}, ["name"])}, ["custom"]),
    },
    **record({"type": NAME}, ["type"]),
)
CHAT: dict[str, Any] = record(
    {
        **_COMPLETION,
        "messages": {"type": "array", "minItems": 1, "items": _MESSAGE},
        "max_tokens": maybe_whole(1),
        "max_completion_tokens": maybe_whole(1),
        "logprobs": MAYBE_FLAG,
        "top_logprobs": maybe_whole(0),
        "tools": maybe_list(_TOOL),
        "tool_choice": TEXT_OR_OBJECT,
        "parallel_tool_calls": MAYBE_FLAG,
        "functions": maybe_list(_FUNCTION),
        "function_call": TEXT_OR_OBJECT,
        "response_format": chosen_by(
            "type",
            {"json_schema": record({"json_schema": record({"name": TEXT})}, ["json_schema"])},
            **record({"type": NAME}, ["type"], null=True),
        ),
        "reasoning_effort": MAYBE_TEXT,
        "modalities": MAYBE_TEXTS,
        "audio": MAYBE_OBJECT,
        "prediction": MAYBE_OBJECT,
        "web_search_options": MAYBE_OBJECT,
        "metadata": MAYBE_OBJECT,
        "store": MAYBE_FLAG,
        "service_tier": MAYBE_TEXT,
        "verbosity": MAYBE_TEXT,
        "safety_identifier": MAYBE_TEXT,
        "prompt_cache_key": MAYBE_TEXT,
    },
    ["messages"],
)
_WITHOUT_PROMPT = {"if": {"not": {"required": ["prompt_embeds"]}}, "then": {"required": ["prompt"]}}
COMPLETIONS: dict[str, Any] = {
    **record(
        {
            **_COMPLETION,
            "prompt": text_or_list(
                {"type": ["string", "integer", "array"], "items": {"type": "integer"}}, null=True
            ),
            "max_tokens": maybe_whole(0),
            "best_of": maybe_whole(1),
            "echo": MAYBE_FLAG,
            "logprobs": maybe_whole(0),
            "suffix": MAYBE_TEXT,
        }
    ),
    **_WITHOUT_PROMPT,  # vLLM takes embeddings instead
}
_WITHOUT_INPUT = {"if": {"not": {"required": ["messages"]}}, "then": {"required": ["input"]}}
EMBEDDINGS: dict[str, Any] = {
    **record(
        {
            "model": NAME,
            "input": text_or_list(
                {"type": ["string", "integer", "array"], "items": {"type": "integer"}}, minItems=1
            ),
            "dimensions": maybe_whole(1),
            "encoding_format": MAYBE_TEXT,
            "user": MAYBE_TEXT,
        }
    ),
    **_WITHOUT_INPUT,  # vLLM takes a conversation instead
}
_INPUT_PART = chosen_by(
    "type",
    {
        "input_text": record({"text": TEXT}, ["text"]),
        "output_text": record({"text": TEXT}, ["text"]),
        "refusal": record({"refusal": TEXT}, ["refusal"]),
        "input_image": record({"image_url": MAYBE_TEXT, "file_id": MAYBE_TEXT}),
    },
    **record({"type": NAME}, ["type"]),
)
_INPUT_MESSAGE = record(
    {
        "role": {"enum": ["user", "assistant", "system", "developer"]},
        "content": text_or_list(_INPUT_PART),
    },
    ["role", "content"],
)
_CALL_OUTPUT = {
    "properties": {"call_id": TEXT, "output": text_or_list(OBJECT)},
    "required": ["call_id", "output"],
}
_INPUT_ITEM = {
    **record({"type": MAYBE_TEXT, "id": MAYBE_TEXT}),
    "allOf": [
        # A message may leave its type out.
        {"if": {"required": ["role"], "not": {"required": ["type"]}}, "then": _INPUT_MESSAGE},
        *chosen_by(
            "type",
            {
                "message": _INPUT_MESSAGE,
                "function_call": record(
                    {"call_id": TEXT, "name": TEXT, "arguments": TEXT},
                    ["call_id", "name", "arguments"],
                ),
                "function_call_output": _CALL_OUTPUT,
                "custom_tool_call_output": _CALL_OUTPUT,
                "item_reference": record({"id": TEXT}, ["id"]),
            },
        )["allOf"],
    ],
}
RESPONSES: dict[str, Any] = record(
    {
        **_SAMPLING,
        "input": text_or_list(_INPUT_ITEM, null=True),
        "instructions": text_or_list(OBJECT, null=True),
        "max_output_tokens": maybe_whole(1),
        "max_tool_calls": maybe_whole(1),
        "top_logprobs": maybe_whole(0, 20),
        "tools": maybe_list(
            chosen_by(
                "type",
                {
                    "function": record({"name": NAME, "parameters": MAYBE_OBJECT}, ["name"]),
                    "custom": record({"name": NAME}, ["name"]),
                },
                **record({"type": NAME}, ["type"]),
            )
        ),
        "tool_choice": TEXT_OR_OBJECT,
        "parallel_tool_calls": MAYBE_FLAG,
        "previous_response_id": MAYBE_TEXT,
        "conversation": TEXT_OR_OBJECT,
        "include": MAYBE_TEXTS,
        "reasoning": MAYBE_OBJECT,
        "text": MAYBE_OBJECT,
        "prompt": MAYBE_OBJECT,
        "truncation": MAYBE_TEXT,
        "background": MAYBE_FLAG,
        "store": MAYBE_FLAG,
        "stream_options": MAYBE_OBJECT,
        "metadata": MAYBE_OBJECT,
        "service_tier": MAYBE_TEXT,
    },
)
IMAGES: dict[str, Any] = record(
    {
        "model": MAYBE_TEXT,
        "prompt": TEXT,
        "n": maybe_whole(1, 10),
        "size": MAYBE_TEXT,
        "quality": MAYBE_TEXT,
        "response_format": MAYBE_TEXT,
        "stream": MAYBE_FLAG,
        "user": MAYBE_TEXT,
    },
    ["prompt"],
)
SPEECH: dict[str, Any] = record(
    {
        "model": NAME,
        "input": TEXT,
        "voice": TEXT_OR_OBJECT,
        "response_format": MAYBE_TEXT,
        "speed": maybe_number(0.25, 4),
    },
    ["input"],
)
SCHEMAS = {
    "/chat/completions": CHAT,
    "/completions": COMPLETIONS,
    "/embeddings": EMBEDDINGS,
    "/responses": RESPONSES,
    "/images/generations": IMAGES,
    "/audio/speech": SPEECH,
}
"""Schemas by the end of the path. An end that is also the end of another comes after it."""
