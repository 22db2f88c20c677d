"""Read and write requests to chat and generate in Ollama's dialect.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

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
    has_cache,
    text_of,
)
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.history import OpenCalls, arguments_in
from gateway.dialects.translation.images import signature
from gateway.dialects.translation.options import TranslationOptions
from gateway.dialects.translation.schemas import object_schema
from gateway.errors import NotTranslatable, RequestError

DROPPED = ("keep_alive", "shift", "top_logprobs", "truncate")
DROPPED_OF_OPTIONS = (
    "f16_kv",
    "low_vram",
    "main_gpu",
    "num_batch",
    "num_ctx",
    "num_gpu",
    "num_keep",
    "num_thread",
    "numa",
    "use_mlock",
    "use_mmap",
    "vocab_only",
)
"""Fields that are not passed on. How a model is loaded is decided at its backend."""
_ROLES = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}
_SAME = ("temperature", "top_p", "top_k", "min_p", "seed", "frequency_penalty", "presence_penalty")


def read_chat(document: dict[str, Any]) -> Conversation:
    """Read the body of a chat request. Raise RequestError, or its subclass NotTranslatable."""
    fields = Fields(document)
    reader = _MessageReader()
    messages = [reader.read(one) for one in fields.objects("messages")]
    if not messages:
        raise fields.untranslatable("messages", "without any it loads a model, which is no chat")
    asked = _common(fields, messages)
    asked.tools = [_tool(one) for one in fields.objects("tools")]
    fields.end()
    return asked


def read_generate(document: dict[str, Any]) -> Conversation:
    """Read the body of a generate request as a conversation with one prompt.

    Raise RequestError, or its subclass NotTranslatable.
    """
    fields = Fields(document)
    system, prompt = fields.text("system"), fields.text("prompt")
    if not prompt:
        raise fields.untranslatable("prompt", "without one it loads a model")
    messages = [Message(Role.SYSTEM, [Text(system)])] if system else []
    messages.append(Message(Role.USER, [*_images(fields), Text(prompt)]))
    for key in ("suffix", "template"):
        if fields.text(key):
            raise fields.untranslatable(key)
    if fields.flag("raw"):
        raise fields.untranslatable("raw")
    asked = _common(fields, messages)
    fields.end()
    return asked


def _common(fields: Fields, messages: list[Message]) -> Conversation:
    options = fields.object("options") or Fields({}, "options", fields.dropped)
    stream = fields.flag("stream")
    most = options.whole("num_predict")
    asked = Conversation(
        model=fields.needed("model"),
        messages=messages,
        stream=True if stream is None else stream,
        max_tokens=most if most is not None and most > 0 else None,
        stop=options.texts("stop"),
        temperature=options.number("temperature"),
        top_p=options.number("top_p"),
        top_k=options.whole("top_k"),
        min_p=options.number("min_p"),
        seed=options.whole("seed"),
        frequency_penalty=options.number("frequency_penalty"),
        presence_penalty=options.number("presence_penalty"),
        repetition_penalty=options.number("repeat_penalty"),
        dropped=fields.dropped,
    )
    think = fields.any("think")
    if think is not None:
        asked.thinks = think is not False
        asked.effort = think if isinstance(think, str) else None
    form = fields.any("format")
    if isinstance(form, dict):
        asked.format = JsonFormat(form)
    elif form == "json":
        asked.format = JsonFormat()
    elif form not in (None, ""):
        raise fields.untranslatable("format")
    if fields.flag("logprobs"):
        raise fields.untranslatable("logprobs")
    fields.drop(*DROPPED)
    options.drop(*DROPPED_OF_OPTIONS)
    options.end()
    return asked


class _MessageReader:
    """Reader for messages, in order: a result without an id belongs to an earlier call."""

    def __init__(self) -> None:
        self._calls = OpenCalls()

    def read(self, fields: Fields) -> Message:
        role = fields.needed("role")
        if role == "tool":
            parts = [*_images(fields), *_said(fields)]
            given = fields.text("tool_call_id")
            message = Message(Role.USER, [ToolResult(self._answered(fields, given), parts)])
        elif role in _ROLES:
            said: list[Part] = []
            thought = fields.text("thinking")
            if thought:
                said.append(Thinking(thought))
            said += [*_images(fields), *_said(fields)]
            calls = [self._call(call) for call in fields.objects("tool_calls")]
            message = Message(_ROLES[role], [*said, *calls])
        else:
            raise fields.untranslatable("role", "only system, user, assistant and tool can")
        fields.end()
        return message

    def _call(self, fields: Fields) -> ToolCall:
        function = fields.object("function")
        if function is None:
            raise fields.wrong("function", "there")
        arguments, well = arguments_in(function.any("arguments"))
        if not well:
            function.note("arguments")
        call_id = self._calls.new_id(fields.text("id"))
        call = ToolCall(call_id, function.needed("name"), arguments)
        self._calls.add(call)
        function.ignore("index")
        fields.ignore("type")
        function.end()
        fields.end()
        return call

    def _answered(self, fields: Fields, given: str | None) -> str:
        """Return the id of the call that a result answers: the given id, or the first of its name.

        Raise RequestError if no call matches.
        """
        name = fields.text("tool_name") or fields.text("name")
        call_id = self._calls.answered(given, name)
        if call_id is not None:
            return call_id
        raise RequestError(
            "A tool's message answers no call before it.", param=fields.place("role")
        )


def _said(fields: Fields) -> list[Shown]:
    text = fields.text("content")
    return [Text(text)] if text else []


def _images(fields: Fields) -> list[Shown]:
    return [_image(fields, data) for data in fields.texts("images")]


def _image(fields: Fields, data: str) -> Image:
    try:
        kind = signature(data)
    except ValueError:
        raise fields.wrong("images", "a list of base64 strings") from None
    if kind is not None:
        return Image(kind, data)
    raise fields.untranslatable("images", "only PNG, JPEG, GIF and WebP can")


def _tool(fields: Fields) -> Tool:
    function = fields.object("function")
    if function is None:
        raise fields.wrong("function", "there")
    fields.ignore("type")
    tool = Tool(
        function.needed("name"), function.text("description"), function.document("parameters")
    )
    function.end()
    fields.end()
    return tool


# -- writing ---------------------------------------------------------------------------------------


def write(asked: Conversation, options: TranslationOptions) -> dict[str, Any]:
    """Build a chat request body. Raise NotTranslatable."""
    if asked.choice in (Choice.ANY, Choice.NAMED):
        raise NotTranslatable("tool_choice", "no tool can be made a must")
    if asked.parallel_calls is False and asked.tools:
        raise NotTranslatable("parallel_tool_calls", "it cannot be told to call one at a time")
    body: dict[str, Any] = {
        "model": asked.model,
        "messages": _written_messages(asked.messages),
        "stream": asked.stream,
    }
    if asked.tools and asked.choice is not Choice.NONE:
        body["tools"] = [_written_tool(tool) for tool in asked.tools]
    if asked.thinks is not None:
        body["think"] = asked.thinks
    if asked.effort is not None or asked.budget is not None:
        asked.drop("thinking.effort")
    if asked.user is not None:
        asked.drop("user")
    if any(tool.strict for tool in asked.tools):
        asked.drop("tools.strict")
    if has_cache(asked):
        asked.drop("cache_control")
    if asked.format is not None:
        body["format"] = "json" if asked.format.schema is None else asked.format.schema
    settings = {key: value for key in _SAME if (value := getattr(asked, key)) is not None}
    if asked.repetition_penalty is not None:
        settings["repeat_penalty"] = asked.repetition_penalty
    if asked.max_tokens is not None:
        settings["num_predict"] = asked.max_tokens
    if asked.stop:
        settings["stop"] = asked.stop
    if settings:
        body["options"] = settings
    return body


def _written_messages(messages: list[Message]) -> list[dict[str, Any]]:
    names: dict[str, str] = {}
    written: list[dict[str, Any]] = []
    for message in messages:
        rest: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                result = _written_parts("tool", part.parts)
                result["tool_call_id"] = part.call_id
                if part.call_id in names:
                    result["tool_name"] = names[part.call_id]
                written.append(result)
                continue
            if isinstance(part, ToolCall):
                names[part.id] = part.name
            rest.append(part)
        if rest or not message.parts:
            written.append(_written_parts(message.role.value, rest))
    return written


def _written_parts(role: str, parts: Any) -> dict[str, Any]:
    if any(isinstance(part, ImageUrl) for part in parts):
        raise NotTranslatable("image_url", "it fetches no URL: send the image itself, in base64")
    message: dict[str, Any] = {"role": role, "content": text_of(parts)}
    images = [part.data for part in parts if isinstance(part, Image)]
    if images:
        message["images"] = images
    thoughts = [part.text for part in parts if isinstance(part, Thinking)]
    if thoughts:
        message["thinking"] = "".join(thoughts)
    calls = [
        {"id": part.id, "function": {"name": part.name, "arguments": orjson.loads(part.arguments)}}
        for part in parts
        if isinstance(part, ToolCall)
    ]
    if calls:
        message["tool_calls"] = calls
    return message


def _written_tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = object_schema(tool.schema)
    return {"type": "function", "function": function}
