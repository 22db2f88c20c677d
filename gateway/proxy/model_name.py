"""The `model` of a JSON body: read it, and rename it without touching any other byte."""

from __future__ import annotations

import re

import orjson

from gateway.errors import RequestError

_KEY = b'"model"'
_ESCAPED = rb"\u006"
"""How an escaped letter of the key would begin: m, o, d, e and l are U+0064 to U+006F."""
_VALUE = re.compile(rb'"model"[ \t\r\n]*:[ \t\r\n]*("(?:[^"\\]|\\.)*+")')
_TOKEN = re.compile(
    rb'"(?P<string>(?:[^"\\]|\\.)*+)"(?P<colon>[ \t\r\n]*:)?|(?P<open>[{\[])|(?P<close>[}\]])'
)


def read_model(body: bytes) -> str | None:
    """The body's top-level `model`, or None if it has none.

    Raise RequestError if the body is not one JSON object, the model is not a string, or it is
    given twice: what is decided on has to be what the upstream will see.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise RequestError("The request body is not valid JSON.", code="invalid_json") from exc
    if not isinstance(document, dict):
        raise RequestError("The request body is not a JSON object.", code="invalid_json")
    if any(len(key) == 5 and key != "model" and key.lower() == "model" for key in document):
        # encoding/json of Go, and so Ollama, takes any case for the same key.
        raise RequestError("'model' is written in another case.", param="model")
    if (body.count(_KEY) > 1 or _ESCAPED in body) and len(_spans(body)) > 1:
        raise RequestError("'model' is given more than once.", param="model")
    model = document.get("model")
    if model is not None and not isinstance(model, str):
        raise RequestError("'model' has to be a string.", param="model")
    return model


def rename_model(body: bytes, name: bytes) -> bytes:
    """The body with its top-level model replaced by `name`, a JSON string in its quotes.

    `read_model` has to have accepted the body.
    """
    if body.count(_KEY) == 1 and _ESCAPED not in body:
        match = _VALUE.search(body)
        assert match is not None
        start, end = match.span(1)
    else:
        ((start, end),) = _spans(body)
    return b"".join((body[:start], name, body[end:]))


def _spans(body: bytes) -> list[tuple[int, int]]:
    """Where the values of all top-level `model` keys stand, in a valid JSON object."""
    spans: list[tuple[int, int]] = []
    depth = 0
    pending = False
    for token in _TOKEN.finditer(body):
        if token["open"] is not None:
            depth += 1
            pending = False
        elif token["close"] is not None:
            depth -= 1
        elif token["colon"] is not None:
            key = token["string"]
            pending = depth == 1 and (
                key == b"model" or (b"\\" in key and orjson.loads(b'"%b"' % key) == "model")
            )
            if pending:
                spans.append((token.end(), token.end()))
        elif pending:
            spans[-1] = (token.start(), token.end())
            pending = False
    return spans
