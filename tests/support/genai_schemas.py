"""JSON schemas for recorded content, according to OpenTelemetry's GenAI conventions.

Based on gen-ai-input-messages.json, gen-ai-output-messages.json and
gen-ai-system-instructions.json of https://github.com/open-telemetry/semantic-conventions-genai.
Those accept any object with a `type` as a part. Here, a part of a known type must match that type.
"""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

_TEXT = {"type": "string"}
_ANY: dict[str, Any] = {}
_MEDIUM = {"modality": {"enum": ["image", "video", "audio", "document"]}}
_REQUIRED: dict[str, dict[str, Any]] = {
    "text": {"content": _TEXT},
    "reasoning": {"content": _TEXT},
    "tool_call": {"name": _TEXT},
    "tool_call_response": {"response": _ANY},
    "blob": {**_MEDIUM, "content": _TEXT},
    "uri": {**_MEDIUM, "uri": _TEXT},
    "file": {**_MEDIUM, "file_id": _TEXT},
}
_PART = {
    "type": "object",
    "required": ["type"],
    "properties": {
        "type": _TEXT,
        "id": {"type": ["string", "null"]},
        "mime_type": {"type": ["string", "null"]},
    },
    "allOf": [
        {
            "if": {"properties": {"type": {"const": kind}}},
            "then": {"properties": members, "required": list(members)},
        }
        for kind, members in _REQUIRED.items()
    ],
}
_PARTS = {"type": "array", "items": _PART}


def _messages(**more: Any) -> dict[str, Any]:
    members = {"role": _TEXT, "parts": _PARTS, **more}
    message = {"type": "object", "properties": members, "required": list(members)}
    return {"type": "array", "items": message}


INPUT_MESSAGES = Draft202012Validator(_messages())
OUTPUT_MESSAGES = Draft202012Validator(_messages(finish_reason=_TEXT))
SYSTEM_INSTRUCTIONS = Draft202012Validator(_PARTS)
