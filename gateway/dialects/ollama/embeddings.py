"""Read and write embeddings in Ollama's dialect, at /api/embed and the older /api/embeddings."""

from __future__ import annotations

from functools import partial
from typing import Any

import orjson

from gateway.dialects.translation.embeddings import EmbeddingRequest, Vectors, are_texts
from gateway.dialects.translation.fields import Fields
from gateway.dialects.translation.values import count, text_in
from gateway.errors import UpstreamInvalidResponse

DROPPED = ("keep_alive", "options", "truncate")
"""Fields that are not passed on."""


def _read(document: dict[str, Any], *, texts_field: str) -> EmbeddingRequest:
    fields = Fields(document)
    texts = fields.any(texts_field)
    if not are_texts(texts):
        raise fields.wrong(texts_field, "a text or a list of texts")
    model, dimensions = fields.needed("model"), fields.whole("dimensions")
    fields.drop(*DROPPED)
    fields.end()
    return EmbeddingRequest(model, texts, dimensions, dropped=fields.dropped)


read = partial(_read, texts_field="input")
"""Read a request body of /api/embed. Raise RequestError, or its subclass NotTranslatable."""
read_old = partial(_read, texts_field="prompt")
"""Read a request body of /api/embeddings."""


def write(asked: EmbeddingRequest) -> dict[str, Any]:
    """Build a request body for a backend. It refuses texts that are too long, as OpenAI does."""
    body = {"model": asked.model, "input": asked.texts, "truncate": False}
    return body if asked.dimensions is None else body | {"dimensions": asked.dimensions}


def read_answer(document: dict[str, Any]) -> Vectors:
    """Read a backend's response. Raise UpstreamInvalidResponse."""
    vectors = document.get("embeddings")
    if not isinstance(vectors, list):
        raise UpstreamInvalidResponse("no embeddings")
    return Vectors(text_in(document, "model"), vectors, count(document, "prompt_eval_count"))


def write_answer(answer: Vectors, asked: EmbeddingRequest) -> bytes:
    """Return the body of a response of /api/embed."""
    return orjson.dumps(
        {
            "model": answer.model,
            "embeddings": answer.vectors,
            "prompt_eval_count": answer.tokens,
        }
    )


def write_old_answer(answer: Vectors, asked: EmbeddingRequest) -> bytes:
    """Return the body of a response of /api/embeddings, which has one embedding."""
    return orjson.dumps({"embedding": answer.vectors[0] if answer.vectors else []})
