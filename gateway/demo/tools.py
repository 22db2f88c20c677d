"""Calling tools, in no dialect's words: which one a prompt asks for, and with what arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.generation import Refusal
from gateway.demo.structured import example, pieces


@dataclass(frozen=True, slots=True)
class Tool:
    """What a caller offers."""

    name: str
    schema: Mapping[str, Any]
    """Of its arguments."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the model wants to be done."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def tokens(self) -> list[str]:
        """The arguments as JSON, in tokens."""
        return pieces(json.dumps(self.arguments, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Choice:
    """What a caller says about calling."""

    may: bool = True
    must: bool = False
    name: str | None = None
    """The one tool that it has to be."""


def tool_of(description: object) -> Tool | None:
    """A function as OpenAI's and Ollama's chats describe it; None if it has no name."""
    if not isinstance(description, dict) or not isinstance(description.get("name"), str):
        return None
    schema = description.get("parameters", description.get("input_schema"))
    return Tool(description["name"], schema if isinstance(schema, dict) else {})


def objects(asked: object, field: str = "tools") -> list[dict[str, Any]]:
    """A list of objects, empty if it is missing. Raise Refusal if it is something else."""
    listed = asked or []
    if not (isinstance(listed, list) and all(isinstance(each, dict) for each in listed)):
        raise Refusal(400, f"'{field}' has to be a list of {field}.")
    return listed


def called(
    tools: Sequence[Tool | None], choice: Choice, last: str, prompt: str, *, answered: bool
) -> Call | None:
    """The tool to call: the one that has to be, or the one that the last message names.

    `answered`: the last message holds the result of a call, after which there is text again,
    unless the caller insists. Raise Refusal if a tool has to be called that is not there.
    """
    there = [tool for tool in tools if tool is not None]
    if not choice.may:
        return None
    if choice.name is not None:
        there = [tool for tool in there if tool.name == choice.name]
    forced = choice.must or choice.name is not None
    if forced and not there:
        raise Refusal(400, "'tool_choice' asks for a tool that is not among 'tools'.")
    named = [tool for tool in there if tool.name in last and not answered]
    for tool in named or (there if forced else []):
        arguments = example({"type": "object", **tool.schema}, prompt)
        return Call(tool.name, arguments if isinstance(arguments, dict) else {})
    return None
