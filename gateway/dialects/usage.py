"""Read token usage from responses: where each dialect reports it, and how to normalize it.

Only the top level of a response counts. Text that a model writes, such as the arguments of a tool
call, is nested deeper and must not be taken for usage.

OpenAI: `usage` of a response, of the last chunk of a stream, or of `response` in a Responses event
(https://platform.openai.com/docs/api-reference). Anthropic: `usage`, and that of `message` in
`message_start` (https://docs.anthropic.com/en/api/messages-streaming). Ollama: `prompt_eval_count`
and `eval_count` (https://github.com/ollama/ollama/blob/main/docs/api.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gateway.usage import Usage

HOLDERS = ("message", "response", "x_groq")
"""Top-level objects whose own `usage` counts."""
COUNTS = ("prompt_eval_count", "eval_count")
"""Top-level members that are token counts themselves."""
_INPUT = ("prompt_tokens", "input_tokens", "prompt_eval_count")
_OUTPUT = ("completion_tokens", "output_tokens", "eval_count")
_MOST_TOKENS = 10**12
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details")
_READ = "cache_read_input_tokens"
_WRITTEN = "cache_creation_input_tokens"
_CACHED = ("cached_tokens",)
_ALSO_CACHED = ("prompt_cache_hit_tokens", "cached_tokens")
"""Top-level names of cached input: DeepSeek's and Moonshot's."""
_ALSO_WRITTEN = ("cache_write_tokens",)
_REASONING = ("reasoning_tokens", "thinking_tokens")
_ALSO_REASONING = ("reasoning_tokens",)
_BESIDE = frozenset(
    {"total_tokens", _READ, _WRITTEN, *_ALSO_CACHED, *_ALSO_REASONING}
    | {*_INPUT_DETAILS, *_OUTPUT_DETAILS}
)
"""Members from which input and output may have to be corrected."""
_PROMPT = (*_INPUT, *_INPUT_DETAILS, _READ, _WRITTEN)


class ReportedUsage:
    """Usage that one response has reported so far."""

    __slots__ = ("_begun", "_numbers", "_plain", "final", "found")

    def __init__(self) -> None:
        self._plain: Usage | None = None
        """Usage, if a single object in the plain form has reported it."""
        self._begun: dict[str, Any] = {}
        """Numbers of `message_start`. Some backends only estimate the prompt there."""
        self._numbers: dict[str, Any] = {}
        """Numbers of later events or of a whole response. These replace those of `_begun`."""
        self.final = False
        """False until more than the start of a message has reported usage: output still follows."""
        self.found = 0
        """Number of usage objects with a positive count."""

    def read(self, document: Mapping[str, Any]) -> None:
        """Record the usage in a whole response or in one stream event."""
        usage = document.get("usage")
        if isinstance(usage, dict):
            self.add(usage)
            return
        for holder in HOLDERS:
            if holder in document:
                held = document[holder]
                usage = held.get("usage") if isinstance(held, dict) else None
                if isinstance(usage, dict):
                    self.add(usage, holder)
                    return
        self.add({name: document[name] for name in COUNTS if name in document})

    def add(self, usage: Mapping[str, Any], holder: str = "") -> None:
        """Record a usage object. `holder` names the object it was found in.

        If two events report the same number, the larger one counts: a stream reports the input in
        one event and the output in another, or a running total in each. But `message_start` is
        replaced by any later number.
        """
        if not holder and not self._numbers:
            self._plain = plain(usage)
            if self._plain is not None:
                self._numbers = {**usage}
                self.found += 1
                self.final = True
                return
        self._plain = None
        numbers = self._begun if holder == "message" else self._numbers
        found = False
        for name, value in usage.items():
            if type(value) is int or type(value) is float:
                count = value if type(value) is int and 0 <= value < _MOST_TOKENS else _count(value)
                numbers[name] = max(count, _count(numbers[name])) if name in numbers else count
                found = found or value > 0
            elif isinstance(value, dict):
                numbers[name] = value
        if found:
            self.found += 1
            self.final = self.final or holder != "message"

    @property
    def usage(self) -> Usage | None:
        """Token counts, or None if none was reported."""
        if self._plain is not None and not self._begun:
            return self._plain
        return _usage(self._all) if self.found else None

    @property
    def prompt(self) -> dict[str, Any]:
        """Raw numbers that describe the prompt, as the backend reported them."""
        numbers = self._all
        return {name: numbers[name] for name in _PROMPT if name in numbers}

    @property
    def _all(self) -> Mapping[str, Any]:
        begun, numbers = self._begun, self._numbers
        if not begun:
            return numbers
        return begun | {name: value for name, value in numbers.items() if value}


class Joined:
    """Usage of a response that one backend begins and another continues (mid-stream failover).

    The later backend receives the text so far as part of its prompt and counts it as input. The
    caller is shown, and charged, the counts of a single backend: the caller's own prompt and the
    whole output.
    """

    __slots__ = ("_before", "_output", "_part")

    def __init__(self) -> None:
        self._before: dict[str, Any] | None = None
        """Prompt numbers that the first part reported; None while the first part is running."""
        self._output = 0
        """Output tokens of all parts whose backend disconnected."""
        self._part = ReportedUsage()

    def read(self, document: Mapping[str, Any]) -> None:
        """Record an event of the current part, as its backend sent it."""
        self._part.read(document)

    def broke_off(self, pieces: int) -> None:
        """Close the current part and begin another.

        `pieces` is the number of text pieces the part has sent. It is used as the token count if it
        is higher than the reported one.
        """
        part, usage = self._part, self._part.usage
        said = usage.output if usage is not None and part.final else 0
        self._output += max(said, pieces)
        if self._before is None:
            self._before = part.prompt
        self._part = ReportedUsage()

    def whole(self, document: dict[str, Any]) -> None:
        """Correct the usage in an event of a later part, in place. Ignore the first part."""
        if self._before is None:
            return
        for holder in (document.get("usage"), document):
            if isinstance(holder, dict):
                self._correct(holder, self._before)

    def _correct(self, numbers: dict[str, Any], before: Mapping[str, Any]) -> None:
        was = _first(numbers, _INPUT) + _first(numbers, _OUTPUT)
        for name in _OUTPUT:
            if type(value := numbers.get(name)) is int:
                numbers[name] = value + self._output
        for name in _PROMPT:
            if name not in numbers:
                continue
            value = numbers[name]
            if before:
                numbers[name] = before.get(name, 0 if type(value) is int else None)
            elif name in _INPUT and type(value) is int:
                numbers[name] = max(0, value - self._output)
        if type(total := numbers.get("total_tokens")) is int:
            is_ = _first(numbers, _INPUT) + _first(numbers, _OUTPUT)
            numbers["total_tokens"] = total - was + is_


def reported_usage(document: Mapping[str, Any]) -> Usage | None:
    """Return the usage that a whole response or one stream event reports, or None."""
    one = ReportedUsage()
    one.read(document)
    return one.usage


def plain(numbers: Mapping[str, Any]) -> Usage | None:
    """Return the usage of an object that has only input, output and their sum, as nearly every
    answer's: 0.4 µs instead of 3. None if it has anything else, or the input is not known.
    """
    if len(numbers) != 3 or "total_tokens" not in numbers:
        return None
    input_, output = numbers.get("prompt_tokens"), numbers.get("completion_tokens")
    if (
        type(input_) is int
        and type(output) is int
        and 0 < input_ < _MOST_TOKENS
        and 0 <= output < _MOST_TOKENS
        and input_ + output == numbers["total_tokens"]
    ):
        return Usage(input_, output)
    return None


def _usage(numbers: Mapping[str, Any]) -> Usage | None:
    """Normalize the numbers of a usage object; None if all are zero.

    Cached tokens may be part of the input or reported beside it, and reasoning tokens part of the
    output or beside it. `total_tokens` shows which; without it, the names of the members do.
    """
    if (usage := plain(numbers)) is not None:
        return usage
    input_, output = _first(numbers, _INPUT), _first(numbers, _OUTPUT)
    if _BESIDE.isdisjoint(numbers):
        return Usage(input_, output) if input_ or output else None
    total = _count(numbers.get("total_tokens"))
    details = _details(numbers, _INPUT_DETAILS)
    cached = _first(numbers, (_READ,)) or _first(details, _CACHED) or _first(numbers, _ALSO_CACHED)
    written = _first(numbers, (_WRITTEN,)) or _first(details, _ALSO_WRITTEN)
    details = _details(numbers, _OUTPUT_DETAILS)
    reasoning = _first(details, _REASONING) or _first(numbers, _ALSO_REASONING)
    if total and not input_:
        input_ = max(0, total - output)
    named = "prompt_tokens" not in numbers and (_READ in numbers or _WRITTEN in numbers)
    cache_beside = named or cached + written > input_
    reasoning_beside = reasoning > output
    splits = total and (output or any(name in numbers for name in _OUTPUT))
    hidden = total - input_ - output
    if splits and (hidden or cache_beside or reasoning_beside):
        choices = [(cache_beside, reasoning_beside), (False, False), (False, True)]
        choices += [(True, False), (True, True)]
        for cache, thoughts in choices:
            if hidden == cache * (cached + written) + thoughts * reasoning:
                cache_beside, reasoning_beside = cache, thoughts
                break
        else:
            # Gemini reports reasoning tokens only as part of the total.
            hidden -= cache_beside * (cached + written)
            if hidden > 0:
                output += hidden
                reasoning, reasoning_beside = max(reasoning, hidden), False
    if cache_beside:
        input_ += cached + written
    if reasoning_beside:
        output += reasoning
    cached = min(cached, input_)
    found = Usage(input_, output, cached, min(written, input_ - cached), min(reasoning, output))
    return found if found.total else None


# These functions run for every response of a model. They use loops because a generator costs as
# much as the work inside.


def _first(numbers: Mapping[str, Any], names: Iterable[str]) -> int:
    for name in names:
        if name in numbers and (value := _count(numbers[name])):
            return value
    return 0


def _details(numbers: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    for name in names:
        value = numbers.get(name)
        if isinstance(value, dict):
            return value
    return {}


def _count(value: Any) -> int:
    if type(value) is int:
        return value if 0 <= value < _MOST_TOKENS else 0
    # Some languages write every number as a float.
    return (
        int(value)
        if type(value) is float and value.is_integer() and 0 <= value < _MOST_TOKENS
        else 0
    )
