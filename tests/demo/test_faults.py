"""How the demo backend fails when asked to, as the bytes and the end of a connection show it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.demo.conftest import (
    ANTHROPIC,
    COMPLETIONS,
    GENERATING,
    OLLAMA_CHAT,
    OLLAMA_GENERATE,
    OPENAI,
    PROMPT,
    RESPONSES,
    Body,
    StartBackend,
    answer,
    asked,
    get,
    parse_events,
    post,
    until,
)
from tests.support.client import End, RawClient, Response
from tests.support.exchange import ask, read_stream

GREETING = b"SSH-2.0-demo\r\n"

Wish = Callable[[str, str, Body], bytes]
"""The bytes of a request, at a path, for a fault."""


def by_header(fault: str, path: str, body: Body) -> bytes:
    return post(path, body, f"X-Demo-Fault: {fault}")


def by_model(fault: str, path: str, body: Body) -> bytes:
    return post(path, body | {"model": f"demo-{fault}"})


either_way = pytest.mark.parametrize("wish", [by_header, by_model])
everywhere = pytest.mark.parametrize("path", GENERATING)


def tokens(path: str, stream: bytes) -> int:
    """How many tokens a stream brought, cut short or not."""
    if path in (OLLAMA_CHAT, OLLAMA_GENERATE):
        return sum(not json.loads(line)["done"] for line in stream.splitlines())
    found = parse_events(stream.decode())
    if path in (ANTHROPIC, RESPONSES):
        return sum(e.name in ("content_block_delta", "response.output_text.delta") for e in found)
    choices = [event.data["choices"][0] for event in found if event.data != "[DONE]"]
    return sum(bool(c.get("text") or c.get("delta", {}).get("content")) for c in choices)


# -- errors in place of an answer --------------------------------------------------------------


def assert_openai(response: Response, kind: str) -> None:
    error = response.json()["error"]
    assert error.pop("message")
    assert error == {"type": kind, "code": None, "param": None}


def assert_anthropic(response: Response, kind: str) -> None:
    document = response.json()
    assert document["error"].pop("message")
    assert document == {"type": "error", "error": {"type": kind}, "request_id": "req_demo"}


def assert_ollama(response: Response, _: str) -> None:
    document = response.json()
    assert isinstance(document.pop("error"), str)
    assert document == {}


in_shape = pytest.mark.parametrize(
    ("path", "assert_shape", "error_kind", "overload_kind"),
    [
        (OPENAI, assert_openai, "server_error", "rate_limit_error"),
        (COMPLETIONS, assert_openai, "server_error", "rate_limit_error"),
        (RESPONSES, assert_openai, "server_error", "rate_limit_error"),
        (ANTHROPIC, assert_anthropic, "api_error", "rate_limit_error"),
        (OLLAMA_CHAT, assert_ollama, "", ""),
        (OLLAMA_GENERATE, assert_ollama, "", ""),
    ],
)


@either_way
@in_shape
async def test_error_is_500_in_the_dialects_shape(
    backend: DemoBackend,
    wish: Wish,
    path: str,
    assert_shape: Callable[[Response, str], None],
    error_kind: str,
    overload_kind: str,
) -> None:
    response = await ask(backend.port, wish("error", path, asked()))
    assert (response.status, response.value("retry-after")) == (500, None)
    assert_shape(response, error_kind)


@either_way
@in_shape
async def test_overloaded_is_429_in_the_dialects_shape_with_when_to_come_back(
    backend: DemoBackend,
    wish: Wish,
    path: str,
    assert_shape: Callable[[Response, str], None],
    error_kind: str,
    overload_kind: str,
) -> None:
    response = await ask(backend.port, wish("overloaded", path, asked()))
    assert (response.status, response.value("retry-after")) == (429, b"2")
    assert_shape(response, overload_kind)


async def test_an_error_comes_before_a_stream_begins(backend: DemoBackend) -> None:
    response = await ask(backend.port, by_header("error", OPENAI, asked(stream=True)))
    assert response.status == 500
    assert response.value("content-type") == b"application/json; charset=utf-8"


async def test_embeddings_fail_on_purpose_too(backend: DemoBackend) -> None:
    raw = by_header("overloaded", "/v1/embeddings", {"model": "demo-embedding", "input": PROMPT})
    assert (await ask(backend.port, raw)).status == 429


async def test_transcriptions_fail_on_purpose_too(client: httpx.AsyncClient) -> None:
    response = await client.post(
        "/v1/audio/transcriptions", data={"model": "demo-error"}, files={"file": b"RIFF"}
    )
    assert response.status_code == 500


# -- no answer ---------------------------------------------------------------------------------


@either_way
@everywhere
async def test_refuse_resets_the_connection_before_any_byte(
    backend: DemoBackend, wish: Wish, path: str
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(wish("refuse", path, asked(stream=True)))
        assert (await client.read_to_end(), client.end) == (b"", End.RESET)


@either_way
@everywhere
async def test_garbage_is_no_http_and_then_the_end(
    backend: DemoBackend, wish: Wish, path: str
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(wish("garbage", path, asked(stream=True)))
        assert (await client.read_to_end(), client.end) == (GREETING, End.CLOSED)


@either_way
@everywhere
async def test_hang_keeps_the_connection_and_says_nothing(
    backend: DemoBackend, wish: Wish, path: str
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(wish("hang", path, asked(stream=True)))
        await until(lambda: backend.stats.requests == 1)
        await ask(backend.port, get("/health"), "GET")  # time for a byte that should not come
        assert (client.received_bytes, client.end) == (0, End.OPEN)


@pytest.mark.parametrize("fault", ["hang", "refuse", "garbage"])
async def test_a_request_that_gets_no_answer_counts_as_aborted(
    backend: DemoBackend, fault: str
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(by_header(fault, OPENAI, asked()))
        await until(lambda: backend.stats.aborted == 1)
    assert (backend.stats.requests, backend.stats.finished) == (1, 0)


# -- half an answer ----------------------------------------------------------------------------


@either_way
@everywhere
@pytest.mark.parametrize(("fault", "end"), [("reset", End.RESET), ("truncate", End.CLOSED)])
async def test_a_stream_breaks_off_after_the_tokens_asked_for(
    backend: DemoBackend, wish: Wish, path: str, fault: str, end: End
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(wish(f"{fault}@5", path, asked(stream=True)))
        assert (await client.read_head()).status == 200
        stream, whole = await read_stream(client)
        assert (tokens(path, stream), whole, client.end) == (5, False, end)


@either_way
@everywhere
async def test_a_stalled_stream_stops_after_the_tokens_asked_for_and_stays_open(
    backend: DemoBackend, wish: Wish, path: str
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(wish("stall@5", path, asked(stream=True)))
        await client.read_head()
        stream = b""
        while tokens(path, stream) < 5:
            stream += await client.read_chunk() or b""
        await ask(backend.port, get("/health"), "GET")  # time for a token that should not come
        assert (client.unread, client.end) == (b"", End.OPEN)
        assert backend.stats.active == 1


@pytest.mark.parametrize(("wanted", "got"), [("@0", 0), ("@1", 1), ("", 3), ("@", 3), ("@x", 3)])
async def test_a_fault_that_says_no_number_comes_after_three_tokens(
    backend: DemoBackend, wanted: str, got: int
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(by_header(f"truncate{wanted}", OPENAI, asked(stream=True)))
        await client.read_head()
        stream, _ = await read_stream(client)
        assert tokens(OPENAI, stream) == got


async def test_a_fault_after_more_tokens_than_there_are_does_not_come(
    backend: DemoBackend,
) -> None:
    raw = by_header("reset@1000", OPENAI, asked(stream=True))
    response = await ask(backend.port, raw)
    assert response.clean_end
    assert parse_events(response.body.decode())[-1].data == "[DONE]"


@pytest.mark.parametrize(("fault", "end"), [("reset", End.RESET), ("truncate", End.CLOSED)])
async def test_an_answer_that_is_not_streamed_breaks_off_before_its_head(
    backend: DemoBackend, fault: str, end: End
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(by_header(fault, OPENAI, asked()))
        assert (await client.read_to_end(), client.end) == (b"", end)


@pytest.mark.parametrize("fault", ["reset", "truncate"])
async def test_a_broken_stream_counts_as_aborted(backend: DemoBackend, fault: str) -> None:
    async with RawClient(backend.port) as client:
        await client.send(by_header(fault, OPENAI, asked(stream=True)))
        await client.read_to_end()
    await until(lambda: backend.stats.active == 0)
    assert (backend.stats.finished, backend.stats.aborted) == (0, 1)


# -- slow --------------------------------------------------------------------------------------


@either_way
async def test_slow_waits_ten_tokens_before_the_first_at_a_tenth_of_the_pace(
    start_backend: StartBackend, wish: Wish
) -> None:
    backend = await start_backend(pace_s=0.001)
    loop = asyncio.get_running_loop()
    started = loop.time()
    await ask(backend.port, wish("slow", OPENAI, asked(most=5)))
    # Only too little time would be wrong; a busy machine takes what it takes.
    assert loop.time() - started > 0.9 * (10 + 5) * 10 * 0.001


async def test_slow_says_the_same_in_the_end(
    backend: DemoBackend, client: httpx.AsyncClient
) -> None:
    response = await ask(backend.port, by_header("slow", OPENAI, asked()))
    assert response.json() == await answer(client, OPENAI, asked())


# -- which fault -------------------------------------------------------------------------------


async def test_the_header_goes_before_the_model(backend: DemoBackend) -> None:
    raw = post(OPENAI, asked(model="demo-error"), "X-Demo-Fault: overloaded")
    assert (await ask(backend.port, raw)).status == 429


@pytest.mark.parametrize("model", ["demo", "demo-llama", "demo-", "error", "my-demo-error"])
async def test_a_model_that_names_no_fault_answers(backend: DemoBackend, model: str) -> None:
    assert (await ask(backend.port, post(OPENAI, asked(model=model)))).status == 200


@pytest.mark.parametrize("value", ["", "@3", "none", "ERROR"])
async def test_a_header_that_names_no_fault_is_passed_over(
    backend: DemoBackend, value: str
) -> None:
    assert (await ask(backend.port, by_header(value, OPENAI, asked()))).status == 200


async def test_a_fault_breaks_only_the_request_that_asks_for_it(backend: DemoBackend) -> None:
    async with RawClient(backend.port) as client:
        await client.send(by_header("error", OPENAI, asked()))
        assert (await client.read_response("POST")).status == 500
        await client.send(post(OPENAI, asked()))
        assert (await client.read_response("POST")).status == 200
