"""Read and write requests in Anthropic's dialect: https://docs.anthropic.com/en/api/messages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import orjson

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
)
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.history import arguments_in
from gateway.dialects.translation.images import media_type
from gateway.dialects.translation.options import (
    ThinkingWord,
    TranslationOptions,
    budget_of,
    effort_of,
    nearest_effort,
)
from gateway.dialects.translation.schemas import object_schema
from gateway.errors import NotTranslatable

DROPPED = (
    "cache_control",
    "context_management",
    "diagnostics",
    "inference_geo",
    "service_tier",
    "speed",
    "user_profile_id",
    "workspace_id",
)
DROPPED_OF_BLOCKS = ("cache_control", "caller", "citations", "data", "signature")
DROPPED_OF_TOOLS = (
    "allowed_callers",
    "cache_control",
    "defer_loading",
    "eager_input_streaming",
    "input_examples",
)
DROPPED_OF_THINKING = ("display",)
"""Fields that are not passed on: the meaning of the answer does not depend on them."""
_ROLES = {"user": Role.USER, "assistant": Role.ASSISTANT, "system": Role.SYSTEM}
_CHOICES = {
    "auto": Choice.AUTO,
    "any": Choice.ANY,
    "none": Choice.NONE,
    "tool": Choice.NAMED,
}
_WORDS = {choice: word for word, choice in _CHOICES.items()}
_LEAST_BUDGET = 1024
_EFFORTS = ("low", "medium", "high", "xhigh", "max")
_HOTTEST = 1.0
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
"""Characters that Anthropic forbids in the id and name of a tool call."""
_LONGEST_NAME = 128
_NO_RESULT = "There is no result of this call."
_EMPTY_RESULT = "A tool returned nothing."
_LONGEST_USER = 256
_MOST_CACHES = 4
"""Maximum number of `cache_control` members in one request; Anthropic refuses more."""


def read(document: dict[str, Any]) -> Conversation:
    """Read a request body. Raise RequestError, or its subclass NotTranslatable."""
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
        dropped=fields.dropped,
    )
    if asked.max_tokens is None:
        raise fields.wrong("max_tokens", "there")
    _read_thinking(fields, asked)
    _read_choice(fields, asked)
    metadata = fields.document("metadata") or {}
    user = metadata.get("user_id")
    asked.user = user if isinstance(user, str) else None
    fields.drop(*DROPPED)
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
        text = fields.text("text")
        if text:
            yield Text(text)
    elif kind == "image":
        yield _image(fields)
    elif kind == "tool_use":
        arguments, well = arguments_in(fields.any("input"))
        if not well:
            fields.note("input")
        call_id, name = fields.needed("id"), fields.needed("name")
        yield ToolCall(call_id, name, arguments)
    elif kind == "tool_result":
        yield _result(fields)
    elif kind == "thinking":
        thought = fields.text("thinking")
        if thought:
            yield Thinking(thought)
    elif kind != "redacted_thinking":
        raise fields.untranslatable(
            "type", "only text, image, tool_use, tool_result and thinking can"
        )
    fields.drop(*DROPPED_OF_BLOCKS)
    fields.end()


def _image(fields: Fields) -> Image | ImageUrl:
    source = fields.object("source")
    if source is None:
        raise fields.wrong("source", "there")
    kind = source.needed("type")
    image: Image | ImageUrl
    if kind == "base64":
        image = Image(media_type(source.needed("media_type")), source.needed("data"))
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
    fields.drop(*DROPPED_OF_TOOLS)
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
            asked.budget, asked.effort = budget, effort_of(budget)
        thinking.drop(*DROPPED_OF_THINKING)
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
    """Build the request body. Raise NotTranslatable."""
    if asked.seed is not None:
        raise NotTranslatable("seed")
    for key in ("min_p", "frequency_penalty", "presence_penalty"):
        if getattr(asked, key):
            raise NotTranslatable(key)
    if asked.repetition_penalty not in (None, 1):
        raise NotTranslatable("repetition_penalty")
    if asked.temperature is not None and asked.temperature > _HOTTEST:
        raise NotTranslatable("temperature", "it takes 0 to 1")
    writer = _Writer(asked)
    tools, system = writer.tools(), writer.system()  # same order as Anthropic's cache
    body: dict[str, Any] = {
        "model": asked.model,
        "max_tokens": _most(asked, options),
        "messages": writer.messages(),
    }
    writer.trim_caches(_MOST_CACHES if asked.cache is None else _MOST_CACHES - 1)
    if system:
        alone = len(system) == 1 and "cache_control" not in system[0]
        body["system"] = system[0]["text"] if alone else system
    if asked.stream:
        body["stream"] = True
    if asked.tools:
        body["tools"] = tools
        choice = _written_choice(asked)
        if choice is not None:
            body["tool_choice"] = choice
    body |= _thinking(asked, body["max_tokens"], options)
    if asked.format is not None:
        if asked.format.schema is None:
            raise NotTranslatable("response_format", "it needs a json_schema")
        form = {"type": "json_schema", "schema": asked.format.schema}
        body["output_config"] = {**body.get("output_config", {}), "format": form}
    stops = [stop for stop in asked.stop if stop.strip()]
    if stops:
        body["stop_sequences"] = stops
    if len(stops) < len(asked.stop):
        asked.drop("stop")  # Anthropic refuses blank stop sequences
    if asked.cache is not None:
        body["cache_control"] = asked.cache
    for key in ("temperature", "top_p", "top_k"):
        value = getattr(asked, key)
        if value is not None:
            body[key] = value
    if asked.user is not None:
        long = len(asked.user) > _LONGEST_USER
        user = hashlib.sha256(asked.user.encode()).hexdigest() if long else asked.user
        body["metadata"] = {"user_id": user}
    return body


def _most(asked: Conversation, options: TranslationOptions) -> int:
    """Return `max_tokens`, which Anthropic requires and which must exceed the reasoning budget."""
    if asked.max_tokens is not None:
        return asked.max_tokens
    wanted = asked.thinking is not None or options.thinking is ThinkingWord.BUDGET
    budget = (asked.budget or 0) if wanted and asked.thinks else 0
    return options.max_tokens + budget if budget >= options.max_tokens else options.max_tokens


class _Writer:
    """Writer for the messages and tools of one request."""

    def __init__(self, asked: Conversation) -> None:
        self._asked = asked
        self._names = {tool.name for tool in asked.tools}
        self._cached: list[dict[str, Any]] = []
        """Blocks with `cache_control`, in the order in which they were written."""

    def system(self) -> list[dict[str, Any]]:
        """Return the text blocks of the system prompt."""
        return [
            self._with_cache({"type": "text", "text": part.text}, part.cache)
            for message in self._asked.messages
            if message.role is Role.SYSTEM
            for part in message.parts
            if isinstance(part, Text) and part.text.strip()
        ]

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools in Anthropic's form."""
        return [self._with_cache(_written_tool(tool), tool.cache) for tool in self._asked.tools]

    def messages(self) -> list[dict[str, Any]]:
        """Return the turns of the conversation.

        Consecutive messages of one role are merged, because tool results must stand together.
        """
        turns: list[dict[str, Any]] = []
        for message in self._asked.messages:
            if message.role is Role.SYSTEM:
                continue
            blocks = [block for part in message.parts if (block := self._part(part)) is not None]
            if not blocks:
                continue
            if turns and turns[-1]["role"] == message.role.value:
                turns[-1]["content"] += blocks
            else:
                turns.append({"role": message.role.value, "content": blocks})
        said: list[dict[str, Any]] = []
        for turn in turns:
            if turn["role"] == "user":
                _answer_calls(said, turn["content"])
            said = turn["content"]
        if turns and turns[-1]["role"] == "assistant":
            last = turns[-1]["content"][-1]
            if last["type"] == "text":
                # Anthropic refuses a prefill that ends in white space.
                last["text"] = last["text"].rstrip()
        for turn in turns:
            content = turn["content"]
            alone = len(content) == 1 and content[0]["type"] == "text"
            if alone and "cache_control" not in content[0]:
                turn["content"] = content[0]["text"]
        return turns

    def trim_caches(self, most: int) -> None:
        """Remove the first `cache_control` members if there are more than `most`. A later one also
        caches the prompt before it.
        """
        for block in self._cached[: max(0, len(self._cached) - most)]:
            del block["cache_control"]
            self._asked.drop("cache_control")

    def _with_cache(self, block: dict[str, Any], cache: Cache | None) -> dict[str, Any]:
        if cache is not None:
            block["cache_control"] = cache
            self._cached.append(block)
        return block

    def _part(self, part: Part) -> dict[str, Any] | None:
        match part:
            case Text(text, cache):
                if not text.strip():  # Anthropic refuses blank text
                    if cache is not None:
                        self._asked.drop("cache_control")
                    return None
                block: dict[str, Any] = {"type": "text", "text": text}
            case Image(media_type, data, cache):
                source = {"type": "base64", "media_type": media_type, "data": data}
                block = {"type": "image", "source": source}
            case ImageUrl(url, cache):
                block = {"type": "image", "source": {"type": "url", "url": url}}
            case ToolCall(call_id, name, arguments, cache):
                block = {
                    "type": "tool_use",
                    "id": _FOREIGN.sub("_", call_id),
                    "name": name if name in self._names else self._fitting(name),
                    "input": orjson.loads(arguments),
                }
            case ToolResult(call_id, parts, failed, cache):
                block = {"type": "tool_result", "tool_use_id": _FOREIGN.sub("_", call_id)}
                blocks = [one for one in map(self._part, parts) if one is not None]
                if len(blocks) == 1 and set(blocks[0]) == {"type", "text"}:
                    block["content"] = blocks[0]["text"]
                elif blocks:
                    block["content"] = blocks
                if failed:
                    block["is_error"] = True
            case Thinking():
                self._asked.drop("messages.thinking")
                return None  # only Anthropic can sign reasoning blocks
        return self._with_cache(block, cache)

    def _fitting(self, name: str) -> str:
        """Return the name of an undeclared tool in a form that Anthropic accepts in the history."""
        return _FOREIGN.sub("_", name)[:_LONGEST_NAME] or "unknown"


def _answer_calls(said: list[dict[str, Any]], following: list[dict[str, Any]]) -> None:
    """Move the results of a turn's calls to the start of the next turn, and add missing ones.
    Results without a call, and second results of one call, become ordinary content.

    Anthropic refuses a history with an unanswered call, such as an interrupted one, or with a
    result whose call was cut off, in every later turn.
    """
    unanswered = {block["id"] for block in said if block["type"] == "tool_use"}
    results: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for block in following:
        if block["type"] != "tool_result":
            others.append(block)
        elif block["tool_use_id"] in unanswered:
            unanswered.remove(block["tool_use_id"])
            results.append(block)
        else:
            content = block.get("content", _EMPTY_RESULT)
            text = isinstance(content, str)
            others += [{"type": "text", "text": content}] if text else content
    results += [
        {"type": "tool_result", "tool_use_id": block["id"], "content": _NO_RESULT, "is_error": True}
        for block in said
        if block["type"] == "tool_use" and block["id"] in unanswered
    ]
    following[:] = results + others


def _written_tool(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {
        "name": tool.name,
        "input_schema": object_schema(tool.schema),
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
    last = asked.messages[-1].parts if asked.messages else ()
    answers_a_call = any(isinstance(part, ToolResult) for part in last)
    if asked.thinking is not None:
        if asked.thinking["type"] != "enabled" or not answers_a_call:
            return {"thinking": asked.thinking}
        asked.drop("thinking")  # else the turn must begin with signed reasoning
        return {}
    if asked.thinks is None:
        return {}
    if not asked.thinks:
        return {"thinking": {"type": "disabled"}}
    if options.thinking is ThinkingWord.ADAPTIVE:
        effort = asked.effort
        if effort is None and asked.budget is not None:
            effort = effort_of(asked.budget)
        if effort is not None:
            effort = nearest_effort(effort, options.efforts or _EFFORTS)
        config = {} if effort is None else {"output_config": {"effort": effort}}
        return {"thinking": {"type": "adaptive"}, **config}
    budget = min(asked.budget or budget_of(asked.effort), most - 1)
    if budget < _LEAST_BUDGET or answers_a_call:
        # The budget is too small, or the turn began with reasoning that the caller cannot return.
        asked.drop("thinking")
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}
