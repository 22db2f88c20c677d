"""Recorded answers in any dialect: the messages of a document, or of the events of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.telemetry.traces.message_parts import (
    Part,
    RecordedMessage,
    call_part,
    json_of,
    listed,
    parts_of,
    parts_of_block,
    thoughts_of,
)


@dataclass(slots=True)
class _Choice:
    """A choice of an answer, assembled from its pieces."""

    parts: list[Part] = field(default_factory=list)
    pieces: list[list[str]] = field(default_factory=list)
    """Pieces of each part that is assembled; `message` joins them."""
    calls: dict[Any, Part] = field(default_factory=dict)
    """Tool calls whose arguments may be incomplete, by their index."""
    finish: str | None = None

    def add(self, kind: str, text: Any) -> None:
        """Add a piece of text or reasoning. It continues the last part if of the same kind."""
        if not isinstance(text, str) or not text:
            return
        if self.parts and self.parts[-1]["type"] == kind and self.pieces:
            self.pieces[-1].append(text)
        else:
            self.pieces.append([text])
            self.parts.append({"type": kind, "content": self.pieces[-1]})

    def call(self, key: Any, call_id: Any, name: Any, arguments: Any) -> None:
        """Add a tool call, or a piece of its arguments."""
        part = self.calls.get(key)
        if part is None:
            part = self.calls[key] = call_part(None, "", [])
            self.parts.append(part)
        if isinstance(call_id, str) and call_id:
            part["id"] = call_id
        if isinstance(name, str) and name:
            part["name"] = name
        if isinstance(arguments, str) and isinstance(part["arguments"], list):
            part["arguments"].append(arguments)
        elif isinstance(arguments, dict):
            part["arguments"] = arguments

    def message(self) -> RecordedMessage:
        """Return the complete message."""
        for part in self.calls.values():
            if isinstance(pieces := part["arguments"], list):
                part |= call_part(part["id"], part["name"], "".join(pieces))
        for part in self.parts:
            if isinstance(pieces := part.get("content"), list):
                part["content"] = "".join(pieces)
        return RecordedMessage("assistant", self.parts, self.finish)


class _RecordedAnswer:
    """An answer in any dialect: a document, a stream of events, or one document a line."""

    def __init__(self) -> None:
        self.choices: dict[Any, _Choice] = {}

    def choice(self, index: Any = 0) -> _Choice:
        if not isinstance(index, int):
            index = 0
        return self.choices.setdefault(index, _Choice())

    def add(self, document: Mapping[str, Any]) -> None:
        """Add a document of the answer."""
        choices, kind = document.get("choices"), document.get("type")
        if isinstance(choices, list):
            for one in choices:
                if isinstance(one, dict):
                    self._choice(one)
        elif isinstance(kind, str):
            self._typed(kind, document)
        elif isinstance(message := document.get("message"), dict):
            self._message(self.choice(), message)
            self._finish(document.get("done_reason"))
        elif isinstance(output := document.get("output"), list):
            self._output(output, document)
        else:
            choice = self.choice()
            choice.add("reasoning", document.get("thinking"))
            choice.add("text", document.get("response"))
            self._finish(document.get("done_reason"))

    def _finish(self, reason: Any) -> None:
        if isinstance(reason, str) and reason:
            self.choice().finish = reason

    def _choice(self, document: Mapping[str, Any]) -> None:
        choice = self.choice(document.get("index"))
        if isinstance(reason := document.get("finish_reason"), str) and reason:
            choice.finish = reason
        choice.add("text", document.get("text"))
        message = document.get("delta") or document.get("message")
        if isinstance(message, dict):
            self._message(choice, message)

    @staticmethod
    def _message(choice: _Choice, message: Mapping[str, Any]) -> None:
        """Add a message of OpenAI or Ollama, or a piece of one."""
        for part in [*thoughts_of(message), *parts_of(message.get("content"))]:
            if part["type"] in ("text", "reasoning"):
                choice.add(part["type"], part["content"])
            else:
                choice.parts.append(part)
        choice.add("text", message.get("refusal"))
        for place, one in enumerate(listed(message.get("tool_calls"))):
            if isinstance(one, dict):
                function = one.get("function")
                function = function if isinstance(function, dict) else {}
                key = one.get("index")
                key = key if isinstance(key, int) else (place, len(choice.calls))
                arguments = function.get("arguments")
                choice.call(key, one.get("id"), function.get("name"), arguments)
        if isinstance(function := message.get("function_call"), dict):
            choice.call("function_call", None, function.get("name"), function.get("arguments"))

    def _typed(self, kind: str, document: Mapping[str, Any]) -> None:
        """Add a message or event of Anthropic's, or an event of the Responses API."""
        choice, delta = self.choice(), document.get("delta")
        block = document.get("content_block")
        if kind == "message":
            choice.parts += parts_of(document.get("content"))
            self._finish(document.get("stop_reason"))
        elif kind == "content_block_start" and isinstance(block, dict):
            if isinstance(kind_of := block.get("type"), str) and kind_of.endswith("tool_use"):
                key = _key(document.get("index"))
                choice.call(key, block.get("id"), block.get("name"), block.get("input") or None)
            else:
                choice.add("text", block.get("text"))
        elif kind == "content_block_delta" and isinstance(delta, dict):
            choice.add("text", delta.get("text"))
            choice.add("reasoning", delta.get("thinking"))
            if isinstance(arguments := delta.get("partial_json"), str):
                choice.call(_key(document.get("index")), None, None, arguments)
        elif kind == "message_delta" and isinstance(delta, dict):
            self._finish(delta.get("stop_reason"))
        elif kind.endswith("output_text.delta") or kind == "response.refusal.delta":
            choice.add("text", delta)
        elif kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
            choice.add("reasoning", delta)
        elif kind == "response.output_item.done" and isinstance(document.get("item"), dict):
            item = document["item"]
            if isinstance(kind_of := item.get("type"), str) and kind_of.endswith("_call"):
                choice.parts += parts_of_block(item)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = document.get("response")
            if isinstance(response, dict):
                self._output([] if choice.parts else response.get("output"), response)

    def _output(self, output: Any, response: Mapping[str, Any]) -> None:
        """Add the output of a complete response."""
        choice = self.choice()
        choice.parts += parts_of(output)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        self._finish(reason or response.get("status"))
        if choice.finish == "completed" and any(one["type"] == "tool_call" for one in choice.parts):
            choice.finish = "tool_calls"


def _key(index: Any) -> Any:
    return index if isinstance(index, int) else 0


def answer_messages(body: str) -> list[RecordedMessage]:
    """Return a message for each choice of an answer that has text, a call or a finish reason."""
    answer = _RecordedAnswer()
    document = json_of(body)
    if isinstance(document, dict):
        answer.add(document)
    else:
        for line in body.split("\n"):
            line = line.removeprefix("data:").strip()
            if line.startswith("{") and isinstance(document := json_of(line), dict):
                answer.add(document)
    choices = [answer.choices[index] for index in sorted(answer.choices)]
    return [one.message() for one in choices if one.parts or one.finish]
