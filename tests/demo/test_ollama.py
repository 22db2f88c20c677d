"""What the demo backend answers as Ollama."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.demo.conftest import (
    MANY,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OPENAI,
    PROMPT,
    PROMPT_TOKENS,
    Body,
    answer,
    chat,
    lines,
)

EMBED = "/api/embed"


def generate(**fields: Any) -> Body:
    return {"model": "demo", "prompt": PROMPT, **fields}


async def test_a_chat_that_is_not_streamed_is_one_finished_message(
    client: httpx.AsyncClient,
) -> None:
    document = await answer(client, OLLAMA_CHAT, chat(stream=False))
    assert document["model"] == "demo"
    assert document["message"]["role"] == "assistant"
    assert (document["done"], document["done_reason"]) == (True, "stop")


async def test_a_chat_says_what_the_openai_dialect_says(client: httpx.AsyncClient) -> None:
    said = (await answer(client, OPENAI, chat()))["choices"][0]["message"]["content"]
    document = await answer(client, OLLAMA_CHAT, chat(stream=False))
    assert document["message"]["content"] == said


async def test_a_chat_streams_unless_told_not_to(client: httpx.AsyncClient) -> None:
    assert await lines(client, OLLAMA_CHAT, chat()) == await lines(
        client, OLLAMA_CHAT, chat(stream=True)
    )


async def test_a_streamed_chat_is_one_token_a_line_and_a_last_line(
    client: httpx.AsyncClient,
) -> None:
    *tokens, last = await lines(client, OLLAMA_CHAT, chat())
    assert [len(line["message"]["content"].split()) for line in tokens] == [1] * len(tokens)
    assert {line["done"] for line in tokens} == {False}
    assert (last["done"], last["message"]["content"]) == (True, "")


async def test_a_streamed_chat_is_the_whole_one_in_pieces(client: httpx.AsyncClient) -> None:
    whole = await answer(client, OLLAMA_CHAT, chat(stream=False))
    streamed = await lines(client, OLLAMA_CHAT, chat())
    text = "".join(line["message"]["content"] for line in streamed)
    assert streamed[-1] | {"message": {"role": "assistant", "content": text}} == whole


async def test_generate_says_what_a_chat_says(client: httpx.AsyncClient) -> None:
    said = (await answer(client, OLLAMA_CHAT, chat(stream=False)))["message"]["content"]
    assert (await answer(client, OLLAMA_GENERATE, generate(stream=False)))["response"] == said


async def test_a_streamed_generate_is_the_whole_one_in_pieces(client: httpx.AsyncClient) -> None:
    whole = await answer(client, OLLAMA_GENERATE, generate(stream=False))
    streamed = await lines(client, OLLAMA_GENERATE, generate())
    text = "".join(line["response"] for line in streamed)
    assert streamed[-1] | {"response": text} == whole
    assert [line["done"] for line in streamed] == [False] * (len(streamed) - 1) + [True]


@pytest.mark.parametrize(("most", "reason"), [(2, "length"), (MANY, "stop")])
async def test_the_last_line_says_why_it_ended(
    client: httpx.AsyncClient, most: int, reason: str
) -> None:
    *_, last = await lines(client, OLLAMA_CHAT, chat(options={"num_predict": most}))
    assert last["done_reason"] == reason


async def test_the_listed_models_are_those_of_the_openai_dialect(
    client: httpx.AsyncClient,
) -> None:
    tagged = (await client.get("/api/tags")).json()["models"]
    listed = (await client.get("/v1/models")).json()["data"]
    assert [model["name"] for model in tagged] == [model["id"] for model in listed]
    assert [model["model"] for model in tagged] == [model["name"] for model in tagged]


async def test_a_model_is_shown_with_the_details_it_is_listed_with(
    client: httpx.AsyncClient,
) -> None:
    listed = (await client.get("/api/tags")).json()["models"][0]
    shown = await answer(client, "/api/show", {"model": listed["name"]})
    assert shown["details"] == listed["details"]


async def test_it_has_a_version(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/version")).json() == {"version": "0.0.0-demo"}


async def test_embed_gives_each_text_the_vector_that_openai_gives_it(
    client: httpx.AsyncClient,
) -> None:
    asked = {"model": "demo-embedding", "input": [PROMPT, "two words"]}
    document = await answer(client, EMBED, asked)
    vectors = [
        item["embedding"] for item in (await answer(client, "/v1/embeddings", asked))["data"]
    ]
    assert document["embeddings"] == vectors
    assert document["prompt_eval_count"] == PROMPT_TOKENS + 2


@pytest.mark.parametrize("path", [OLLAMA_CHAT, OLLAMA_GENERATE, EMBED, "/api/show"])
@pytest.mark.parametrize("content", [b"", b'{"model": ', b'["demo"]', b'{"stream": false}'])
async def test_a_body_that_names_no_model_is_refused(
    client: httpx.AsyncClient, path: str, content: bytes
) -> None:
    response = await client.post(path, content=content)
    assert response.status_code == 400
    document = response.json()
    assert document.pop("error")
    assert document == {}


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        (OLLAMA_CHAT, {"model": "demo"}, "'messages'"),
        (OLLAMA_CHAT, chat(messages=[]), "'messages'"),
        (OLLAMA_GENERATE, {"model": "demo"}, "prompt"),
        (OLLAMA_GENERATE, generate(prompt=["Hello"]), "prompt"),
        (EMBED, {"model": "demo-embedding"}, "'input'"),
    ],
)
async def test_a_field_that_is_missing_or_wrong_is_named(
    client: httpx.AsyncClient, path: str, body: Body, said: str
) -> None:
    response = await client.post(path, json=body)
    assert response.status_code == 400
    assert said in response.json()["error"]
