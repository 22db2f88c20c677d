"""Backends that scale from zero: their requests wait for the start, and it is nobody's failure."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.client import RawClient, Response, request
from tests.support.exchange import ask
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import upstream_of
from tests.support.ports import free_port
from tests.support.refusal import assert_error
from tests.support.upstream import PeerGone, ScriptedUpstream, UpstreamConnection, json_reply
from tests.support.waiting import eventually

PATIENCE_S = 30.0
BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
SLEEPING = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 0\r\nContent-Length: 7\r\n\r\nloading"
AWAKE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class SleepingBackend(ScriptedUpstream):
    """Backend that answers 503 until a test wakes it."""

    def __init__(self, sleeping: bytes = SLEEPING) -> None:
        super().__init__(self._serve)
        self.sleeping = sleeping
        self.is_awake = False
        self.tries = 0
        """Number of requests that found it asleep."""

    async def _serve(self, connection: UpstreamConnection) -> None:
        while True:
            try:
                await connection.read_request()
            except PeerGone:
                return
            if not self.is_awake:
                self.tries += 1
            await connection.send(AWAKE if self.is_awake else self.sleeping)


def config(url: str, wake: dict[str, Any] | None = None, **upstream: Any) -> dict[str, Any]:
    options = {"wake": {"pause": "10ms", **(wake or {})}, **upstream}
    document = simple_config(url, upstream=options)
    document["models"] = {"m": {"upstream": "main"}}
    document["routes"][0] |= {"models": ["m"]}
    return document


async def post(gateway: RunningGateway, body: bytes = BODY) -> Response:
    async with RawClient(gateway.port, patience_s=PATIENCE_S) as client:
        await client.send(request("POST", "/v1/chat/completions", body=body))
        return await client.read_response()


async def test_requests_wait_until_the_backend_has_started(start_gateway: StartGateway) -> None:
    async with SleepingBackend() as backend:
        gateway = await start_gateway(config(backend.url))
        asked = [asyncio.create_task(post(gateway)) for _ in range(5)]
        waking = upstream_of(gateway).waking
        assert waking is not None
        await eventually(lambda: waking.waiting >= 4 and backend.tries >= 3, patience_s=PATIENCE_S)
        backend.is_awake = True
        got = await asyncio.gather(*asked)
        again = await post(gateway)

    assert [one.status for one in (*got, again)] == [200] * 6
    assert waking.starts == 1
    [endpoint] = upstream_of(gateway).endpoints
    assert upstream_of(gateway).state(endpoint) is EndpointState.HEALTHY
    assert upstream_of(gateway).counts.ejected == 0, "a start is no failure"
    reasons = [line["reason"] for line in gateway.log_lines if line["event"] == "waking"]
    assert [one.split(" after")[0] for one in reasons] == [
        "asleep: requests wait for its start",
        "awake",
    ]


async def test_a_backend_that_refuses_connections_is_asleep_too(
    start_gateway: StartGateway,
) -> None:
    port = free_port()
    gateway = await start_gateway(config(f"http://127.0.0.1:{port}"))
    asked = [asyncio.create_task(post(gateway)) for _ in range(3)]
    waking = upstream_of(gateway).waking
    assert waking is not None
    await eventually(lambda: waking.waiting >= 2, patience_s=PATIENCE_S)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(BODY)
        writer.write(AWAKE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        got = await asyncio.gather(*asked)

    assert [one.status for one in got] == [200] * 3
    assert upstream_of(gateway).counts.ejected == 0


async def test_a_backend_that_does_not_start_in_time_is_an_honest_503(
    start_gateway: StartGateway,
) -> None:
    async with SleepingBackend(SLEEPING.replace(b"After: 0", b"After: 3")) as backend:
        gateway = await start_gateway(config(backend.url, {"max_wait": "20ms"}))

        got = await post(gateway)

    assert_error(got, 503, code="upstream_waking")
    assert got.value("retry-after") in (b"2", b"3")
    assert backend.tries == 1


async def test_a_503_without_a_time_is_passed_on(start_gateway: StartGateway) -> None:
    async with SleepingBackend(SLEEPING.replace(b"Retry-After: 0\r\n", b"")) as backend:
        options = {"retries": {"attempts": 0}}
        gateway = await start_gateway(config(backend.url, **options))

        assert (await post(gateway)).status == 503
    waking = upstream_of(gateway).waking
    assert waking is not None
    assert waking.starts == 0


async def test_the_wake_request_is_sent_once_for_all_requests(start_gateway: StartGateway) -> None:
    async with SleepingBackend() as backend, ScriptedUpstream(json_reply({})) as scheduler:
        wake = {"request": {"url": f"{scheduler.url}/start"}}
        gateway = await start_gateway(config(backend.url, wake))
        asked = [asyncio.create_task(post(gateway)) for _ in range(5)]
        async with asyncio.timeout(PATIENCE_S):
            await scheduler.request_seen.wait()
        await eventually(lambda: backend.tries >= 3, patience_s=PATIENCE_S)
        backend.is_awake = True
        await asyncio.gather(*asked)

    assert [(one.method, one.target) for one in scheduler.requests] == [("POST", "/start")]


async def test_another_endpoint_that_works_is_asked_at_once(start_gateway: StartGateway) -> None:
    async with SleepingBackend() as asleep, SleepingBackend() as awake:
        awake.is_awake = True
        document = config(asleep.url, balance="round_robin")
        document["upstreams"]["main"]["endpoints"].append({"url": awake.url})
        gateway = await start_gateway(document)

        got = [await post(gateway) for _ in range(4)]

    assert [one.status for one in got] == [200] * 4
    waking = upstream_of(gateway).waking
    assert waking is not None
    assert waking.starts == 0


async def test_another_deployment_that_works_is_asked_at_once(
    start_gateway: StartGateway,
) -> None:
    async with SleepingBackend() as asleep, SleepingBackend() as awake:
        awake.is_awake = True
        document = config(asleep.url)
        document["upstreams"]["other"] = {"endpoints": [{"url": awake.url}]}
        deployments = [{"upstream": "main"}, {"upstream": "other", "priority": 1}]
        document["models"]["m"] = {"deployments": deployments}
        gateway = await start_gateway(document)

        got = [await post(gateway) for _ in range(3)]

    assert [one.status for one in got] == [200] * 3
    waking = upstream_of(gateway).waking
    assert waking is not None
    assert waking.is_waking
    assert asleep.tries == 1, "requests go to the one that works meanwhile"


async def test_a_model_with_fallbacks_falls_back_when_the_time_is_over(
    start_gateway: StartGateway,
) -> None:
    async with SleepingBackend() as asleep, SleepingBackend() as awake:
        awake.is_awake = True
        document = config(asleep.url, {"max_wait": "50ms"})
        document["upstreams"]["other"] = {"endpoints": [{"url": awake.url}]}
        document["models"] = {
            "m": {"upstream": "main", "fallbacks": ["n"]},
            "n": {"upstream": "other"},
        }
        gateway = await start_gateway(document)

        assert (await post(gateway)).status == 200


async def test_a_stream_gets_heartbeats_while_its_backend_starts(
    start_gateway: StartGateway,
) -> None:
    async with SleepingBackend() as backend:
        document = config(backend.url)
        document["routes"][0] |= {"heartbeat": "20ms"}
        gateway = await start_gateway(document)
        body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
        async with RawClient(gateway.port, patience_s=PATIENCE_S) as client:
            await client.send(request("POST", "/v1/chat/completions", body=body))
            head = await client.read_until(b"\r\n\r\n")
            await client.read_until(b": ")
            backend.is_awake = True

    assert head.startswith(b"HTTP/1.1 200 ")


async def test_the_queue_holds_requests_for_as_long_as_the_start_may_take(
    start_gateway: StartGateway,
) -> None:
    async with SleepingBackend() as backend:
        admission = {"concurrency": 1, "max_wait": "1ms"}
        gateway = await start_gateway(config(backend.url, admission=admission))
        first = asyncio.create_task(post(gateway))
        await eventually(lambda: backend.tries >= 2, patience_s=PATIENCE_S)
        second = asyncio.create_task(post(gateway))
        gates = gateway.server.runtime.admission
        assert gates is not None
        await eventually(lambda: gates.gates[0].waiting == 1, patience_s=PATIENCE_S)
        tries = backend.tries
        await eventually(lambda: backend.tries > tries + 5, patience_s=PATIENCE_S)
        backend.is_awake = True

        assert [(await first).status, (await second).status] == [200, 200]


@pytest.mark.parametrize("reads", ["model", "raw"])
async def test_a_body_is_held_so_that_it_can_be_sent_again(
    start_gateway: StartGateway, reads: str
) -> None:
    async with SleepingBackend() as backend:
        document = config(backend.url)
        if reads == "raw":
            document["routes"][0].pop("models")
            document["models"] = {}
        gateway = await start_gateway(document)
        body = BODY + b" " * 300_000
        asked = asyncio.create_task(post(gateway, body))
        await eventually(lambda: backend.tries >= 2, patience_s=PATIENCE_S)
        backend.is_awake = True

        assert (await asked).status == 200
    assert {len(one.body) for one in backend.requests} == {len(body)}


async def test_a_client_that_leaves_lets_the_next_one_try(start_gateway: StartGateway) -> None:
    async with SleepingBackend() as backend:
        gateway = await start_gateway(config(backend.url))
        async with RawClient(gateway.port, patience_s=PATIENCE_S) as client:
            await client.send(request("POST", "/v1/chat/completions", body=BODY))
            await eventually(lambda: backend.tries >= 2, patience_s=PATIENCE_S)
        asked = asyncio.create_task(post(gateway))
        await gateway.wait_for_log(
            lambda line: line["event"] == "request" and line["end"] == "client_abort"
        )
        backend.is_awake = True

        assert (await asked).status == 200


async def test_a_reload_keeps_the_requests_that_wait(start_gateway: StartGateway) -> None:
    async with SleepingBackend() as backend:
        gateway = await start_gateway(config(backend.url))
        asked = asyncio.create_task(post(gateway))
        await eventually(lambda: backend.tries >= 2, patience_s=PATIENCE_S)
        await gateway.server.prepare(gateway.config)
        gateway.server.commit()
        tries = backend.tries
        await eventually(lambda: backend.tries > tries + 1, patience_s=PATIENCE_S)
        backend.is_awake = True

        assert (await asked).status == 200
    assert (await ask(gateway.port, request("GET", "/v1/models"))).status == 200


async def _no_tls(connection: UpstreamConnection) -> None:
    await connection.read_some()
    await connection.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def test_a_connection_that_waiting_does_not_mend_fails_at_once(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(_no_tls) as backend:
        url = backend.url.replace("http:", "https:")  # it speaks no TLS
        gateway = await start_gateway(config(url, retries={"attempts": 0}))

        assert_error(await post(gateway), 502, code="upstream_connect_failed")
    waking = upstream_of(gateway).waking
    assert waking is not None
    assert waking.starts == 0
