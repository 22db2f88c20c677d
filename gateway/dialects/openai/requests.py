"""Read and write chat requests in OpenAI's dialect.

https://platform.openai.com/docs/api-reference/chat/create

Extensions of vLLM, SGLang and llama.cpp are supported too: top_k, min_p, repetition_penalty,
reasoning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from gateway.dialects.translation.conversation import (
    Cache,
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
from gateway.dialects.translation.history import OpenCalls, arguments_in
from gateway.dialects.translation.images import image_of
from gateway.dialects.translation.options import (
    TranslationOptions,
    effort_of,
    nearest_effort,
)
from gateway.dialects.translation.schemas import object_schema
from gateway.errors import NotTranslatable

DROPPED = (
    "metadata",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "service_tier",
    "store",
    "usage",
    "verbosity",
)
DROPPED_OF_MESSAGES = (
    "annotations",
    "name",
    "provider_specific_fields",
    "reasoning_details",
    "thinking_blocks",
)
DROPPED_OF_CALLS = ("extra_content", "provider_specific_fields")
DROPPED_OF_PARTS = ("signature",)
DROPPED_OF_IMAGES = ("detail",)
DROPPED_OF_REASONING = ("summary",)
"""Fields that are not passed on: the meaning of the answer does not depend on them."""
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
_ROLES = {
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
}
_CHOICES = {"auto": Choice.AUTO, "required": Choice.ANY, "none": Choice.NONE}
_WORDS = {choice: word for word, choice in _CHOICES.items()}


def read(document: dict[str, Any]) -> Conversation:
    """Read a request body. Raise RequestError, or its subclass NotTranslatable."""
    fields = Fields(document)
    for key, values in _NOTHING.items():
        value = fields.any(key)
        if value is not None and value not in values:
            raise fields.untranslatable(key)
    options = fields.object("stream_options")
    calls = OpenCalls()
    asked = Conversation(
        model=fields.needed("model"),
        messages=[_message(one, calls) for one in fields.objects("messages")],
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
        format=_format(fields),
        user=fields.text("user"),
        cache=fields.document("cache_control"),
        dropped=fields.dropped,
    )
    asked.user = fields.text("safety_identifier") or asked.user
    most = fields.whole("max_completion_tokens")
    asked.max_tokens = asked.max_tokens if most is None else most
    if asked.max_tokens is not None and asked.max_tokens <= 0:  # -1: unlimited, for llama.cpp
        asked.max_tokens = None
    asked.choice, asked.chosen = _choice(fields)
    _read_thinking(fields, asked)
    fields.drop(*DROPPED)
    fields.end()
    return asked


def _read_thinking(fields: Fields, asked: Conversation) -> None:
    """Read the reasoning options of OpenAI, OpenRouter, Anthropic, vLLM and Qwen."""
    if not fields:
        return
    template = fields.object("chat_template_kwargs")
    if template is not None:
        for key in ("enable_thinking", "thinking"):
            asked.thinks = _first(template.flag(key), asked.thinks)
        template.end()
    asked.thinks = _first(fields.flag("enable_thinking"), asked.thinks)
    shows = fields.flag("include_reasoning")
    reasoning = fields.object("reasoning")
    if reasoning is not None:
        asked.thinks = _first(reasoning.flag("enabled"), asked.thinks)
        asked.effort = reasoning.text("effort")
        asked.budget = reasoning.whole("max_tokens")
        hides = reasoning.flag("exclude")
        shows = _first(shows, None if hides is None else not hides)
        reasoning.drop(*DROPPED_OF_REASONING)
        reasoning.end()
    asked.include_thinking = shows is not False
    asked.effort = fields.text("reasoning_effort") or asked.effort
    thinking = fields.document("thinking")
    if thinking is not None and isinstance(thinking.get("type"), str):
        asked.thinking = thinking
        asked.thinks = thinking["type"] != "disabled"
        budget = thinking.get("budget_tokens")
        asked.budget = budget if type(budget) is int else asked.budget
    elif thinking is not None:
        raise fields.wrong("thinking", 'such as {"type": "enabled", "budget_tokens": 2048}')
    if asked.effort == "none":
        asked.effort, asked.thinks = None, False
    elif asked.thinks is None and (asked.effort is not None or asked.budget is not None):
        asked.thinks = True


def _first(one: bool | None, other: bool | None) -> bool | None:
    return other if one is None else one


def _message(fields: Fields, calls: OpenCalls) -> Message:
    role = fields.needed("role")
    if role in ("tool", "function"):
        return _result(fields, calls)
    if role not in _ROLES:
        raise fields.untranslatable(
            "role", "only system, developer, user, assistant, tool and function can"
        )
    parts: list[Part] = list(_content(fields))
    if fields:  # most messages have no other fields
        cache = fields.document("cache_control")
        thought = fields.text("reasoning_content")
        thought = fields.text("reasoning") or thought
        if thought:
            parts.insert(0, Thinking(thought))
        refusal = fields.text("refusal")
        if refusal:
            parts.append(Text(refusal))
        parts += [_call(call, calls) for call in fields.objects("tool_calls")]
        legacy = fields.object("function_call")
        if legacy is not None:
            parts.append(_function(legacy, calls, None))
            legacy.end()
        if cache is not None and not _cache_last(parts, cache):
            fields.note("cache_control")
        fields.drop(*DROPPED_OF_MESSAGES)
        fields.end()
    return Message(_ROLES[role], parts)


def _result(fields: Fields, calls: OpenCalls) -> Message:
    """Read the result of a tool call or of a legacy function call."""
    shown = [part for part in _content(fields) if isinstance(part, Shown)]
    name = fields.text("name")
    call_id = calls.answered(fields.text("tool_call_id"), name)
    if call_id is None:
        raise fields.wrong("tool_call_id", "the id of a call in a message before")
    result = ToolResult(call_id, shown, cache=fields.document("cache_control"))
    fields.drop(*DROPPED_OF_MESSAGES)
    fields.end()
    return Message(Role.USER, [result])


def _cache_last(parts: list[Part], cache: Cache) -> bool:
    """Apply a message's `cache_control` to its last part that can have one; False if none can."""
    for at in range(len(parts) - 1, -1, -1):
        part = parts[at]
        if not isinstance(part, Thinking):
            parts[at] = replace(part, cache=part.cache or cache)
            return True
    return False


def _call(fields: Fields, calls: OpenCalls) -> ToolCall:
    if (fields.text("type") or "function").lower() != "function":  # some send it in capitals
        raise fields.untranslatable("type", "only functions can")
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "there")
    call = _function(function, calls, fields.text("id"))
    fields.drop(*DROPPED_OF_CALLS)
    fields.ignore("index")
    function.end()
    fields.end()
    return call


def _function(fields: Fields, calls: OpenCalls, given: str | None) -> ToolCall:
    arguments, well = arguments_in(fields.any("arguments"))
    if not well:
        fields.note("arguments")
    call = ToolCall(calls.new_id(given), fields.needed("name"), arguments)
    calls.add(call)
    return call


def _content(fields: Fields) -> Iterator[Part]:
    content = fields.text_or_objects("content")
    if isinstance(content, str):
        if content:
            yield Text(content)
        return
    for part in content:
        kind = part.needed("type")
        cache = part.document("cache_control")
        if kind in _TEXTS:
            text = part.text(_TEXTS[kind])
            if text:
                yield Text(text, cache)
            elif cache is not None:
                part.note("cache_control")
        elif kind == "image_url":
            yield _image(part, cache)
        elif kind in ("thinking", "reasoning"):
            thought = part.any(kind) or part.any("text")
            inside = thought if isinstance(thought, list) else [thought]
            text = "".join(one if isinstance(one, str) else _text_in(one) for one in inside)
            if text:
                yield Thinking(text)
            part.ignore("closed")
        else:
            raise part.untranslatable("type", "only text and image_url can")
        part.drop(*DROPPED_OF_PARTS)
        part.end()


_TEXTS = {"text": "text", "input_text": "text", "output_text": "text", "refusal": "refusal"}
"""Types of text parts, and the member that holds the text."""


def _text_in(part: object) -> str:
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else ""


def _image(part: Fields, cache: Cache | None) -> Image | ImageUrl:
    given = part.any("image_url")
    if isinstance(given, str):
        url = given
    elif isinstance(given, dict):
        image_url = Fields(given, part.place("image_url"), part.dropped)
        url = image_url.needed("url")
        image_url.drop(*DROPPED_OF_IMAGES)
        image_url.end()
    else:
        raise part.wrong("image_url", "there")
    image = image_of(url)
    if image is None:
        raise part.wrong("image_url", "a URL, or a data URL that holds a picture in base64")
    return image if cache is None else replace(image, cache=cache)


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
        fields.document("cache_control") or function.document("cache_control"),
    )
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

STREAM_OPTIONS, EFFORT, USER = "stream_options", "reasoning_effort", "user"
MAX_TOKENS = ("max_completion_tokens", "max_tokens")
OPTIONAL = frozenset({STREAM_OPTIONS, *MAX_TOKENS, EFFORT, USER})
"""Fields that can be omitted or written differently for a backend that refuses them."""
_EFFORTS = ("none", "low", "medium", "high")
"""Effort levels that nearly every backend supports."""
_LONGEST_USER = 64
"""Maximum characters of `user`; OpenAI refuses more."""


def write(asked: Conversation, options: TranslationOptions) -> dict[str, Any]:
    """Build the request body. Raise NotTranslatable."""
    messages: list[dict[str, Any]] = []
    for message in asked.messages:
        messages += _written(message)
        if any(isinstance(part, Thinking) for part in message.parts):
            asked.drop("messages.thinking")
    body: dict[str, Any] = {"model": asked.model, "messages": messages}
    if asked.stream:
        body["stream"] = True
        if STREAM_OPTIONS not in options.refused:
            body[STREAM_OPTIONS] = {"include_usage": True}
    if asked.tools:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
        if asked.choice is Choice.NAMED:
            body["tool_choice"] = {"type": "function", "function": {"name": asked.chosen}}
        elif asked.choice is not None:
            body["tool_choice"] = _WORDS[asked.choice]
        if asked.parallel_calls is not None:
            body["parallel_tool_calls"] = asked.parallel_calls
    if asked.thinks is not None:
        effort = _effort(asked, options)
        if effort is None or EFFORT in options.refused:
            asked.drop("thinking")
        else:
            body[EFFORT] = effort
    if asked.format is not None:
        body["response_format"] = _written_format(asked.format)
    if asked.max_tokens is not None:
        body[_max_tokens_field(options)] = asked.max_tokens
    if asked.stop:
        body["stop"] = asked.stop
    if asked.user is not None and USER in options.refused:
        asked.drop(USER)
    elif asked.user is not None:
        long = len(asked.user) > _LONGEST_USER
        body[USER] = hashlib.sha256(asked.user.encode()).hexdigest() if long else asked.user
    same = ("temperature", "top_p", "top_k", "min_p", "seed")
    for key in (*same, "frequency_penalty", "presence_penalty", "repetition_penalty"):
        value = getattr(asked, key)
        if value is not None:
            body[key] = value
    if asked.messages and asked.messages[-1].role is Role.ASSISTANT:
        body |= _going_on(options)
    return body


def _max_tokens_field(options: TranslationOptions) -> str:
    field = options.max_tokens_field
    other = MAX_TOKENS[1 - MAX_TOKENS.index(field)]
    return other if field in options.refused and other not in options.refused else field


def _effort(asked: Conversation, options: TranslationOptions) -> str | None:
    """Return the effort level that the backend supports; None if no effort can be sent."""
    known = options.efforts or _EFFORTS
    if not asked.thinks:
        return "none" if "none" in known else None
    effort = asked.effort
    if effort is None and asked.budget is not None:
        effort = effort_of(asked.budget)
    return nearest_effort(effort or "medium", known)


def _going_on(options: TranslationOptions) -> dict[str, Any]:
    """Return the fields that ask the backend to continue the assistant's last message.

    Raise NotTranslatable if the backend cannot.
    """
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
        # A tool message can hold text only; its images follow in the user's message.
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
    function["parameters"] = object_schema(tool.schema)
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
