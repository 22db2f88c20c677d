"""Embeddings in Ollama's dialect."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from gateway.dialects.ollama import embeddings
from gateway.dialects.translation.embeddings import EmbeddingRequest, Vectors
from gateway.errors import RequestError, UpstreamInvalidResponse

VECTORS = Vectors("e", [[0.5, -1.0], [0.25, 2.0]], 7)
ANSWER = {"model": "e", "embeddings": VECTORS.vectors, "prompt_eval_count": 7}


def test_a_request_is_read_at_both_endpoints() -> None:
    expected = EmbeddingRequest("e", "a", dropped=["keep_alive"])
    assert embeddings.read({"model": "e", "keep_alive": 5, "input": "a"}) == expected
    assert embeddings.read_old({"model": "e", "keep_alive": 5, "prompt": "a"}) == expected


def test_a_text_that_is_too_long_is_refused_and_not_cut() -> None:
    body = {"model": "e", "input": ["a"], "truncate": False}
    assert embeddings.write(EmbeddingRequest("e", ["a"])) == body
    assert embeddings.write(EmbeddingRequest("e", ["a"], 2)) == body | {"dimensions": 2}


def test_an_answer_is_read_and_written() -> None:
    assert embeddings.read_answer(dict(ANSWER)) == VECTORS
    asked = EmbeddingRequest("e", ["a", "b"])
    assert orjson.loads(embeddings.write_answer(VECTORS, asked)) == ANSWER


@pytest.mark.parametrize("vectors", [VECTORS.vectors, []])
def test_the_old_endpoint_answers_with_one_vector(vectors: list[Any]) -> None:
    body = embeddings.write_old_answer(Vectors("e", vectors, 7), EmbeddingRequest("e", "a"))
    assert orjson.loads(body) == {"embedding": vectors[0] if vectors else []}


@pytest.mark.parametrize("texts", [None, [], 5, ["a", 5]])
def test_a_request_without_texts_is_refused(texts: Any) -> None:
    for read, name in ((embeddings.read, "input"), (embeddings.read_old, "prompt")):
        with pytest.raises(RequestError) as caught:
            read({"model": "e", name: texts})
        assert caught.value.param == name


def test_an_answer_without_embeddings_is_invalid() -> None:
    with pytest.raises(UpstreamInvalidResponse):
        embeddings.read_answer({})
