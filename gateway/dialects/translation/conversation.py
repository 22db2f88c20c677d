"""A chat request in no dialect: what readers make of a body, and writers make a body of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Role(Enum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


Cache = dict[str, Any]
"""Anthropic's `cache_control`: what stands before the end of the part it is at may be cached."""


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """A picture, in base64."""

    media_type: str
    data: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class ImageUrl:
    """A picture that the backend is to fetch."""

    url: str
    cache: Cache | None = None


@dataclass(frozen=True, slots=True)
class Thinking:
    """What the model thought in an earlier turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCall:
    """The model wants a tool to be run."""

    id: str
    name: str
    arguments: str
    """A JSON object, as text."""
    cache: Cache | None = None


Shown = Text | Image | ImageUrl


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the tool said."""

    call_id: str
    parts: Sequence[Shown]
    failed: bool = False
    cache: Cache | None = None


Part = Text | Image | ImageUrl | Thinking | ToolCall | ToolResult


@dataclass(frozen=True, slots=True)
class Message:
    """One turn, or a piece of it. Results of tools stand in the user's."""

    role: Role
    parts: Sequence[Part]


@dataclass(frozen=True, slots=True)
class Tool:
    """A function the model may call."""

    name: str
    description: str | None
    schema: dict[str, Any] | None
    """Of its arguments."""
    strict: bool | None = None
    cache: Cache | None = None


class Choice(Enum):
    """Whether tools may, must or must not be called."""

    AUTO = "auto"
    ANY = "any"
    NONE = "none"
    NAMED = "named"


@dataclass(frozen=True, slots=True)
class JsonFormat:
    """The answer is to be JSON."""

    schema: dict[str, Any] | None = None
    """None: any JSON."""
    name: str = "answer"
    strict: bool | None = None


@dataclass(slots=True)
class Conversation:
    """What is asked. None: the caller did not say."""

    model: str
    messages: list[Message]
    stream: bool = False
    include_usage: bool = True
    """Whether a stream is to end with its usage."""
    tools: list[Tool] = field(default_factory=list)
    choice: Choice | None = None
    chosen: str = ""
    """The tool that has to be called, if its name was given."""
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
    """What is multiplied; 1 is none."""
    stop: list[str] = field(default_factory=list)
    thinks: bool | None = None
    effort: str | None = None
    """How much: minimal, low, medium, high, xhigh or max."""
    budget: int | None = None
    """How many tokens of it."""
    thinking: dict[str, Any] | None = None
    """Anthropic's field of that name, which callers of other dialects may send for a Claude."""
    include_thinking: bool = True
    """Whether the caller wants to see it."""
    cache: Cache | None = None
    """Of the request as a whole."""
    format: JsonFormat | None = None
    user: str | None = None
    dropped: list[str] = field(default_factory=list)
    """Names of fields that are not carried; the caller is told."""

    def drop(self, name: str) -> None:
        """A field is not carried."""
        if name not in self.dropped:
            self.dropped.append(name)


_TOKENS_OF_AN_IMAGE = 1000
_CHARACTERS_OF_A_TOKEN = 4


def estimated_tokens(asked: Conversation) -> int:
    """A guess at the tokens of a request, where one is needed before the backend counts them."""
    characters = images = 0
    parts: list[Part] = [part for message in asked.messages for part in message.parts]
    for part in parts:  # results of tools bring parts of their own, behind
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
    """Whether anything is to be cached by `cache_control`."""
    return asked.cache is not None or any(
        not isinstance(part, Thinking) and part.cache is not None
        for part in (*asked.tools, *(part for one in asked.messages for part in one.parts))
    )


def text_of(parts: Sequence[Part]) -> str:
    """The texts among them, joined."""
    return "".join(part.text for part in parts if isinstance(part, Text))
