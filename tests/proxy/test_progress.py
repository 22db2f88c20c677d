"""How far a request under way has come, seen from outside while it goes on."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from gateway.admin.worker_api import WorkerApi
from gateway.admin.worker_metrics import WorkerMetrics
from gateway.exchange import Exchange
from gateway.proxy import progress as module
from gateway.proxy.progress import Progress, progress
from gateway.telemetry.logs.recent import RecentLines
from gateway.telemetry.metrics.instruments import SILENT_STREAMS
from gateway.telemetry.traces.verdict import under_way
from tests.support.client import RawClient
from tests.support.exchange import EVENTS, POST
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, hang, stepped_stream
from tests.support.waiting import PATIENCE_S, eventually


def only(gateway: RunningGateway) -> Exchange:
    (exchange,) = gateway.server.listener.exchanges
    return exchange


def now(gateway: RunningGateway) -> tuple[Progress, float | None]:
    return progress(only(gateway), time.perf_counter())


async def silent(gateway: RunningGateway) -> float:
    """The metric's value, of all series."""
    found = (await WorkerMetrics(gateway.server, 0).snapshot())[SILENT_STREAMS.name]
    return sum(float(value) for _, value in found)


async def until_silent_for(gateway: RunningGateway, seconds: float) -> float:
    """How long it is silent by then."""

    def silent_s() -> float:
        found = now(gateway)[1]
        assert found is not None
        return found

    await eventually(lambda: silent_s() >= seconds)
    return silent_s()


async def test_a_stream_is_silent_once_its_backend_has_sent_nothing_for_long(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            await upstream.release(EVENTS[0])
            await client.read_chunk()
            assert now(gateway)[0] is Progress.ANSWERING
            assert await silent(gateway) == 0
            monkeypatch.setattr(module, "SILENT_S", 0.1)
            await until_silent_for(gateway, 0.1)
            assert now(gateway)[0] is Progress.SILENT
            assert await silent(gateway) == 1
            monkeypatch.setattr(module, "SILENT_S", 2 * PATIENCE_S)
            began = time.perf_counter()
            await upstream.release(EVENTS[1])
            await client.read_chunk()
            state, silent_s = now(gateway)
            assert state is Progress.ANSWERING
            assert silent_s is not None
            assert silent_s <= time.perf_counter() - began + 0.002  # the loop's clock has ms
            await upstream.finish()
            await client.read_chunk()


async def test_silence_while_the_client_is_behind_is_not_the_backends(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SILENT_S", 0.0)
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            attempt = only(gateway).attempt
            assert attempt is not None
            assert attempt.response is not None
            attempt.response.pause()  # as a relay does
            assert now(gateway) == (Progress.CLIENT_BEHIND, None)
            assert await silent(gateway) == 0
            attempt.response.resume()
            assert now(gateway)[0] is Progress.SILENT
            await upstream.finish()
            await client.read_chunk()


async def test_a_translated_stream_tells_the_silence_of_its_backend(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        config: dict[str, Any] = simple_config(upstream.url, upstream={"dialect": "anthropic"})
        config["models"] = {"m": {"upstream": "main"}}
        config["routes"][0]["models"] = ["m"]
        gateway = await start_gateway(config)
        body = (
            b'{"model":"m","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"a"}]}'
        )
        async with RawClient(gateway.port) as client:
            head, _, _ = POST.partition(b"Content-Length")
            await client.send(b"%bContent-Length: %d\r\n\r\n%b" % (head, len(body), body))
            await client.read_head()
            assert await until_silent_for(gateway, 0.05) < PATIENCE_S


async def test_a_request_without_an_answer_waits_for_its_backend(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await upstream.request_seen.wait()
            state, silent_s = now(gateway)
            assert state is Progress.WAITING
            assert silent_s is not None
            assert 0 < silent_s < PATIENCE_S


async def test_a_stream_that_was_opened_early_is_silent_while_its_backend_says_nothing(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, heartbeat="50ms"))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await client.read_head()
            assert now(gateway)[0] is Progress.WAITING
            monkeypatch.setattr(module, "SILENT_S", 0.01)
            assert now(gateway)[0] is Progress.SILENT
            assert await silent(gateway) == 1


async def test_what_waits_for_nobody_has_no_silence() -> None:
    exchange = Exchange("POST", "192.0.2.1", trusted_peer=False)
    assert progress(exchange, exchange.started_at + 3.0) == (Progress.HELD, 3.0)
    exchange.streamed = True
    assert progress(exchange, exchange.started_at) == (Progress.FOLLOWING, None)


def test_every_state_has_words_of_its_own() -> None:
    row = {"age_s": 1.0, "silent_s": 40.0, "upstream": "main"}
    assert len({under_way({**row, "state": one}).text for one in Progress}) == len(Progress)


async def test_the_admin_process_is_told_the_state_and_the_sentence(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            await upstream.request_seen.wait()
            api = WorkerApi(gateway.server, 0, RecentLines(lambda _: None))
            (row,) = orjson.loads(await api.requests())
    assert (row["state"], row["ttft_s"]) == ("waiting", None)
    text = row["verdict"]["text"]
    assert text.startswith("Backend 'main' has not begun its answer; it was asked ")
