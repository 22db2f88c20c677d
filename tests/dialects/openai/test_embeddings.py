"""Embeddings in OpenAI's dialect."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.dialects.openai import embeddings
from gateway.dialects.translation.embeddings import EmbeddingRequest, Vectors
from gateway.errors import NotTranslatable, RequestError, UpstreamInvalidResponse

VECTORS = Vectors("e", [[0.5, -1.0], [0.25, 2.0]], 7)
ANSWER = {
    "object": "list",
    "model": "e",
    "data": [
        {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
        {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
    ],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def test_a_request_is_read_and_its_user_dropped() -> None:
    asked = embeddings.read({"model": "e", "input": ["a", "b"], "dimensions": 2, "user": "ann"})
    assert asked == EmbeddingRequest("e", ["a", "b"], 2, dropped=["user"])


@pytest.mark.parametrize(("dimensions", "more"), [(None, {}), (2, {"dimensions": 2})])
def test_a_request_is_written_as_it_was_read(dimensions: int | None, more: dict[str, int]) -> None:
    asked = EmbeddingRequest("e", "a", dimensions)
    body = {"model": "e", "input": "a", "encoding_format": "float", **more}
    assert embeddings.write(asked) == body
    assert embeddings.read(body) == EmbeddingRequest("e", "a", dimensions, dropped=[])


def test_an_answer_is_written() -> None:
    assert orjson.loads(embeddings.write_answer(VECTORS, EmbeddingRequest("e", "a"))) == ANSWER


def test_vectors_are_read_in_the_order_of_their_indexes() -> None:
    reversed_ = {**ANSWER, "data": ANSWER["data"][::-1]}  # type: ignore[index]
    assert embeddings.read_answer(reversed_) == VECTORS


def test_sdks_get_the_base64_that_they_ask_for() -> None:
    asked = embeddings.read({"model": "e", "input": "a", "encoding_format": "base64"})
    data = orjson.loads(embeddings.write_answer(VECTORS, asked))["data"]
    assert struct.unpack("<2f", base64.b64decode(data[1]["embedding"])) == (0.25, 2.0)


def test_vectors_that_are_no_numbers_have_no_base64() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        embeddings.write_answer(Vectors("e", [["x"]], 0), EmbeddingRequest("e", "a", coded=True))


def test_token_numbers_are_not_translatable() -> None:
    with pytest.raises(NotTranslatable) as caught:
        embeddings.read({"model": "e", "input": [1, 2, 3]})
    assert caught.value.param == "input"


@pytest.mark.parametrize("fields", [{"encoding_format": "int8"}, {"dimensions": "two"}])
def test_a_malformed_request_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        embeddings.read({"model": "e", "input": "a", **fields})


@pytest.mark.parametrize("document", [{}, {"data": [1]}, {"data": {}}])
def test_an_answer_without_embeddings_is_invalid(document: dict[str, Any]) -> None:
    with pytest.raises(UpstreamInvalidResponse):
        embeddings.read_answer(document)
