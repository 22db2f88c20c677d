"""Request body that is one JSON object: parsed once for all who need its values, and edited in
place, so that every other byte stays as the client sent it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice, product
from types import MappingProxyType
from typing import Any

import orjson

from gateway import json_edits, sound_json
from gateway.byte_search import occurs, occurs_twice
from gateway.errors import RequestError
from gateway.json_edits import Edits
from gateway.media import modalities
from gateway.usage import Estimate, estimate

_MODEL = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("[^"\\]*+(?:\\.[^"\\]*+)*+")', re.DOTALL)
_OTHER_CASES = frozenset(map("".join, product(*zip("model", "MODEL", strict=True)))) - {"model"}
_ESCAPED = rb"\u006"
"""Start of an escaped letter of the key `model`: m, o, d, e and l are U+0064 to U+006F."""
_BACKSLASH = ord("\\")
"""Number, not bytes: CPython 3.11 takes 2000 instructions more to look for bytes with `in`, since
it tries them as a number first, and makes an exception.
"""
_MAXIMA = ("max_tokens", "max_completion_tokens")
_KEPT_BYTES = 4096
"""Limit for values of a body that a helper process has parsed: larger lists and objects are
emptied, longer strings are cut.
"""
_KEPT_MEMBERS = 1024

ALWAYS_LIGHT_BYTES = 64 * 1024
"""Bodies up to this size are always parsed on the event loop: the worst takes 20 ms."""
_SCANNED_BYTES = 1024 * 1024
"""Bytes that are counted at a time: what is heavy is so after the first piece."""
_FEW = 1000
"""Occurrences in a piece up to which a search for each is quicker than a count."""
_HEAVY_US = 20_000.0
# Cost of parsing with orjson, measured on bodies full of one kind of token.
_BYTE_US, _OPEN_US, _ITEM_US = 0.001, 0.3, 0.06
_ITEM_MARKS = b',"\\'
_DENSE_BYTE_US = 0.016
"""The most that a byte costs in a body without lists and inner objects: one full of short keys."""
_OBJECT_US = 1.0
"""Cost of the search for media in one object."""
TRANSLATED_OBJECT_US = 8.0
"""Cost of the translation of one object."""
_EDITED_OBJECT_US = 5.0
"""Cost of the search for members beside one object, by `JsonBody.edited`."""
_EDITED_STRING_US = 2.0
"""The same for one string, which may be a key."""


def is_heavy(body: bytes, object_us: float = 0.0) -> bool:
    """Tell whether parsing a body would block the event loop for more than about 20 ms.

    `object_us` is the cost of further work for each object in it. The check itself takes 0.02 to
    0.5 ms for a MiB of text, and up to 2 ms for a MiB that is full of brackets.
    """
    size = len(body)
    if size <= ALWAYS_LIGHT_BYTES:
        return False
    cost_us = size * _BYTE_US
    for start in range(0, size, _SCANNED_BYTES):
        stop = min(start + _SCANNED_BYTES, size)
        objects = _count(body, b"{", start, stop)
        opens = objects + _count(body, b"[", start, stop)
        cost_us += opens * _OPEN_US + objects * (_OBJECT_US + object_us)
        if cost_us + (size - start) * _DENSE_BYTE_US > _HEAVY_US:
            # Three counts would take twice as long.
            rest = body[start:stop].translate(None, _ITEM_MARKS)
            cost_us += (stop - start - len(rest)) * _ITEM_US
        else:  # it does not matter what else is in it
            cost_us += (stop - start) * _DENSE_BYTE_US
        if cost_us > _HEAVY_US:
            return True
    return False


def _count(body: bytes, byte: bytes, start: int, stop: int) -> int:
    """Return how often a byte occurs in a piece. CPython searches for the next one in a twentieth
    of the time in which it counts.
    """
    at = start
    for number in range(_FEW):
        at = body.find(byte, at, stop) + 1
        if not at:
            return number
    return body.count(byte, start, stop)


def is_heavy_to_edit(body: bytes) -> bool:
    """Tell whether the search for the members of a body would block the event loop likewise."""
    if len(body) <= ALWAYS_LIGHT_BYTES:
        return False
    strings_us = body.count(b'"') / 2 * _EDITED_STRING_US
    return strings_us > _HEAVY_US or is_heavy(body, _EDITED_OBJECT_US)


def is_heavy_to_read(body: bytes, *, plain: bool, object_us: float = 0.0) -> bool:
    """Tell whether `read` would block the event loop likewise. `plain` is the result of
    `is_plain`.
    """
    if is_heavy(body, object_us):
        return True
    return not plain and is_heavy_to_edit(body)


class JsonBody:
    """Request body with its parsed content."""

    # Initial values as class attributes: most requests need none of these, and setting ten
    # attributes takes longer than parsing.
    whole = True
    """True if `document` is complete."""
    _estimate: Estimate | None = None
    _named: tuple[str, ...] | None = None
    _spans: dict[bytes, tuple[int, int] | None] | None = None
    """Start and end of values in the body, by key; None if the key is missing or occurs more than
    once.
    """
    _edits: Mapping[str, Any] = MappingProxyType({})
    """New values, by key."""
    _modalities: frozenset[str] | None = None
    original: JsonBody | None = None
    """Body that this one was made from by `edited`."""
    _sent = b""
    """Last result of `rendered`."""

    def __init__(
        self, raw: bytes, document: dict[str, Any], model: str | None, *, plain: bool = False
    ) -> None:
        self.raw = raw
        """The bytes that the client sent; empty if the body was parsed in a helper process and not
        set since.
        """
        self.document = document
        """The parsed object. If not `whole`, only its top level: long strings are cut, long lists
        and objects are empty, and there are 1024 keys at most.
        """
        self.model = model
        """Value of the top-level `model`."""
        self.streams = document.get("stream") is True
        """True if the request asks for a stream."""
        self._plain = plain
        """Result of `is_plain`."""

    @property
    def asked(self) -> Estimate:
        """Estimate of the tokens that the request may use."""
        if self._estimate is None:
            self._estimate = estimate(self.document, len(self.raw))
        return self._estimate

    @property
    def also_named(self) -> tuple[str, ...]:
        """Further models that the request names: as alternatives, or for one of the backend's
        tools.
        """
        if self._named is None:
            self._named = tuple(_also_named(self.document))
        return self._named

    def rename(self, name: str) -> None:
        """Replace the model in the bytes to send. The body must name one."""
        self._edits = {**self._edits, "model": name}

    def ask_for_usage(self) -> bool:
        """Ask for token usage in an OpenAI-shaped stream. Return True if that changes the body."""
        if not self.streams:
            return False
        options = self.document.get("stream_options")
        if isinstance(options, dict) and options.get("include_usage") is True:
            return False
        if "stream_options" in self.document and self._span(b"stream_options") is None:
            # The key occurs more than once, and it is not known which one the backend uses.
            return False
        options = options if isinstance(options, dict) else {}
        asked = {**options, "include_usage": True}
        self._edits = {**self._edits, "stream_options": asked}
        return True

    def rendered(self) -> bytes:
        """Return the bytes to send."""
        self._sent = self._with(self._edits)
        return self._sent

    def unasked(self) -> bytes:
        """Return the bytes to send to a backend that rejects the field added by `ask_for_usage`."""
        others = {key: value for key, value in self._edits.items() if key != "stream_options"}
        return self._with(others)

    def _with(self, edits: Mapping[str, Any]) -> bytes:
        if not edits:
            return self.raw
        view = memoryview(self.raw)
        at = self.raw.index(b"{") + 1
        pieces: list[bytes | memoryview] = [view[:at]]
        places = []
        for key, value in edits.items():
            span = self._span(key.encode())
            if span is None:  # a key that is missing is added at the front
                pieces.append(b'"%b":%b,' % (key.encode(), encoded(value)))
            else:
                places.append((span, encoded(value)))
        for (start, end), text in sorted(places):
            pieces += [view[at:start], text]
            at = end
        pieces.append(view[at:])
        return b"".join(pieces)

    def parsed_as_sent(self, body: bytes) -> dict[str, Any] | None:
        """Return the document of `body` if those are the bytes sent for this object and it is
        `whole`; otherwise None.
        """
        if not self.whole or not (body is self.raw or body is self._sent):
            return None
        return {**self.document, **self._edits} if self._edits else self.document

    @property
    def modalities(self) -> frozenset[str]:
        """Kinds of content in the request."""
        if self._modalities is None:
            self._modalities = modalities(self.document)
        return self._modalities

    def edited(self, edits: Edits) -> JsonBody:
        """Return this body with other parameters, for bodies that are `whole`. Raise RequestError
        if it is nested too deeply.
        """
        raw = _edited(self.raw, edits)
        plain = self._plain and is_plain(raw)
        made = JsonBody(raw, json_edits.applied(self.document, edits), self.model, plain=plain)
        made._named, made._modalities = self._named, self._modalities
        return self.replaced_by(made)

    def replaced_by(self, made: JsonBody) -> JsonBody:
        """Return `made`, which is sent instead of this body: its model is renamed alike."""
        made.original, made._edits = self, self._edits
        return made

    def restored(self) -> JsonBody:
        """Return the body without the parameters that were changed for a model."""
        original = self.original
        if original is None:
            return self
        original._edits = self._edits
        return original

    def _span(self, key: bytes) -> tuple[int, int] | None:
        spans = self._spans
        if spans is None:
            spans = self._spans = {}
        if key not in spans:
            spans[key] = self._only_span(key)
        return spans[key]

    def _only_span(self, key: bytes) -> tuple[int, int] | None:
        if key == b"model" and self._plain:
            match = _MODEL.search(self.raw)
            return match.span(1) if match is not None else None
        if self.whole and key.decode() not in self.document:
            return None
        found = json_edits.spans(self.raw, key)
        return found[0] if len(found) == 1 else None

    def pruned(self) -> JsonBody:
        """Return a copy without its long values, with everything that needs them computed
        beforehand.
        """
        kept = islice(self.document.items(), _KEPT_MEMBERS)
        pruned = JsonBody(b"", {key: _pruned(value) for key, value in kept}, self.model)
        pruned.whole = False
        pruned._estimate, pruned._named = self.asked, self.also_named
        pruned._modalities = self.modalities
        pruned._spans = {key: self._only_span(key) for key in (b"model", b"stream_options")}
        return pruned


def read(body: bytes, *, plain: bool | None = None) -> JsonBody:
    """Parse a body. `plain` is the result of `is_plain`, if it is known. Raise RequestError if the
    body is not one JSON object, if its model is not a string, or if the model is given twice: the
    gateway must decide on the same model that the upstream sees.
    """
    document = _parsed(body)
    if not isinstance(document, dict):
        raise RequestError("The request body is not a JSON object.", code="invalid_json")
    if not _OTHER_CASES.isdisjoint(document):
        # Go's encoding/json, and so Ollama, matches keys without regard to case.
        raise RequestError("'model' is written in another case.", param="model")
    if plain is None:
        plain = is_plain(body)
    if not plain and len(json_edits.spans(body, b"model")) > 1:
        raise RequestError("'model' is given more than once.", param="model")
    model = document.get("model")
    if isinstance(model, str):
        if "\ufffd" in model:
            # Half a character, which each backend reads in its own way.
            raise RequestError("'model' is not valid text.", code="invalid_json", param="model")
    elif model is not None:
        raise RequestError("'model' has to be a string.", param="model")
    return JsonBody(body, document, model, plain=plain)


def refuse_repeated(body: bytes) -> None:
    """Raise RequestError if a parameter of a valid JSON object is given more than once. The gateway
    would judge the last one; a backend may use the first, or with Ollama's `options` both.
    """
    if json_edits.repeats_a_key(body, "options"):
        raise RequestError("A parameter is given more than once.")


def read_elsewhere(body: bytes) -> JsonBody:
    """Parse a heavy body in a helper process and return it `pruned`. Raise RequestError."""
    return read(body).pruned()


def encoded(value: Any) -> bytes:
    """Serialize what was parsed of a body. Raise RequestError if it is nested too deeply: orjson
    reads 1024 levels and writes 254.
    """
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as exc:
        raise RequestError("The request body is nested too deeply.", code="invalid_json") from exc


def continued(body: bytes, text: str, tokens: int, model: str | None, final: bool) -> bytes:
    """Return the request body that asks a backend to continue an answer. The answer so far is
    `text`, about `tokens` tokens, which are subtracted from the maximum. `model` replaces the model
    unless None. `final`: add the fields that tell the backend to continue a final message. Without
    any text the backend is asked to begin the answer. Raise RequestError if the body is nested too
    deeply.
    """
    document = _parsed(body)
    if text:
        document["messages"].append({"role": "assistant", "content": text})
    if model is not None:
        document["model"] = model
    for key in _MAXIMA:
        if isinstance(document.get(key), int):
            document[key] = max(1, document[key] - tokens)
    options = document.get("options")
    if isinstance(options, dict) and isinstance(most := options.get("num_predict"), int):
        options["num_predict"] = max(1, most - tokens) if most > 0 else most
    if final and text:
        document |= {"continue_final_message": True, "add_generation_prompt": False}
    return encoded(document)


def _edited(body: bytes, edits: Edits) -> bytes:
    try:
        return json_edits.edited(body, edits)
    except orjson.JSONEncodeError as exc:
        raise RequestError("The request body is nested too deeply.", code="invalid_json") from exc


def _parsed(body: bytes) -> Any:
    try:
        return sound_json.loads(body)
    except orjson.JSONDecodeError as exc:
        raise RequestError("The request body is not valid JSON.", code="invalid_json") from exc


def _pruned(value: Any) -> Any:
    if isinstance(value, str):
        return value if len(value) <= _KEPT_BYTES else value[:_KEPT_BYTES]
    if not isinstance(value, list | dict):
        return value
    try:
        if len(value) <= _KEPT_MEMBERS and len(orjson.dumps(value)) <= _KEPT_BYTES:
            return value
    except orjson.JSONEncodeError:  # it is nested too deeply
        pass
    return type(value)()


def _also_named(document: Mapping[str, Any]) -> list[str]:
    """Return the further models of a request: OpenRouter's fallback list `models`, LiteLLM's
    `fallbacks`, and models of a backend's tools.
    """
    names: list[str] = []
    for key in ("models", "fallbacks", "tools"):
        value = document.get(key)
        for entry in value if isinstance(value, list) else [value]:
            name = entry.get("model") if isinstance(entry, dict) else entry
            if isinstance(name, str):
                names.append(name)
    return names


def is_plain(body: bytes) -> bool:
    """Tell whether the key `model` occurs once at most in a body, and no letter of it can be
    written as an escape.
    """
    if occurs_twice(body, b'"model"'):
        return False
    return _BACKSLASH not in body or not occurs(body, _ESCAPED)
