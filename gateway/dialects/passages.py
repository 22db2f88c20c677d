"""Texts in requests, answers and events of every dialect, found by the shape of the JSON.

A passage is one text: the content of a message, a piece of it, reasoning, or the arguments of a
tool call. Image data, tool definitions and metadata are no passages.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_BOTH = {
    *("content", "text", "input", "output", "arguments", "refusal", "transcript"),
    *("reasoning", "reasoning_content", "thinking"),
}
_IN_REQUESTS = frozenset({*_BOTH, "prompt", "system", "instructions", "suffix", "inputs"})
_IN_ANSWERS = frozenset(
    {*_BOTH, "response", "delta", "partial_json", "output_text", "revised_prompt"}
    | {"completion", "generated_text"}
)
"""Members whose strings are texts. Answers of the Responses API repeat `instructions`."""
_PROMPTS = (
    *("system", "instructions", "systemInstruction", "system_instruction"),
    *("messages", "contents", "input", "inputs", "prompt", "suffix"),
    *("query", "documents", "texts"),
)
_LISTED = frozenset({"documents", "texts", "query"})
"""Members of requests to rank or embed texts."""
_SKIPPED = frozenset(
    {
        *("logprobs", "top_logprobs", "tools", "metadata", "usage", "annotations", "embedding"),
        *("image_url", "input_audio", "audio", "file", "response_format", "format", "images"),
    }
)
_REASONING = frozenset({"reasoning", "reasoning_content", "thinking"})
_REASONING_TYPES = ("thinking", "reasoning", "summary_text", "reasoning_text")
_ARGUMENTS = frozenset({"arguments", "partial_json"})
_PLACES = ("item_id", "output_index", "content_index", "summary_index", "index")
_REPEATING = (".done", ".completed", ".incomplete", ".failed")
_DEEPEST = 200
"""Levels of nesting that are read. orjson writes 254."""


class TooDeep(ValueError):
    """A document is nested too deeply to find its texts."""


class PassageKind(StrEnum):
    """Kind of a passage."""

    TEXT = "text"
    REASONING = "reasoning"
    ARGUMENTS = "arguments"
    """Arguments of a tool call: JSON, or a piece of JSON."""


@dataclass(slots=True)
class Passage:
    """Text of a request, answer or event. Assign to `text` to change it."""

    text: str
    original: str
    """Text as it arrived."""
    kind: PassageKind
    role: str
    """Role of its message. If the API has none: `system`, `user` or `assistant`."""
    key: Hashable = None
    """Identity of the text that this is a piece of, in an event."""
    repeats: bool = False
    """True in an event that repeats the text of earlier events."""


@dataclass(slots=True)
class _SearchPlace:
    """Position of the search in a document. `names` are the members that hold texts. It is not
    changed; a frozen class would triple the cost of an event.
    """

    names: frozenset[str]
    role: str
    path: tuple[Hashable, ...] = ()
    kind: PassageKind | None = None
    every: bool = False
    """True if every string below is a text."""
    repeats: bool = False
    depth: int = 0


_Found = tuple[Any, Any, Passage]
"""Holder of a text, its key or index there, and the passage."""


def request_passages(document: Mapping[str, Any]) -> list[Passage]:
    """Return the texts of a request. Raise TooDeep."""
    return [one[2] for one in _of_request(document)]


def answer_passages(document: Mapping[str, Any]) -> list[Passage]:
    """Return the texts of a whole answer, or of one event. Raise TooDeep."""
    return [one[2] for one in _of_answer(document)]


def write_request(document: dict[str, Any], texts: Mapping[int, str]) -> set[str]:
    """Replace texts of a request, by their index among its passages. Return the names of the
    members that have changed.
    """
    return _write(_of_request(document), texts)


def write_answer(document: dict[str, Any], texts: Mapping[int, str]) -> set[str]:
    """Replace texts of an answer or event, by their index among its passages. Return the names of
    the members that have changed. Token probabilities are removed, since they tell the old text.
    """
    changed = _write(_of_answer(document), texts)
    for name, value in document.items():
        if _without_probabilities(value):
            changed.add(name)
    if document.get("logprobs"):
        document["logprobs"] = _emptied(document["logprobs"])
        changed.add("logprobs")
    return changed


def _write(found: list[_Found], texts: Mapping[int, str]) -> set[str]:
    roots = set()
    for index, text in texts.items():
        holder, name, passage = found[index]
        holder[name] = text
        assert isinstance(passage.key, tuple)
        roots.add(next(one for one in passage.key if one is not None and isinstance(one, _Root)))
    return {str(root) for root in roots}


class _Root(str):
    """Name of a member of the document itself."""

    __slots__ = ()


def _of_request(document: Mapping[str, Any]) -> list[_Found]:
    found: list[_Found] = []
    for name in _PROMPTS:
        value = document.get(name)
        if not value:
            continue
        role = "system" if name.lower().startswith(("system", "instr")) else "user"
        place = _SearchPlace(_IN_REQUESTS, role, (_Root(name),), every=name in _LISTED)
        _search(document, name, value, place, found)
    return found


def _of_answer(document: Mapping[str, Any]) -> list[_Found]:
    found: list[_Found] = []
    told = document.get("type")
    kind: PassageKind | None = None
    repeats = False
    path: tuple[Hashable, ...] = ()
    if isinstance(told, str):
        path = (
            told if isinstance(document.get("delta"), str) else None,
            *(document[place] for place in _PLACES if isinstance(document.get(place), int | str)),
        )
        if told.startswith("response."):
            repeats = told.endswith(_REPEATING)
            if told.startswith("response.reasoning"):
                kind = PassageKind.REASONING
            elif "arguments" in told or told.startswith("response.custom_tool_call_input"):
                kind = PassageKind.ARGUMENTS
    for name, value in document.items():
        if not value or name in _SKIPPED:
            continue
        if isinstance(value, str):
            if name not in _IN_ANSWERS and not (name == "code" and _runs_code(told)):
                continue
        elif not isinstance(value, list | dict):
            continue
        place = _SearchPlace(_IN_ANSWERS, "assistant", (*path, _Root(name)), kind, repeats=repeats)
        _search(document, name, value, place, found)
    return found


def _search(holder: Any, name: Any, value: Any, place: _SearchPlace, found: list[_Found]) -> None:
    """Add the texts in a value that is the member `name` of `holder`, or an item of it."""
    if isinstance(value, str):
        if value:
            kind = place.kind or _kind_of(name)
            passage = Passage(value, value, kind, place.role, place.path, place.repeats)
            found.append((holder, name, passage))
        return
    if place.depth > _DEEPEST:
        raise TooDeep
    if isinstance(value, list):
        if not value or isinstance(value[0], int | float):
            return  # an embedding
        for index, item in enumerate(value):
            if isinstance(item, str):
                if place.every or name in place.names:
                    _search(value, index, item, _below(place, index), found)
            elif isinstance(item, dict):
                own = item.get("index")
                below = _below(place, own if isinstance(own, int) else index)
                _search(value, index, item, below, found)
            elif isinstance(item, list):
                _search(value, index, item, _below(place, index), found)
    elif isinstance(value, dict):
        _of_object(name, value, place, found)


def _of_object(name: Any, value: dict[str, Any], place: _SearchPlace, found: list[_Found]) -> None:
    role, kind = value.get("role"), value.get("type")
    if not isinstance(role, str):
        role = place.role
    of_kind = place.kind
    if of_kind is None and kind in _REASONING_TYPES:
        of_kind = PassageKind.REASONING
    # A tool call whose arguments are an object: Anthropic's `input`, Ollama's `arguments`. A text
    # document of Anthropic's has its text in `data`.
    every = place.every or (name in ("input", "arguments") and len(place.path) > 1)
    if every and not place.every:
        of_kind = PassageKind.ARGUMENTS
    also = "code" if _runs_code(kind) else "data" if kind == "text" else None
    for member, item in value.items():
        if not item or (member in _SKIPPED and not every):
            continue
        if isinstance(item, str):
            if not every and member not in place.names and member != also:
                continue
        elif not isinstance(item, list | dict):
            continue
        below = _SearchPlace(
            place.names,
            role,
            (*place.path, member),
            of_kind,
            every,
            place.repeats,
            place.depth + 1,
        )
        _search(value, member, item, below, found)


def _below(place: _SearchPlace, index: int) -> _SearchPlace:
    return _SearchPlace(
        place.names,
        place.role,
        (*place.path, index),
        place.kind,
        place.every,
        place.repeats,
        place.depth + 1,
    )


def _runs_code(kind: object) -> bool:
    """Tell whether this is the type of a code interpreter's call, or of an event of one."""
    return isinstance(kind, str) and "code_interpreter_call" in kind


def _kind_of(name: Any) -> PassageKind:
    if name in _REASONING:
        return PassageKind.REASONING
    return PassageKind.ARGUMENTS if name in _ARGUMENTS else PassageKind.TEXT


def _without_probabilities(value: Any) -> bool:
    """Empty the token probabilities in a value. Return True if there were any."""
    changed = False
    for item in value if isinstance(value, list) else ():
        changed |= _without_probabilities(item)
    if isinstance(value, dict):
        for name, item in value.items():
            if name == "logprobs" and item:
                value[name] = _emptied(item)
                changed = True
            else:
                changed |= _without_probabilities(item)
    return changed


def _emptied(probabilities: Any) -> Any:
    return [] if isinstance(probabilities, list) else None
