"""Embeddings between OpenAI's dialect and Ollama's."""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
import pytest

from gateway.dialects.translation.embeddings import ollama_to_openai, openai_to_ollama
from gateway.errors import NotTranslatable, RequestError, UpstreamInvalidResponse

OLLAMA = {"model": "e", "embeddings": [[0.5, -1.0], [0.25, 2.0]], "prompt_eval_count": 7}
OPENAI = {
    "object": "list",
    "model": "e",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.25, 2.0]},
        {"object": "embedding", "index": 0, "embedding": [0.5, -1.0]},
    ],
    "usage": {"prompt_tokens": 7, "total_tokens": 7},
}


def test_openais_request_and_ollamas_answer() -> None:
    asked = openai_to_ollama({"model": "e", "input": ["a", "b"], "dimensions": 2, "user": "ann"})
    # Too long a text is refused at OpenAI, and cut at Ollama unless it is told not to.
    assert asked.body == {"model": "e", "input": ["a", "b"], "truncate": False, "dimensions": 2}
    expected = {**OPENAI, "data": OPENAI["data"][::-1]}  # type: ignore[index]
    assert orjson.loads(asked.answer(orjson.dumps(OLLAMA), "")) == expected
    assert orjson.loads(asked.answer(orjson.dumps(OLLAMA), "mine")) == {**expected, "model": "mine"}
    assert list(asked.dropped) == ["user"]


def test_sdks_of_openais_get_the_base64_they_ask_for() -> None:
    answer = openai_to_ollama({"model": "e", "input": "a", "encoding_format": "base64"}).answer
    data = orjson.loads(answer(orjson.dumps(OLLAMA), ""))["data"]
    assert struct.unpack("<2f", base64.b64decode(data[1]["embedding"])) == (0.25, 2.0)


@pytest.mark.parametrize(
    ("old", "asked", "expected"),
    [
        (
            False,
            {"input": ["a", "b"]},
            {"model": "e", "embeddings": OLLAMA["embeddings"], "prompt_eval_count": 7},
        ),
        (True, {"prompt": "a"}, {"embedding": [0.5, -1.0]}),
    ],
)
def test_ollamas_request_and_openais_answer(
    old: bool, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    found = ollama_to_openai({"model": "e", "keep_alive": 5, **asked}, old=old)
    texts = asked.get("input") or asked["prompt"]
    assert found.body == {"model": "e", "input": texts, "encoding_format": "float"}
    assert orjson.loads(found.answer(orjson.dumps(OPENAI), "")) == expected
    assert list(found.dropped) == ["keep_alive"]


def test_tokens_are_no_text_to_ollama() -> None:
    with pytest.raises(NotTranslatable) as caught:
        openai_to_ollama({"model": "e", "input": [1, 2, 3]})
    assert caught.value.param == "input"


@pytest.mark.parametrize("fields", [{"encoding_format": "int8"}, {"dimensions": "two"}])
def test_what_is_malformed_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(RequestError):
        openai_to_ollama({"model": "e", "input": "a", **fields})


@pytest.mark.parametrize("body", [b"oops", b"[]", b"{}", b'{"embeddings":[["x"]]}'])
def test_an_answer_without_embeddings_is_none(body: bytes) -> None:
    answer = openai_to_ollama({"model": "e", "input": "a", "encoding_format": "base64"}).answer
    with pytest.raises(UpstreamInvalidResponse):
        answer(body, "")


@pytest.mark.parametrize("body", [b"oops", b"{}", b'{"data":[1]}'])
def test_nor_is_one_of_openais(body: bytes) -> None:
    answer = ollama_to_openai({"model": "e", "input": "a"}, old=False).answer
    with pytest.raises(UpstreamInvalidResponse):
        answer(body, "")
