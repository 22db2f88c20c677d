"""Read and write embeddings in OpenAI's dialect.

https://platform.openai.com/docs/api-reference/embeddings/create
"""

from __future__ import annotations

import base64
from array import array
from typing import Any

import orjson

from gateway.dialects.translation.embeddings import EmbeddingRequest, Vectors, are_texts
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.values import count, object_in, text_in
from gateway.errors import UpstreamInvalidResponse

DROPPED = ("user",)
"""Fields that are not passed on."""


def read(document: dict[str, Any]) -> EmbeddingRequest:
    """Read a request body. Raise RequestError, or its subclass NotTranslatable."""
    fields = Fields(document)
    texts = fields.any("input")
    if not are_texts(texts):
        raise fields.untranslatable("input", "only a text or a list of texts can")
    model, dimensions = fields.needed("model"), fields.whole("dimensions")
    form = fields.text("encoding_format")
    if form not in (None, "float", "base64"):
        raise fields.wrong("encoding_format", "float or base64")
    fields.drop(*DROPPED)
    fields.end()
    return EmbeddingRequest(model, texts, dimensions, form == "base64", fields.dropped)


def write(asked: EmbeddingRequest) -> dict[str, Any]:
    """Build a request body for a backend."""
    body = {"model": asked.model, "input": asked.texts, "encoding_format": "float"}
    return body if asked.dimensions is None else body | {"dimensions": asked.dimensions}


def read_answer(document: dict[str, Any]) -> Vectors:
    """Read a backend's response. Raise UpstreamInvalidResponse."""
    data = document.get("data")
    if not isinstance(data, list) or not all(isinstance(one, dict) for one in data):
        raise UpstreamInvalidResponse("no embeddings")
    data.sort(key=lambda one: count(one, "index"))
    tokens = count(object_in(document, "usage"), "prompt_tokens")
    return Vectors(text_in(document, "model"), [one.get("embedding") for one in data], tokens)


def write_answer(answer: Vectors, asked: EmbeddingRequest) -> bytes:
    """Return the body of a response. Raise UpstreamInvalidResponse."""
    data = [
        {
            "object": "embedding",
            "index": index,
            "embedding": _coded(vector) if asked.coded else vector,
        }
        for index, vector in enumerate(answer.vectors)
    ]
    usage = {"prompt_tokens": answer.tokens, "total_tokens": answer.tokens}
    return orjson.dumps({"object": "list", "data": data, "model": answer.model, "usage": usage})


def _coded(vector: Any) -> str:
    """Encode a vector as 32-bit little-endian floats in base64, as OpenAI's SDKs request it."""
    try:
        numbers = array("f", vector)
    except TypeError:
        raise UpstreamInvalidResponse("embeddings that are no numbers") from None
    if numbers.itemsize != 4 or array("H", [1]).tobytes() != b"\x01\0":
        numbers.byteswap()
    return base64.b64encode(numbers.tobytes()).decode()
