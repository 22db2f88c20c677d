"""Rules of one model for the requests that are sent to it: which parameters it gets, and whether a
request fits into its context window and its modalities.

Values in, values out. `gateway/middleware/model_rules.py` applies them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.dialects import Dialect
from gateway.errors import (
    ContextLengthExceeded,
    ModalityNotSupported,
    RequestError,
    UnsupportedParameter,
)
from gateway.json_body import JsonBody, refuse_repeated
from gateway.json_edits import REMOVED, Edits, Nested

_OPTIONS = "options"
"""Object in which Ollama has its parameters."""
_SAME: Mapping[str, Sequence[str]] = {
    "max_tokens": (
        *("max_completion_tokens", "max_tokens", "max_output_tokens", "num_predict"),
        *("max_tokens_to_sample", "n_predict"),
    ),
    "n": ("n", "best_of"),
    "stop": ("stop", "stop_sequences"),
    "tools": ("tools", "functions"),
}
"""Names that a parameter has in the APIs. A missing one is added by the first that its endpoint
has.
"""
_WITH: Mapping[str, Sequence[str]] = {
    "tools": ("tool_choice", "function_call", "parallel_tool_calls"),
}
"""Parameters that a backend refuses without another one."""
_UNLIMITED: Mapping[str, int] = {"max_tokens": -1, "top_k": 0}
"""Parameters of which a value of this or less stands for no limit, in llama.cpp, Ollama and vLLM.
"""
_BYTES_PER_TOKEN = 4
"""Divisor of the estimate of a request's tokens: see `gateway/usage.py`."""
_MOST_CHARS_PER_TOKEN = 6
"""Characters of a token that the text of no language exceeds on average. English has 4 to 5."""
_ESCAPE_BYTES = len(rb"\u00e9") - 1
"""Bytes by which an escape is longer than one character."""


@dataclass(frozen=True, slots=True)
class ParameterRules:
    """Rules for parameters, by the names of OpenAI's chat endpoint."""

    drop: frozenset[str] = frozenset()
    set: Mapping[str, Any] = field(default_factory=dict)
    """Values that replace those of the request, or are added."""
    default: Mapping[str, Any] = field(default_factory=dict)
    """Values for requests that have none."""
    cap: Mapping[str, float] = field(default_factory=dict)
    """Maximum values. Larger ones are lowered to them."""
    refuse: frozenset[str] = frozenset()


_NO_RULES = ParameterRules()
_Place = tuple[str, ...]
"""Key of a parameter, or `options` and the key in it."""
_Found = Mapping[str, Sequence[tuple[_Place, Any]]]
"""Places and values of the parameters in a request, by their names in lower case."""


class ModelRules:
    """Rules of one model, for callers of one dialect."""

    __slots__ = ("_generating", "_modalities", "_parameters", "_places", "_window")

    def __init__(
        self,
        dialect: Dialect,
        parameters: ParameterRules,
        *,
        context_window: int | None = None,
        modalities: frozenset[str] | None = None,
        max_tokens_field: str = "max_completion_tokens",
    ) -> None:
        """`context_window` is in tokens. `modalities` are the kinds of content that the model
        takes, or None if they are not known. `max_tokens_field` is the name by which a missing
        `max_tokens` is added, if its endpoint has it.
        """
        self._parameters = parameters
        self._window = context_window
        self._modalities = modalities
        self._generating = dialect.paths.generating
        self._places = _places(dialect, [*parameters.set, *parameters.default], max_tokens_field)

    @property
    def changes_parameters(self) -> bool:
        """True if there are rules for parameters."""
        return self._parameters != _NO_RULES

    def edits(self, body: JsonBody, path: str) -> Edits:
        """Return the edits of a request's parameters, for bodies that are `whole`. Raise
        UnsupportedParameter, or RequestError if a parameter is given more than once.
        """
        rules = self._parameters
        refuse_repeated(body.raw)
        found = _found(body.document)
        self._refuse(body, found)
        edits: dict[_Place, Any] = {}
        for name, most in rules.cap.items():
            for place, value in _all(found, name):
                if value is not None and not _is_within(name, value, most):
                    edits[place] = _number(most)
        for name in rules.drop:
            for dropped in (name, *_WITH.get(name, ())):
                edits.update((place, REMOVED) for place, _ in _all(found, dropped))
        for name, value in rules.set.items():
            places = [place for place, _ in _all(found, name)] or self._added(name, path)
            edits.update((place, value) for place in places)
        for name, value in rules.default.items():
            there = list(_all(found, name))
            if all(given is None for _, given in there):
                places = [place for place, _ in there] or self._added(name, path)
                edits.update((place, value) for place in places)
        return _nested(edits)

    def misfit(self, body: JsonBody, path: str, *, surely: bool = False) -> RequestError | None:
        """Return an error if the model cannot serve a request; None if it fits.

        The length of a prompt is an estimate. `surely`: only say that it does not fit if it cannot
        fit, even if a token had six characters.
        """
        if self._modalities is not None:
            others = body.modalities - self._modalities
            if others:
                return ModalityNotSupported(min(others))
        window = self._window
        if window is None or not path.rstrip("/").endswith(self._generating):
            return None
        if isinstance(body.document.get("prompt"), list):
            return None  # several prompts, or tokens
        asked = body.asked
        output = self._output(0 if asked.output is None else asked.output // asked.answers)
        needed = asked.input + output
        if needed <= window:
            return None
        if surely and _least(body) + output <= window:
            return None
        return ContextLengthExceeded(needed, window)

    def refuses(self, body: JsonBody) -> bool:
        """Tell whether the rules refuse a parameter of the request, or one that it repeats."""
        try:
            if body.whole and self.changes_parameters:
                refuse_repeated(body.raw)
            self._refuse(body, _found(body.document))
        except RequestError:
            return True
        return False

    def _refuse(self, body: JsonBody, found: _Found) -> None:
        for name in self._parameters.refuse:
            for place, value in _all(found, name):
                if _is_unused(value) and (body.whole or not isinstance(value, list | dict)):
                    continue  # long values of a body that is not `whole` are empty
                if name == "n" and value == 1:
                    continue
                raise UnsupportedParameter(place[-1].casefold())

    def _output(self, tokens: int) -> int:
        """Return the maximum length of an answer, as the rules change it."""
        rules = self._parameters
        told = rules.set.get("max_tokens") or tokens or rules.default.get("max_tokens") or 0
        told = told if isinstance(told, int) else 0
        return int(min(told, rules.cap.get("max_tokens", told)))

    def _added(self, name: str, path: str) -> Sequence[_Place]:
        """Return the place at which a missing parameter is added; none if the endpoint does not
        have it.
        """
        path = path.rstrip("/")
        for end, places in self._places:
            if path.endswith(end):
                return places.get(name, ())
        return ()


def _least(body: JsonBody) -> int:
    """Return the smallest number of tokens that the text of a request may have."""
    raw, asked = body.raw, body.asked
    text_bytes = (asked.input - asked.media - 1) * _BYTES_PER_TOKEN
    longer = len(raw) - len(raw.decode("utf-8", "replace")) + raw.count(b"\\u") * _ESCAPE_BYTES
    return max(0, text_bytes - longer) // _MOST_CHARS_PER_TOKEN


def _places(
    dialect: Dialect, names: Sequence[str], max_tokens_field: str
) -> Sequence[tuple[str, Mapping[str, Sequence[_Place]]]]:
    """Return the places at which parameters are added, for each endpoint by the end of its path. A
    parameter that no endpoint of the dialect has is added to those that generate text.
    """
    fields = {end: tuple(_fields(schema)) for end, schema in dialect.request_schemas.items()}
    known = {place[-1] for places in fields.values() for place in places}
    found = []
    for end, there in fields.items():
        by_name = {place[-1]: place for place in there}
        places: dict[str, Sequence[_Place]] = {}
        for name in names:
            same = _SAME.get(name, (name,))
            if name == "max_tokens":
                same = (max_tokens_field, *same)
            place = next((by_name[one] for one in same if one in by_name), None)
            if place is not None:
                places[name] = (place,)
            elif known.isdisjoint(same) and end in dialect.paths.generating:
                places[name] = ((name,),)
        found.append((end, places))
    return found


def _fields(schema: Mapping[str, Any]) -> Iterator[_Place]:
    for name, inner in schema["properties"].items():
        yield (name,)
        if name == _OPTIONS:
            yield from ((_OPTIONS, one) for one in inner["properties"])


def _found(document: Mapping[str, Any]) -> _Found:
    """Return all parameters of a request. Their names are compared without regard to case, as
    Ollama does.
    """
    found: dict[str, list[tuple[_Place, Any]]] = {}
    for key, value in document.items():
        name = key.casefold()
        if name == _OPTIONS and isinstance(value, dict):
            for inner, one in value.items():
                found.setdefault(inner.casefold(), []).append(((key, inner), one))
        found.setdefault(name, []).append(((key,), value))
    return found


def _all(found: _Found, name: str) -> Iterator[tuple[_Place, Any]]:
    for one in _SAME.get(name, (name,)):
        yield from found.get(one, ())


def _is_unused(value: Any) -> bool:
    """Tell whether a value is as good as none. A number is not: 0 is a seed, too."""
    return value is None or value is False or (isinstance(value, list | dict) and not value)


def _is_within(name: str, value: Any, most: float) -> bool:
    """Tell whether a value is a number up to `most`. A lenient backend may read a text as a
    number.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    unlimited = _UNLIMITED.get(name)
    return value <= most and (unlimited is None or value > unlimited)


def _number(value: float) -> float:
    return int(value) if value.is_integer() else value


def _nested(edits: Mapping[_Place, Any]) -> Edits:
    made: dict[str, Any] = {}
    for place, value in edits.items():
        if len(place) == 1:
            made[place[0]] = value
        else:
            inner = made.setdefault(place[0], Nested({})).edits
            made[place[0]] = Nested({**inner, place[1]: value})
    return made
