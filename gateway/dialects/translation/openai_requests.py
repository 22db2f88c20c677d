"""Chat requests in OpenAI's dialect: https://platform.openai.com/docs/api-reference/chat/create.

What vLLM, SGLang and llama.cpp take beyond it is read and written too: top_k, min_p,
repetition_penalty, reasoning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

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
    text_of,
)
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.options import TranslationOptions
from gateway.errors import NotTranslatable

_DROPPED = (
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "verbosity",
)
_NOTHING: Mapping[str, tuple[Any, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none",),
}
"""Fields that ask for nothing with these values, and cannot be translated with any other."""
_DATA_URL = re.compile(r"data:(image/[a-z0-9.+-]{1,64});base64,", re.IGNORECASE)
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_CHOICES = {"auto": Choice.AUTO, "required": Choice.ANY, "none": Choice.NONE}
_WORDS = {choice: word for word, choice in _CHOICES.items()}


def read(document: dict[str, Any]) -> Conversation:
    """The conversation of a body. Raise RequestError, or NotTranslatable."""
    fields = Fields(document)
    for key, values in _NOTHING.items():
        value = fields.any(key)
        if value is not None and value not in values:
            raise fields.untranslatable(key)
    options = fields.object("stream_options")
    effort = fields.text("reasoning_effort")
    asked = Conversation(
        model=fields.needed("model"),
        messages=[_message(one) for one in fields.objects("messages")],
        stream=fields.flag("stream") or False,
        include_usage=bool(options and options.flag("include_usage")),
        tools=[_tool(one) for one in fields.objects("tools")],
        parallel_calls=fields.flag("parallel_tool_calls"),
        max_tokens=fields.whole("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.whole("top_k"),
        min_p=fields.number("min_p"),
        seed=fields.whole("seed"),
        frequency_penalty=fields.number("frequency_penalty"),
        presence_penalty=fields.number("presence_penalty"),
        repetition_penalty=fields.number("repetition_penalty"),
        stop=fields.texts("stop"),
        thinks=None if effort is None else effort != "none",
        effort=None if effort == "none" else effort,
        format=_format(fields),
        user=fields.text("user"),
    )
    asked.user = fields.text("safety_identifier") or asked.user
    most = fields.whole("max_completion_tokens")
    asked.max_tokens = asked.max_tokens if most is None else most
    asked.choice, asked.chosen = _choice(fields)
    fields.drop(*_DROPPED)
    fields.end()
    return asked


def _message(fields: Fields) -> Message:
    role = fields.needed("role")
    fields.drop("name")
    if role == "tool":
        shown = [part for part in _content(fields) if isinstance(part, Shown)]
        result = ToolResult(fields.needed("tool_call_id"), shown)
        fields.end()
        return Message(Role.USER, [result])
    if role not in _ROLES:
        raise fields.untranslatable("role", "only system, developer, user, assistant and tool can")
    parts: list[Part] = []
    thought = fields.text("reasoning_content")
    thought = fields.text("reasoning") or thought
    if thought:
        parts.append(Thinking(thought))
    parts += _content(fields)
    refusal = fields.text("refusal")
    if refusal:
        parts.append(Text(refusal))
    for call in fields.objects("tool_calls"):
        parts.append(_call(call))
    fields.drop("annotations")
    fields.end()
    return Message(_ROLES[role], parts)


def _call(fields: Fields) -> ToolCall:
    if fields.text("type") not in (None, "function"):
        raise fields.untranslatable("type", "only functions can")
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "there")
    call = ToolCall(
        fields.needed("id"), function.needed("name"), function.text("arguments") or "{}"
    )
    fields.drop("index")
    function.end()
    fields.end()
    return call


def _content(fields: Fields) -> Iterator[Part]:
    content = fields.text_or_objects("content")
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for part in content:
        kind = part.needed("type")
        if kind in ("text", "refusal"):
            yield Text(part.needed(kind))
        elif kind == "image_url":
            image = part.object("image_url")
            if image is None:
                raise part.wrong("image_url", "there")
            url = image.needed("url")
            image.drop("detail")
            image.end()
            yield _image(url)
        else:
            raise part.untranslatable("type", "only text and image_url can")
        part.drop("cache_control")
        part.end()


def _image(url: str) -> Image | ImageUrl:
    match = _DATA_URL.match(url)
    if match is None:
        return ImageUrl(url)
    return Image(match[1].lower(), url[match.end() :])


def _tool(fields: Fields) -> Tool:
    if fields.text("type") not in (None, "function"):
        raise fields.untranslatable("type", "only functions can")
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "there")
    tool = Tool(
        function.needed("name"),
        function.text("description"),
        function.document("parameters"),
        function.flag("strict"),
    )
    fields.drop("cache_control")
    function.end()
    fields.end()
    return tool


def _choice(fields: Fields) -> tuple[Choice | None, str]:
    value = fields.any("tool_choice")
    if value is None:
        return None, ""
    if isinstance(value, str) and value in _CHOICES:
        return _CHOICES[value], ""
    function = value.get("function") if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str):
        return Choice.NAMED, name
    raise fields.untranslatable("tool_choice")


def _format(fields: Fields) -> JsonFormat | None:
    form = fields.object("response_format")
    if form is None:
        return None
    kind = form.needed("type")
    if kind == "text":
        return None
    if kind == "json_object":
        return JsonFormat()
    schema = form.object("json_schema") if kind == "json_schema" else None
    if schema is None:
        raise form.untranslatable("type", "only text, json_object and json_schema can")
    found = JsonFormat(
        schema.document("schema") or {}, schema.text("name") or "answer", schema.flag("strict")
    )
    schema.drop("description")
    schema.end()
    return found


# -- writing ---------------------------------------------------------------------------------------


def write(asked: Conversation, options: TranslationOptions) -> dict[str, Any]:
    """The body of a conversation. Raise NotTranslatable."""
    messages: list[dict[str, Any]] = []
    for message in asked.messages:
        messages += _written(message)
    body: dict[str, Any] = {"model": asked.model, "messages": messages}
    if asked.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
        if asked.choice is Choice.NAMED:
            body["tool_choice"] = {"type": "function", "function": {"name": asked.chosen}}
        elif asked.choice is not None:
            body["tool_choice"] = _WORDS[asked.choice]
        if asked.parallel_calls is not None:
            body["parallel_tool_calls"] = asked.parallel_calls
    if asked.thinks is not None:
        body["reasoning_effort"] = (asked.effort or "medium") if asked.thinks else "none"
    if asked.format is not None:
        body["response_format"] = _written_format(asked.format)
    if asked.max_tokens is not None:
        body["max_completion_tokens"] = asked.max_tokens
    if asked.stop:
        body["stop"] = asked.stop
    same = ("temperature", "top_p", "top_k", "min_p", "seed", "user")
    for key in (*same, "frequency_penalty", "presence_penalty", "repetition_penalty"):
        value = getattr(asked, key)
        if value is not None:
            body[key] = value
    if asked.messages and asked.messages[-1].role is Role.ASSISTANT:
        body |= _going_on(options)
    return body


def _going_on(options: TranslationOptions) -> dict[str, Any]:
    """How the backend is asked to go on with what stands in the assistant's last message."""
    if options.continues is None:
        raise NotTranslatable(
            "messages", "it ends with the assistant's, which this backend would not go on with"
        )
    if options.continues == "continue_final_message":
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {}


def _written(message: Message) -> Iterator[dict[str, Any]]:
    results = [part for part in message.parts if isinstance(part, ToolResult)]
    shown: list[Shown] = []
    for result in results:
        # A tool's message can be text only; its pictures follow in the user's.
        yield {"role": "tool", "tool_call_id": result.call_id, "content": text_of(result.parts)}
        shown += [part for part in result.parts if not isinstance(part, Text)]
    shown += [part for part in message.parts if isinstance(part, Shown)]
    calls = [part for part in message.parts if isinstance(part, ToolCall)]
    if calls:
        yield {
            "role": "assistant",
            "content": text_of(shown) or None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in calls
            ],
        }
    elif shown or not results:
        yield {"role": message.role.value, "content": _written_content(shown)}


def _written_content(parts: list[Shown]) -> Any:
    if len(parts) == 1 and isinstance(parts[0], Text):
        return parts[0].text
    return [_written_part(part) for part in parts] or ""


def _written_part(part: Shown) -> dict[str, Any]:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, ImageUrl):
        return {"type": "image_url", "image_url": {"url": part.url}}
    url = f"data:{part.media_type};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _written_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _written_format(form: JsonFormat) -> dict[str, Any]:
    if form.schema is None:
        return {"type": "json_object"}
    schema: dict[str, Any] = {"name": form.name, "schema": form.schema}
    if form.strict is not None:
        schema["strict"] = form.strict
    return {"type": "json_schema", "json_schema": schema}
