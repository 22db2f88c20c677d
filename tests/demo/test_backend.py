"""The demo backend as a server: starting, stopping, its counters, and readers who leave."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.demo.conftest import (
    GENERATING,
    NEVER_S,
    OPENAI,
    Body,
    StartBackend,
    answer,
    asked,
    get,
    post,
    until,
)
from tests.support.client import End, RawClient, Response
from tests.support.exchange import ask
from tests.support.waiting import PATIENCE_S

NOTHING = {"requests": 0, "active": 0, "finished": 0, "aborted": 0}


async def counted(backend: DemoBackend) -> Body:
    """What it says of itself."""
    response = await ask(backend.port, get("/demo/stats"), "GET")
    stats: Body = response.json()
    return stats


# -- starting and stopping ---------------------------------------------------------------------


async def test_it_listens_where_its_url_says(backend: DemoBackend) -> None:
    assert backend.url == f"http://127.0.0.1:{backend.port}"
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"{backend.url}/health")).status_code == 200


async def test_it_does_not_start_at_an_address_that_is_taken(backend: DemoBackend) -> None:
    with pytest.raises(OSError, match="in use"):
        await DemoBackend().start(port=backend.port)


async def test_its_address_is_free_once_it_has_stopped() -> None:
    backend = DemoBackend()
    await backend.start()
    await backend.stop()
    with socket.create_server(("127.0.0.1", backend.port)):
        pass


@pytest.mark.parametrize("fault", ["none", "hang", "stall@0"])
async def test_stopping_ends_the_generations_under_way(
    start_backend: StartBackend, fault: str
) -> None:
    backend = await start_backend(pace_s=NEVER_S if fault == "none" else 0.0)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, asked(stream=True), f"X-Demo-Fault: {fault}"))
        await until(lambda: backend.stats.requests == 1)
        async with asyncio.timeout(PATIENCE_S):  # it does not wait for them to end
            await backend.stop()
        await client.wait_closed()
    assert (backend.stats.active, backend.stats.aborted) == (0, 1)


async def test_one_connection_serves_one_request_after_another(backend: DemoBackend) -> None:
    async with RawClient(backend.port) as client:
        for path in GENERATING:
            for stream in (False, True):
                await client.send(post(path, asked(stream=stream)))
                response = await client.read_response("POST")
                assert (response.status, response.clean_end) == (200, True)


# -- health and counters -----------------------------------------------------------------------


async def test_it_says_that_it_is_well(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json() == {"status": "ok"}


async def test_it_has_counted_nothing_at_first(backend: DemoBackend) -> None:
    assert await counted(backend) == NOTHING


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_generation_that_ends_counts_as_finished(
    backend: DemoBackend, path: str, stream: bool
) -> None:
    await ask(backend.port, post(path, asked(stream=stream)))
    assert await counted(backend) == NOTHING | {"requests": 1, "finished": 1}


async def test_a_generation_under_way_counts_as_active(start_backend: StartBackend) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, asked(stream=True)))
        await client.read_head()
        assert await counted(backend) == NOTHING | {"requests": 1, "active": 1}


async def test_a_request_that_is_refused_is_not_counted(backend: DemoBackend) -> None:
    assert (await ask(backend.port, post(OPENAI, {"model": "demo"}))).status == 400
    assert await counted(backend) == NOTHING


async def test_asking_for_health_models_and_counters_counts_nothing(backend: DemoBackend) -> None:
    for path in ("/health", "/demo/stats", "/v1/models", "/api/tags", "/api/version"):
        assert (await ask(backend.port, get(path), "GET")).status == 200
    assert await counted(backend) == NOTHING


async def test_each_backend_counts_for_itself(start_backend: StartBackend) -> None:
    busy, idle = await start_backend(), await start_backend()
    await ask(busy.port, post(OPENAI, asked()))
    assert (busy.stats.requests, idle.stats.requests) == (1, 0)


async def test_its_counters_are_those_it_reports(
    backend: DemoBackend, client: httpx.AsyncClient
) -> None:
    await answer(client, OPENAI, asked())
    stats = backend.stats
    assert await counted(backend) == {
        "requests": stats.requests,
        "active": stats.active,
        "finished": stats.finished,
        "aborted": stats.aborted,
    }


# -- readers who leave -------------------------------------------------------------------------


@pytest.mark.parametrize("path", GENERATING)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_reader_who_leaves_stops_its_generation(
    start_backend: StartBackend, path: str, stream: bool
) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as client:
        await client.send(post(path, asked(stream=stream)))
        await until(lambda: backend.stats.active == 1)
    await until(lambda: backend.stats.active == 0)
    assert (backend.stats.finished, backend.stats.aborted) == (0, 1)


async def test_a_reader_who_resets_stops_its_generation(start_backend: StartBackend) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, asked(stream=True)))
        await client.read_head()
        client.reset()
        await until(lambda: backend.stats.aborted == 1)
    assert backend.stats.active == 0


async def test_a_reader_who_leaves_between_tokens_stops_its_generation(
    start_backend: StartBackend,
) -> None:
    backend = await start_backend(pace_s=0.02)
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, asked(stream=True)))
        await client.read_until(b'"content":" ')  # a token after the first
    await until(lambda: backend.stats.active == 0)
    assert (backend.stats.finished, backend.stats.aborted) == (0, 1)


async def test_a_reader_who_leaves_a_stalled_stream_stops_its_generation(
    backend: DemoBackend,
) -> None:
    async with RawClient(backend.port) as client:
        await client.send(post(OPENAI, asked(stream=True), "X-Demo-Fault: stall"))
        await until(lambda: backend.stats.active == 1)
    await until(lambda: backend.stats.active == 0)
    assert backend.stats.aborted == 1


async def test_a_reader_who_leaves_stops_no_other_generation(start_backend: StartBackend) -> None:
    backend = await start_backend(pace_s=NEVER_S)
    async with RawClient(backend.port) as stays:
        await stays.send(post(OPENAI, asked(stream=True)))
        await stays.read_head()
        async with RawClient(backend.port) as leaves:
            await leaves.send(post(OPENAI, asked(stream=True)))
            await leaves.read_head()
        await until(lambda: backend.stats.aborted == 1)
        assert (backend.stats.active, stays.end) == (1, End.OPEN)


# -- which dialect refuses ---------------------------------------------------------------------


async def refused(backend: DemoBackend, path: str) -> Response:
    response = await ask(backend.port, post(path, {}))
    assert response.status == 400
    return response


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
async def test_a_path_of_openai_refuses_as_openai(backend: DemoBackend, path: str) -> None:
    assert {*(await refused(backend, path)).json()["error"]} == {"message", "type", "code", "param"}


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
async def test_a_path_of_anthropic_refuses_as_anthropic(backend: DemoBackend, path: str) -> None:
    assert {*(await refused(backend, path)).json()} == {"type", "error", "request_id"}


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/show", "/api/embed"])
async def test_a_path_of_ollama_refuses_as_ollama(backend: DemoBackend, path: str) -> None:
    assert isinstance((await refused(backend, path)).json()["error"], str)


@pytest.mark.parametrize("path", GENERATING)
async def test_a_reader_who_leaves_before_its_answer_is_nothing_to_log(
    backend: DemoBackend, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(30):
        _, writer = await asyncio.open_connection("127.0.0.1", backend.port)
        writer.write(post(path, asked(stream=True)))
        writer.transport.abort()
    assert (await ask(backend.port, get("/health"), "GET")).status == 200
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
