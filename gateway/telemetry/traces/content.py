"""Content recording: prompts and answers of every dialect, redacted, truncated and converted to
OpenTelemetry's GenAI conventions.

https://github.com/open-telemetry/semantic-conventions-genai: gen-ai-input-messages.json,
gen-ai-output-messages.json and gen-ai-system-instructions.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

PROMPT_CAP_BYTES = 256 * 1024
ANSWER_CAP_BYTES = 512 * 1024
"""Size limit of recorded bodies before truncation. It is large, as events contain little text."""
_ENDLESS = 10_000
"""Maximum number of messages of a prompt that are processed."""
_FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "completed": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_calls": "tool_call",
    "tool_use": "tool_call",
    "function_call": "tool_call",
    "refusal": "content_filter",
    "failed": "error",
}
"""Finish reasons of the conventions by the dialects' words. Other words are passed on."""

Part = dict[str, Any]
_TEXTS = ("text", "input_text", "output_text", "summary_text", "refusal", "transcript")
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


class RecordedContent:
    """Buffer of one exchange's answer, up to a size limit."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add a piece of the answer."""
        room = ANSWER_CAP_BYTES - len(self.answer)
        if room > 0:
            self.answer += data[:room]


@dataclass(slots=True)
class RecordedMessage:
    """A message of one role. Messages of an answer have a finish reason."""

    role: str
    parts: list[Part]
    finish: str | None = None


def messages(
    prompt: str,
    answer: str,
    redact: Callable[[str], str],
    cap_bytes: int,
    *,
    finish: str | None = None,
    complete: bool = True,
) -> dict[str, str]:
    """Return `input`, `output` and, if there are any, `system` instructions as JSON. Each is
    redacted before it is truncated, so that truncation cannot split a text that must be masked.

    `finish` is the finish reason, used if the recorded part of the answer does not contain it.
    `complete` is False if the answer broke off.
    """
    system, asked = _prompt(prompt)
    answered = _answer(answer)
    for message in answered:
        reason = message.finish or (finish if len(answered) == 1 else None)
        message.finish = _FINISHES.get(reason, reason) if complete and reason else None
        message.finish = message.finish or ("stop" if complete else "error")
    shaped = {
        "input": _dumped(_cut(asked, redact, cap_bytes)),
        "output": _dumped(_cut(answered, redact, cap_bytes)),
    }
    if system:
        (instructions,) = _cut([RecordedMessage("system", system)], redact, cap_bytes)
        shaped["system"] = _dumped(instructions["parts"])
    return shaped


def _dumped(value: object) -> str:
    return orjson.dumps(value).decode()


def _cut(
    found: Iterable[RecordedMessage], redact: Callable[[str], str], cap_bytes: int
) -> list[dict[str, Any]]:
    """Return the messages in the conventions' form, with at most `cap_bytes` of text in all."""
    shaped = []
    left = cap_bytes
    for message in found:
        parts = []
        for part in message.parts:
            if left <= 0:
                break
            part, used = _cut_part(part, redact, left)
            parts.append(part)
            left -= used
        one: dict[str, Any] = {"role": redact(message.role)[:64], "parts": parts}
        if message.finish is not None:
            one["finish_reason"] = redact(message.finish)[:64]
        shaped.append(one)
        if left <= 0:
            break
    return shaped


def _cut_part(part: Part, redact: Callable[[str], str], left: int) -> tuple[Part, int]:
    """Return the part with redacted, truncated text, and the bytes used of `left`."""
    shaped = {name: _redacted(value, redact) for name, value in part.items()}
    for name in ("content", "response", "arguments", "uri"):
        value = shaped.get(name)
        if value is None:
            continue
        data = (value if isinstance(value, str) else _dumped(value)).encode("utf-8", "replace")
        if len(data) > left:
            shaped[name] = data[:left].decode("utf-8", "ignore")
            shaped["truncated"] = True
        return shaped, len(data)
    return shaped, 0


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Redact a text. JSON is redacted as text, and stays JSON unless a mask breaks it."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict | list):
        text = redact(_dumped(value))
        parsed = _parsed(text)
        return text if parsed is None else parsed
    return value


# -- prompts -------------------------------------------------------------------------------------


def _prompt(body: str) -> tuple[list[Part], list[RecordedMessage]]:
    """Return the separate system instructions, and the conversation."""
    document = _parsed(body)
    if not isinstance(document, dict):
        return [], [RecordedMessage("user", [_text(body)])] if body else []
    system = _parts(document.get("system") or document.get("instructions"))
    prompt = document.get("messages", document.get("input", document.get("prompt")))
    if isinstance(prompt, list):
        return system, [_asked(one) for one in prompt[:_ENDLESS]]
    return system, [] if prompt is None else [RecordedMessage("user", _parts(prompt))]


def _asked(one: Any) -> RecordedMessage:
    """Return the message for a prompt's message or an item of the Responses API."""
    if not isinstance(one, dict):
        return RecordedMessage("user", _parts(one))
    role = one.get("role")
    if not isinstance(role, str):
        role = _role_of(one.get("type"))
        return RecordedMessage(role, _parts(one))
    if role in ("tool", "function"):
        name = one.get("tool_call_id") or one.get("tool_name") or one.get("name")
        return RecordedMessage("tool", [_result(name, one.get("content"))])
    parts = [*_thoughts(one), *_parts(one.get("content")), *_calls(one)]
    parts += [_blob("image", None) for _ in _list(one.get("images"))]
    if role == "user" and parts and all(one["type"] == "tool_call_response" for one in parts):
        role = "tool"  # Anthropic sends tool results with the role user
    return RecordedMessage(role, parts)


def _role_of(kind: Any) -> str:
    """Return the role of an item that has none, by its type."""
    if not isinstance(kind, str):
        return "user"
    if kind.endswith("_call_output"):
        return "tool"
    return "assistant" if kind.endswith("_call") or kind == "reasoning" else "user"


# -- parts ---------------------------------------------------------------------------------------


def _parts(value: Any) -> list[Part]:
    """Return the parts of a message's content, in any dialect."""
    if isinstance(value, str):
        return [_text(value)] if value else []
    if isinstance(value, list):
        return [part for one in value[:_ENDLESS] for part in _parts(one)]
    return _block(value) if isinstance(value, dict) else []


def _block(block: Mapping[str, Any]) -> list[Part]:
    kind = block.get("type")
    if kind in ("tool_use", "server_tool_use", "function_call", "custom_tool_call"):
        arguments = block.get("input", block.get("arguments"))
        return [_call(block.get("call_id") or block.get("id"), block.get("name"), arguments)]
    if kind == "tool_result" or (isinstance(kind, str) and kind.endswith("_call_output")):
        name = block.get("tool_use_id") or block.get("call_id")
        return [_result(name, block.get("content", block.get("output")))]
    if kind in ("thinking", "reasoning"):
        thought = block.get("thinking") or block.get("summary") or block.get("content")
        return [_thought(text)] if (text := _plain(thought)) else []
    if isinstance(kind, str) and (medium := _medium(kind, block)) is not None:
        return [medium]
    for name in _TEXTS:
        if isinstance(value := block.get(name), str):
            return [_text(value)] if value else []
    if "content" in block:
        return _parts(block["content"])
    return [{"type": kind}] if isinstance(kind, str) and kind not in _TEXTS else []


def _medium(kind: str, block: Mapping[str, Any]) -> Part | None:
    """Return the part for an image, sound or document: its URI if it has one, never its bytes."""
    modality = next((one for one in ("image", "audio", "video") if one in kind), None)
    if modality is None:
        if kind not in ("file", "input_file", "document"):
            return None
        modality = "document"
    source = block.get("source") or block.get(kind) or block.get("image_url") or block
    if isinstance(source, str):
        source = {"url": source}
    if not isinstance(source, dict):
        return _blob(modality, None)
    mime, url = source.get("media_type"), source.get("url")
    if isinstance(url, str) and not url.startswith("data:"):
        return {"type": "uri", "modality": modality, "uri": url}
    if isinstance(name := source.get("file_id", block.get("file_id")), str):
        return {"type": "file", "modality": modality, "file_id": name}
    if isinstance(url, str):
        mime = url[5:70].partition(";")[0].partition(",")[0]
    return _blob(modality, mime if isinstance(mime, str) else None)


def _text(text: str) -> Part:
    return {"type": "text", "content": text}


def _thought(text: str) -> Part:
    return {"type": "reasoning", "content": text}


def _blob(modality: str, mime_type: str | None) -> Part:
    return {
        "type": "blob",
        "modality": modality,
        "mime_type": mime_type,
        "content": "",
        "truncated": True,
    }


def _call(call_id: Any, name: Any, arguments: Any) -> Part:
    if isinstance(arguments, str):
        parsed = _parsed(arguments)
        arguments = arguments if parsed is None else parsed
    return {
        "type": "tool_call",
        "id": call_id if isinstance(call_id, str) else None,
        "name": name if isinstance(name, str) else "",
        "arguments": arguments,
    }


def _result(call_id: Any, content: Any) -> Part:
    return {
        "type": "tool_call_response",
        "id": call_id if isinstance(call_id, str) else None,
        "response": _plain(content) or ("" if isinstance(content, str | list) else content),
    }


def _thoughts(message: Mapping[str, Any]) -> list[Part]:
    """Return the reasoning that a message has outside its content."""
    for name in _THOUGHTS:
        if isinstance(text := message.get(name), str) and text:
            return [_thought(text)]
    return []


def _calls(message: Mapping[str, Any]) -> list[Part]:
    """Return the tool calls of a complete message from OpenAI or Ollama."""
    calls = []
    for one in [*_list(message.get("tool_calls")), {"function": message.get("function_call")}]:
        function = one.get("function") if isinstance(one, dict) else None
        if isinstance(function, dict):
            calls.append(_call(one.get("id"), function.get("name"), function.get("arguments")))
    return calls


def _plain(value: Any) -> str:
    """Return the text of a string, of a content block, or of a list of them."""
    if isinstance(value, str):
        return value
    return "\n".join(part["content"] for part in _parts(value) if part.get("type") == "text")


def _list(value: Any) -> list[Any]:
    return value[:_ENDLESS] if isinstance(value, list) else []


# -- answers -------------------------------------------------------------------------------------


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
            part = self.calls[key] = _call(None, "", [])
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
                part |= _call(part["id"], part["name"], "".join(pieces))
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
        for part in [*_thoughts(message), *_parts(message.get("content"))]:
            if part["type"] in ("text", "reasoning"):
                choice.add(part["type"], part["content"])
            else:
                choice.parts.append(part)
        choice.add("text", message.get("refusal"))
        for place, one in enumerate(_list(message.get("tool_calls"))):
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
            choice.parts += _parts(document.get("content"))
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
                choice.parts += _block(item)
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            response = document.get("response")
            if isinstance(response, dict):
                self._output([] if choice.parts else response.get("output"), response)

    def _output(self, output: Any, response: Mapping[str, Any]) -> None:
        """Add the output of a complete response."""
        choice = self.choice()
        choice.parts += _parts(output)
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, dict) else None
        self._finish(reason or response.get("status"))
        if choice.finish == "completed" and any(one["type"] == "tool_call" for one in choice.parts):
            choice.finish = "tool_calls"


def _key(index: Any) -> Any:
    return index if isinstance(index, int) else 0


def _answer(body: str) -> list[RecordedMessage]:
    """Return a message for each choice of an answer that has text, a call or a finish reason."""
    answer = _RecordedAnswer()
    document = _parsed(body)
    if isinstance(document, dict):
        answer.add(document)
    else:
        for line in body.split("\n"):
            line = line.removeprefix("data:").strip()
            if line.startswith("{") and isinstance(document := _parsed(line), dict):
                answer.add(document)
    choices = [answer.choices[index] for index in sorted(answer.choices)]
    return [one.message() for one in choices if one.parts or one.finish]


def _parsed(text: str) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError):
        return None
