"""Dialect-neutral chat request, which request readers produce and request writers encode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Role(Enum):
    """Author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


Cache = dict[str, Any]
"""Anthropic's `cache_control` of a part: the prompt up to the end of that part may be cached."""


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """Image in base64."""

    media_type: str
    data: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """Image that the backend fetches from a URL."""

    url: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """Reasoning of the model in an earlier turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """Tool call that the model made in an earlier turn."""

    id: str
    name: str
    arguments: str
    """Arguments: the text of a JSON object."""
    cache: Cache | None = None


Shown = Text | Image | ImageUrl


@dataclass(frozen=True, slots=True)
class ToolResult:
    """Result of a tool call."""

    call_id: str
    parts: Sequence[Shown]
    failed: bool = False
    cache: Cache | None = None


Part = Text | Image | ImageUrl | Thinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, or a part of it. Tool results belong to the user's messages."""

    role: Role
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str | None
    schema: dict[str, Any] | None
    """JSON schema of the arguments."""
    strict: bool | None = None
    cache: Cache | None = None


class Choice(Enum):
    """Tool choice: calls allowed (AUTO), required (ANY), forbidden (NONE) or one tool (NAMED)."""

    AUTO = "auto"
    ANY = "any"
    NONE = "none"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """Requirement that the answer is JSON."""

    schema: dict[str, Any] | None = None
    """JSON schema of the answer; None allows any JSON."""
    name: str = "answer"
    strict: bool | None = None


@dataclass(slots=True)
class Conversation:
    """Content and options of a request. None means that the caller did not set the option."""

    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = True
    """True if a stream ends with its token usage."""
    tools: list[Tool] = field(default_factory=list)
    choice: Choice | None = None
    chosen: str = ""
    """Name of the tool that must be called; empty if none is named."""
    parallel_calls: bool | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    repetition_penalty: float | None = None
    """Multiplicative penalty; 1 means no penalty."""
    stop: list[str] = field(default_factory=list)
    thinks: bool | None = None
    effort: str | None = None
    """Reasoning effort: minimal, low, medium, high, xhigh or max."""
    budget: int | None = None
    """Reasoning budget in tokens."""
    thinking: dict[str, Any] | None = None
    """Anthropic's field `thinking`, which callers of other dialects may send for a Claude model."""
    include_thinking: bool = True
    """True if the caller wants to receive the reasoning."""
    cache: Cache | None = None
    """Cache control of the request as a whole."""
    format: JsonFormat | None = None
    user: str | None = None
    dropped: list[str] = field(default_factory=list)
    """Names of fields that are not passed on; they are reported to the caller."""

    def drop(self, name: str) -> None:
        """Record a field that is not passed on."""
        if name not in self.dropped:
            self.dropped.append(name)


_TOKENS_OF_AN_IMAGE = 1000
_CHARACTERS_OF_A_TOKEN = 4


def estimated_tokens(asked: Conversation) -> int:
    """Estimate the tokens of a request, for use before the backend counts them."""
    characters = images = 0
    parts: list[Part] = [part for message in asked.messages for part in message.parts]
    for part in parts:  # the loop also visits the parts that tool results append
        if isinstance(part, Text | Thinking):
            characters += len(part.text)
        elif isinstance(part, ToolCall):
            characters += len(part.name) + len(part.arguments)
        elif isinstance(part, ToolResult):
            parts += part.parts
        else:
            images += 1
    for tool in asked.tools:
        schema = len(str(tool.schema)) if tool.schema else 0
        characters += len(tool.name) + len(tool.description or "") + schema
    return max(1, characters // _CHARACTERS_OF_A_TOKEN) + images * _TOKENS_OF_AN_IMAGE


def has_cache(asked: Conversation) -> bool:
    """True if any part of the request uses `cache_control`."""
    return asked.cache is not None or any(
        not isinstance(part, Thinking) and part.cache is not None
        for part in (*asked.tools, *(part for one in asked.messages for part in one.parts))
    )


def text_of(parts: Sequence[Part]) -> str:
    """Return the joined text of the text parts."""
    return "".join(part.text for part in parts if isinstance(part, Text))
