"""Messages and their parts in the form of OpenTelemetry's GenAI conventions, from the content of a
message in any dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

MOST_MESSAGES = 10_000
"""Maximum number of messages of a prompt that are processed."""

Part = dict[str, Any]
_TEXTS = ("text", "input_text", "output_text", "summary_text", "refusal", "transcript")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class RecordedMessage:
    """A message of one role. Messages of an answer have a finish reason."""

    role: str
    parts: list[Part]
    finish: str | None = None


def parts_of(value: Any) -> list[Part]:
    """Return the parts of a message's content, in any dialect."""
    if isinstance(value, str):
        return [text_part(value)] if value else []
    if isinstance(value, list):
        return [part for one in value[:MOST_MESSAGES] for part in parts_of(one)]
    return parts_of_block(value) if isinstance(value, dict) else []


def parts_of_block(block: Mapping[str, Any]) -> list[Part]:
    """Return the parts of a content block, or of an item of the Responses API."""
    kind = block.get("type")
    if kind in ("tool_use", "server_tool_use", "function_call", "custom_tool_call"):
        arguments = block.get("input", block.get("arguments"))
        return [call_part(block.get("call_id") or block.get("id"), block.get("name"), arguments)]
    if kind == "tool_result" or (isinstance(kind, str) and kind.endswith("_call_output")):
        name = block.get("tool_use_id") or block.get("call_id")
        return [result_part(name, block.get("content", block.get("output")))]
    if kind in ("thinking", "reasoning"):
        thought = block.get("thinking") or block.get("summary") or block.get("content")
        return [_thought(text)] if (text := _plain(thought)) else []
    if isinstance(kind, str) and (medium := _medium(kind, block)) is not None:
        return [medium]
    for name in _TEXTS:
        if isinstance(value := block.get(name), str):
            return [text_part(value)] if value else []
    if "content" in block:
        return parts_of(block["content"])
    return [{"type": kind}] if isinstance(kind, str) and kind not in _TEXTS else []


def _medium(kind: str, block: Mapping[str, Any]) -> Part | None:
    """Return the part for an image, sound or document: its URI if it has one, never its bytes."""
    modality = next((one for one in ("image", "audio", "video") if one in kind), None)
    if modality is None:
        if kind not in ("file", "input_file", "document"):
            return None
        modality = "document"
    source = block.get("source") or block.get(kind) or block.get("image_url") or block
    if isinstance(source, str):
        source = {"url": source}
    if not isinstance(source, dict):
        return blob_part(modality, None)
    mime, url = source.get("media_type"), source.get("url")
    if isinstance(url, str) and not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    if isinstance(name := source.get("file_id", block.get("file_id")), str):
        return {"type": "file", "modality": modality, "file_id": name}
    if isinstance(url, str):
        mime = url[5:70].partition(";")[0].partition(",")[0]
    return blob_part(modality, mime if isinstance(mime, str) else None)


def text_part(text: str) -> Part:
    """Return the part for a text."""
    return {"type": "text", "content": text}


def _thought(text: str) -> Part:
    return {"type": "reasoning", "content": text}


def blob_part(modality: str, mime_type: str | None) -> Part:
    """Return the part for an image, sound or document, without its bytes."""
    return {
        "type": "blob",
        "modality": modality,
        "mime_type": mime_type,
        "content": "",
        "truncated": True,
    }


def call_part(call_id: Any, name: Any, arguments: Any) -> Part:
    """Return the part for a tool call. Arguments in JSON are parsed."""
    if isinstance(arguments, str):
        parsed = json_of(arguments)
        arguments = arguments if parsed is None else parsed
    return {
        "type": "tool_call",
        "id": call_id if isinstance(call_id, str) else None,
        "name": name if isinstance(name, str) else "",
        "arguments": arguments,
    }


def result_part(call_id: Any, content: Any) -> Part:
    """Return the part for the result of a tool call."""
    return {
        "type": "tool_call_response",
        "id": call_id if isinstance(call_id, str) else None,
        "response": _plain(content) or ("" if isinstance(content, str | list) else content),
    }


def thoughts_of(message: Mapping[str, Any]) -> list[Part]:
    """Return the reasoning that a message has outside its content."""
    for name in _THOUGHTS:
        if isinstance(text := message.get(name), str) and text:
            return [_thought(text)]
    return []


def calls_of(message: Mapping[str, Any]) -> list[Part]:
    """Return the tool calls of a complete message from OpenAI or Ollama."""
    calls = []
    for one in [*listed(message.get("tool_calls")), {"function": message.get("function_call")}]:
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict):
            calls.append(call_part(one.get("id"), function.get("name"), function.get("arguments")))
    return calls


def _plain(value: Any) -> str:
    """Return the text of a string, of a content block, or of a list of them."""
    if isinstance(value, str):
        return value
    return "\n".join(part["content"] for part in parts_of(value) if part.get("type") == "text")


def listed(value: Any) -> list[Any]:
    """Return a list of the JSON, up to its cap; an empty one for any other value."""
    return value[:MOST_MESSAGES] if isinstance(value, list) else []


def json_of(text: str) -> Any:
    """Return the value of a JSON text; None if it is not valid."""
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
