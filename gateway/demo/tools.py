"""Tool calls in a dialect-neutral form: which tool a prompt calls, and with which arguments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.demo.generation import DemoError
from gateway.demo.structured import example, pieces


@dataclass(frozen=True, slots=True)
class OfferedTool:
    """Tool that a caller offers."""

    name: str
    schema: Mapping[str, Any]
    """JSON schema of the arguments."""


@dataclass(frozen=True, slots=True)
class DemoToolCall:
    """Tool call made by the model."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def tokens(self) -> list[str]:
        """Arguments as JSON, in tokens."""
        return pieces(json.dumps(self.arguments, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class DemoToolChoice:
    """Tool choice of the caller."""

    may: bool = True
    must: bool = False
    name: str | None = None
    """Name of the only tool that may be called; None for any."""


def tool_of(description: object) -> OfferedTool | None:
    """Read a tool in OpenAI's, Anthropic's or Ollama's form; None if it has no name."""
    if not isinstance(description, dict) or not isinstance(description.get("name"), str):
        return None
    schema = description.get("parameters", description.get("input_schema"))
    return OfferedTool(description["name"], schema if isinstance(schema, dict) else {})


def objects(asked: object, field: str = "tools") -> list[dict[str, Any]]:
    """Return a list of objects, empty if it is missing. Raise DemoError if it is something else."""
    listed = asked or []
    if not (isinstance(listed, list) and all(isinstance(each, dict) for each in listed)):
        raise DemoError(400, f"'{field}' has to be a list of {field}.")
    return listed


def called(
    tools: Sequence[OfferedTool | None],
    choice: DemoToolChoice,
    last: str,
    prompt: str,
    *,
    answered: bool,
) -> DemoToolCall | None:
    """Return the call of the tool that is required or that the last message names, or None.

    `answered`: the last message is the result of a call. The model then answers with text, unless a
    call is required. Raise DemoError if a required tool is not offered.
    """
    there = [tool for tool in tools if tool is not None]
    if not choice.may:
        return None
    if choice.name is not None:
        there = [tool for tool in there if tool.name == choice.name]
    forced = choice.must or choice.name is not None
    if forced and not there:
        raise DemoError(400, "'tool_choice' asks for a tool that is not among 'tools'.")
    named = [tool for tool in there if tool.name in last and not answered]
    for tool in named or (there if forced else []):
        arguments = example({"type": "object", **tool.schema}, prompt)
        return DemoToolCall(tool.name, arguments if isinstance(arguments, dict) else {})
    return None
