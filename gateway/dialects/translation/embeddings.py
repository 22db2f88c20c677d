"""Translate embeddings between OpenAI's and Ollama's dialects, including Ollama's old endpoint."""

from __future__ import annotations

import base64
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.values import count, object_in, parsed, text_in
from gateway.errors import NotTranslatable, UpstreamInvalidResponse


@dataclass(frozen=True, slots=True)
class Embedding:
    """One translated request."""

    body: dict[str, Any]
    """Body for the backend."""
    answer: Callable[[bytes, str], bytes]
    """Translate the backend's response body. The second argument is the model name to report; if it
    is empty, the backend's name is reported. Can be pickled. Raises UpstreamInvalidResponse.
    """
    dropped: Sequence[str]
    """Names of fields that are not passed on."""


DROPPED_FOR_OLLAMA = ("user",)
DROPPED_FOR_OPENAI = ("keep_alive", "options", "truncate")
"""Fields that the backend's dialect lacks and that are dropped."""


def openai_to_ollama(document: dict[str, Any]) -> Embedding:
    """Translate a request to Ollama's /api/embed. Raise RequestError."""
    fields = Fields(document)
    texts = fields.any("input")
    if not _are_texts(texts):
        raise fields.untranslatable("input", "only a text or a list of texts can")
    body: dict[str, Any] = {"model": fields.needed("model"), "input": texts, "truncate": False}
    dimensions = fields.whole("dimensions")
    if dimensions is not None:
        body["dimensions"] = dimensions
    form = fields.text("encoding_format")
    if form not in (None, "float", "base64"):
        raise fields.wrong("encoding_format", "float or base64")
    fields.drop(*DROPPED_FOR_OLLAMA)
    fields.end()
    return Embedding(body, partial(_to_openai, coded=form == "base64"), fields.dropped)


def ollama_to_openai(document: dict[str, Any], *, old: bool) -> Embedding:
    """Translate a request to OpenAI's /v1/embeddings. `old`: the caller used /api/embeddings.

    Raise RequestError.
    """
    fields = Fields(document)
    texts = fields.any("prompt" if old else "input")
    if not _are_texts(texts):
        raise fields.wrong("prompt" if old else "input", "a text or a list of texts")
    body: dict[str, Any] = {
        "model": fields.needed("model"),
        "input": texts,
        "encoding_format": "float",
    }
    dimensions = fields.whole("dimensions")
    if dimensions is not None:
        body["dimensions"] = dimensions
    fields.drop(*DROPPED_FOR_OPENAI)
    fields.end()
    return Embedding(body, partial(_to_ollama, old=old), fields.dropped)


def refused(dialect: str) -> NotTranslatable:
    """Return the error for a backend dialect that has no embeddings."""
    return NotTranslatable("input", f"{dialect} has no embeddings")


def _are_texts(value: object) -> bool:
    if isinstance(value, list):
        return bool(value) and all(isinstance(one, str) for one in value)
    return isinstance(value, str)


def _to_openai(answer: bytes, model: str, *, coded: bool) -> bytes:
    document = parsed(answer) or {}
    vectors = document.get("embeddings")
    if not isinstance(vectors, list):
        raise UpstreamInvalidResponse("no embeddings")
    data = [
        {"object": "embedding", "index": index, "embedding": _coded(vector) if coded else vector}
        for index, vector in enumerate(vectors)
    ]
    tokens = count(document, "prompt_eval_count")
    return orjson.dumps(
        {
            "object": "list",
            "data": data,
            "model": model or text_in(document, "model"),
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def _coded(vector: Any) -> str:
    """Encode a vector as 32-bit little-endian floats in base64, as OpenAI's SDKs request it."""
    try:
        numbers = array("f", vector)
    except TypeError:
        raise UpstreamInvalidResponse("embeddings that are no numbers") from None
    if numbers.itemsize != 4 or array("H", [1]).tobytes() != b"\x01\0":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()


def _to_ollama(answer: bytes, model: str, *, old: bool) -> bytes:
    document = parsed(answer) or {}
    data = document.get("data")
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise UpstreamInvalidResponse("no embeddings")
    data.sort(key=lambda one: count(one, "index"))
    vectors = [one.get("embedding") for one in data]
    if old:
        return orjson.dumps({"embedding": vectors[0] if vectors else []})
    return orjson.dumps(
        {
            "model": model or text_in(document, "model"),
            "embeddings": vectors,
            "prompt_eval_count": count(object_in(document, "usage"), "prompt_tokens"),
        }
    )
