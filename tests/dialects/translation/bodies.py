"""Bodies of requests in OpenAI's and Anthropic's dialect, and what is read from them."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from gateway.dialects.translation.conversation import Conversation
from gateway.dialects.translation.options import TranslationOptions
from tests.dialects.translation.wire import SIDES

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"\0" * 9).decode()
JPEG = base64.b64encode(b"\xff\xd8\xff\xe0" + b"\0" * 9).decode()
HI = {"role": "user", "content": "Hi"}
OPTIONS = TranslationOptions()


def read(name: str, body: dict[str, Any]) -> Conversation:
    """Read a body of this dialect."""
    return SIDES[name].read(orjson.loads(orjson.dumps(body)))


def translated(one: str, other: str, body: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return the body that a translation of this body makes."""
    return SIDES[other].write(read(one, body), TranslationOptions(**options))


def dropped(one: str, other: str, body: dict[str, Any], **options: Any) -> list[str]:
    """Return the names of the fields that a translation of this body drops."""
    asked = read(one, body)
    SIDES[other].write(asked, TranslationOptions(**options))
    return asked.dropped


def chat(*messages: Any, **fields: Any) -> dict[str, Any]:
    """Return a body for OpenAI; one message if none are given."""
    return {"model": "m", "messages": [*messages] or [HI], **fields}


def says(*messages: Any, **fields: Any) -> dict[str, Any]:
    """Return such a body for Anthropic."""
    return {**chat(*messages, **fields), "max_tokens": 100}


def history(arguments: Any, call_id: str | None = "c") -> dict[str, Any]:
    """Return a body for OpenAI whose history has a call with its result."""
    call: dict[str, Any] = {"function": {"name": "f", "arguments": arguments}}
    result: dict[str, Any] = {"role": "tool", "content": "7"}
    if call_id is not None:
        call["id"] = result["tool_call_id"] = call_id
    return chat(HI, {"role": "assistant", "content": None, "tool_calls": [call]}, result)
