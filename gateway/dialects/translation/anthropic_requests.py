"""Requests in Anthropic's dialect: https://docs.anthropic.com/en/api/messages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from gateway.dialects.translation.conversation import (
    Choice,
    Conversation,
    Image,
    ImageUrl,
    JsonFormat,
    Message,
    Part,
    Role,
    Shown,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.translation.fields import Fields, arguments_of
from gateway.dialects.translation.options import ThinkingWord, TranslationOptions
from gateway.errors import NotTranslatable

_DROPPED = (
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
)
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_CHOICES = {
    "auto": Choice.AUTO,
    "any": Choice.ANY,
    "none": Choice.NONE,
    "tool": Choice.NAMED,
}
_WORDS = {choice: word for word, choice in _CHOICES.items()}
_BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""Tokens of thinking to an effort."""
_LEAST_BUDGET = 1024
_LAST_NAMED = "high"
"""Efforts above are not told from a budget: few backends know them."""
_HOTTEST = 1.0
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
"""What cannot stand in the id of a tool's call."""


def read(document: dict[str, Any]) -> Conversation:
    """The conversation of a body. Raise RequestError, or NotTranslatable."""
    fields = Fields(document)
    system = _parts(fields, "system")
    messages = [_message(one) for one in fields.objects("messages")]
    asked = Conversation(
        model=fields.needed("model"),
        messages=[Message(Role.SYSTEM, system), *messages] if system else messages,
        stream=fields.flag("stream") or False,
        tools=[_tool(one) for one in fields.objects("tools")],
        max_tokens=fields.whole("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        stop=fields.texts("stop_sequences"),
    )
    if asked.max_tokens is None:
        raise fields.wrong("max_tokens", "there")
    _read_thinking(fields, asked)
    _read_choice(fields, asked)
    metadata = fields.document("metadata") or {}
    user = metadata.get("user_id")
    asked.user = user if isinstance(user, str) else None
    fields.drop(*_DROPPED)
    fields.end()
    return asked


def _message(fields: Fields) -> Message:
    role = fields.needed("role")
    if role not in _ROLES:
        raise fields.untranslatable("role", "only user, assistant and system can")
    parts = _parts(fields, "content")
    fields.end()
    return Message(_ROLES[role], parts)


def _parts(fields: Fields, key: str) -> list[Part]:
    content = fields.text_or_objects(key)
    if isinstance(content, str):
        return [Text(content)] if content else []
    return [part for block in content for part in _block(block)]


def _block(fields: Fields) -> Iterator[Part]:
    kind = fields.needed("type")
    if kind == "text":
        text = fields.needed("text")
        if text:
            yield Text(text)
        fields.drop("citations")
    elif kind == "image":
        yield _image(fields)
    elif kind == "tool_use":
        arguments = fields.document("input") or {}
        call_id, name = fields.needed("id"), fields.needed("name")
        yield ToolCall(call_id, name, orjson.dumps(arguments).decode())
        fields.drop("caller")
    elif kind == "tool_result":
        yield _result(fields)
    elif kind == "thinking":
        thought = fields.text("thinking")
        if thought:
            yield Thinking(thought)
        fields.drop("signature")
    elif kind == "redacted_thinking":
        fields.drop("data")
    else:
        raise fields.untranslatable(
            "type", "only text, image, tool_use, tool_result and thinking can"
        )
    fields.drop("cache_control")
    fields.end()


def _image(fields: Fields) -> Image | ImageUrl:
    source = fields.object("source")
    if source is None:
        raise fields.wrong("source", "there")
    kind = source.needed("type")
    image: Image | ImageUrl
    if kind == "base64":
        image = Image(source.needed("media_type"), source.needed("data"))
    elif kind == "url":
        image = ImageUrl(source.needed("url"))
    else:
        raise source.untranslatable("type", "only base64 and url can")
    source.end()
    return image


def _result(fields: Fields) -> ToolResult:
    parts = _parts(fields, "content")
    if not all(isinstance(part, Shown) for part in parts):
        raise fields.untranslatable("content", "only text and images can")
    shown = [part for part in parts if isinstance(part, Shown)]
    return ToolResult(fields.needed("tool_use_id"), shown, fields.flag("is_error") or False)


def _tool(fields: Fields) -> Tool:
    if fields.text("type") not in (None, "custom"):
        raise fields.untranslatable("type", "only tools of the caller's own can")
    tool = Tool(
        fields.needed("name"),
        fields.text("description"),
        fields.document("input_schema"),
        fields.flag("strict"),
    )
    fields.drop(
        "cache_control",
        "eager_input_streaming",
        "input_examples",
        "allowed_callers",
        "defer_loading",
    )
    fields.end()
    return tool


def _read_choice(fields: Fields, asked: Conversation) -> None:
    choice = fields.object("tool_choice")
    if choice is None:
        return
    kind = choice.needed("type")
    if kind not in _CHOICES:
        raise choice.untranslatable("type")
    asked.choice = _CHOICES[kind]
    if asked.choice is Choice.NAMED:
        asked.chosen = choice.needed("name")
    alone = choice.flag("disable_parallel_tool_use")
    asked.parallel_calls = None if alone is None else not alone
    choice.end()


def _read_thinking(fields: Fields, asked: Conversation) -> None:
    thinking = fields.object("thinking")
    if thinking is not None:
        kind = thinking.needed("type")
        if kind not in ("enabled", "adaptive", "disabled"):
            raise thinking.untranslatable("type", "only enabled, adaptive and disabled can")
        asked.thinks = kind != "disabled"
        budget = thinking.whole("budget_tokens")
        if budget is not None and asked.thinks:
            fitting = [word for word, tokens in _BUDGETS.items() if tokens <= budget]
            word = fitting[-1] if fitting else "minimal"
            asked.effort = _LAST_NAMED if _BUDGETS[word] > _BUDGETS[_LAST_NAMED] else word
        thinking.drop("display")
        thinking.end()
    config = fields.object("output_config")
    if config is None:
        return
    asked.effort = config.text("effort") or asked.effort
    form = config.object("format")
    if form is not None:
        if form.needed("type") != "json_schema":
            raise form.untranslatable("type", "only json_schema can")
        asked.format = JsonFormat(form.document("schema") or {})
        form.end()
    config.end()


# -- writing ---------------------------------------------------------------------------------------


def write(asked: Conversation, options: TranslationOptions) -> dict[str, Any]:
    """The body of a conversation. Raise NotTranslatable."""
    if asked.seed is not None:
        raise NotTranslatable("seed")
    for key in ("min_p", "frequency_penalty", "presence_penalty"):
        if getattr(asked, key):
            raise NotTranslatable(key)
    if asked.repetition_penalty not in (None, 1):
        raise NotTranslatable("repetition_penalty")
    if asked.temperature is not None and asked.temperature > _HOTTEST:
        raise NotTranslatable("temperature", "it takes 0 to 1")
    body: dict[str, Any] = {
        "model": asked.model,
        "max_tokens": options.max_tokens if asked.max_tokens is None else asked.max_tokens,
        "messages": _written_messages(asked.messages),
    }
    system = [
        {"type": "text", "text": part.text}
        for message in asked.messages
        if message.role is Role.SYSTEM
        for part in message.parts
        if isinstance(part, Text)
    ]
    if system:
        body["system"] = system[0]["text"] if len(system) == 1 else system
    if asked.stream:
        body["stream"] = True
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
        choice = _written_choice(asked)
        if choice is not None:
            body["tool_choice"] = choice
    body |= _thinking(asked, body["max_tokens"], options)
    if asked.format is not None:
        if asked.format.schema is None:
            raise NotTranslatable("response_format", "it needs a json_schema")
        form = {"type": "json_schema", "schema": asked.format.schema}
        body["output_config"] = {**body.get("output_config", {}), "format": form}
    if asked.stop:
        body["stop_sequences"] = asked.stop
    for key in ("temperature", "top_p", "top_k"):
        value = getattr(asked, key)
        if value is not None:
            body[key] = value
    if asked.user is not None:
        body["metadata"] = {"user_id": asked.user}
    return body


def _written_messages(messages: list[Message]) -> list[dict[str, Any]]:
    """Turns, each of all there is of it in a row: the results of tools have to stand together."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            continue
        blocks = [block for part in message.parts if (block := _written_part(part)) is not None]
        if not blocks:
            continue
        if turns and turns[-1]["role"] == message.role.value:
            turns[-1]["content"] += blocks
        else:
            turns.append({"role": message.role.value, "content": blocks})
    if turns and turns[-1]["role"] == "assistant":
        last = turns[-1]["content"][-1]
        if last["type"] == "text":
            # White space at the end of what is to be gone on with is refused.
            last["text"] = last["text"].rstrip()
            if not last["text"]:
                turns[-1]["content"].pop()
                if not turns[-1]["content"]:
                    turns.pop()
    for turn in turns:
        content = turn["content"]
        if len(content) == 1 and content[0]["type"] == "text":
            turn["content"] = content[0]["text"]
    return turns


def _written_part(part: Part) -> dict[str, Any] | None:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Image(media_type, data):
            source = {"type": "base64", "media_type": media_type, "data": data}
            return {"type": "image", "source": source}
        case ImageUrl(url):
            return {"type": "image", "source": {"type": "url", "url": url}}
        case ToolCall(call_id, name, arguments):
            call_id = _FOREIGN.sub("_", call_id)
            return {
                "type": "tool_use",
                "id": call_id,
                "name": name,
                "input": arguments_of(arguments),
            }
        case ToolResult(call_id, parts, failed):
            blocks = [_written_part(one) for one in parts]
            result: dict[str, Any] = {
                "type": "tool_result",
                "tool_use_id": _FOREIGN.sub("_", call_id),
            }
            if blocks:
                result["content"] = blocks
            if len(parts) == 1 and isinstance(parts[0], Text):
                result["content"] = parts[0].text
            if failed:
                result["is_error"] = True
            return result
        case Thinking():
            return None  # nobody but Anthropic could have signed it


def _written_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": tool.name,
        "input_schema": tool.schema or {"type": "object", "properties": {}},
    }
    if tool.description is not None:
        written["description"] = tool.description
    if tool.strict:
        written["strict"] = True
    return written


def _written_choice(asked: Conversation) -> dict[str, Any] | None:
    if asked.choice is None and asked.parallel_calls is not False:
        return None
    written: dict[str, Any] = {"type": _WORDS[asked.choice or Choice.AUTO]}
    if asked.choice is Choice.NAMED:
        written["name"] = asked.chosen
    if asked.parallel_calls is False and asked.choice is not Choice.NONE:
        written["disable_parallel_tool_use"] = True
    return written


def _thinking(asked: Conversation, most: int, options: TranslationOptions) -> dict[str, Any]:
    if asked.thinks is None:
        return {}
    if not asked.thinks:
        return {"thinking": {"type": "disabled"}}
    effort = "low" if asked.effort == "minimal" else asked.effort
    if options.thinking is ThinkingWord.ADAPTIVE:
        config = {} if effort is None else {"output_config": {"effort": effort}}
        return {"thinking": {"type": "adaptive"}, **config}
    budget = min(_BUDGETS.get(asked.effort or "medium", _BUDGETS["medium"]), most - 1)
    last = asked.messages[-1].parts if asked.messages else ()
    if budget < _LEAST_BUDGET or any(isinstance(part, ToolResult) for part in last):
        # There is no room for it; or the turn has begun with thoughts that callers cannot show.
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
