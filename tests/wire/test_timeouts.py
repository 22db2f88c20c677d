"""How long each part may take, who says so, and what a client is told (U4, U5)."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.client import RawClient, Response, request
from tests.support.exchange import EVENTS, POST, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import (
    endpoints,
    idle,
    ranked,
    state_of,
    unanswering_endpoint,
    upstream_of,
)
from tests.support.refusal import assert_error
from tests.support.upstream import (
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    reply,
)
from tests.support.waiting import PATIENCE_S, SLACK_S

LONG = {"connect": "30s", "first_byte": "30s", "idle": "30s", "total": "30s"}
SHORT_S = 0.3


async def silent_after_an_event(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
    await connection.wait_client_gone()


async def silent_after_the_head(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    await connection.wait_client_gone()


async def endless(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(EVENTS[0]))
        await asyncio.sleep(0.02)


async def late(connection: UpstreamConnection) -> None:
    """Answer after 400 ms."""
    while True:
        await connection.read_request()
        await asyncio.sleep(0.4)
        await connection.send(reply(b"{}"))


def asking(timeout: str, method: str = "POST") -> bytes:
    return request(method, headers=[f"x-request-timeout: {timeout}"], body=b"{}")


async def timed(gateway: RunningGateway, raw: bytes = POST) -> tuple[Response, float]:
    started = time.perf_counter()
    response = await ask(gateway.port, raw)
    return response, time.perf_counter() - started


# -- each phase --------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["upstream", "route"])
@pytest.mark.parametrize(
    ("phase", "script"),
    [
        ("connect", None),
        ("first_byte", hang),
        ("idle", silent_after_an_event),
        ("total", hang),
        ("total", endless),
    ],
    ids=["connect", "first_byte", "idle", "total-before-the-head", "total-in-the-stream"],
)
async def test_each_phase_ends_in_time_with_a_code_of_its_own(
    start_gateway: StartGateway,
    report: Report,
    where: str,
    phase: str,
    script: Script | None,
) -> None:
    short = {phase: f"{SHORT_S}s"}
    async with ScriptedUpstream(script or hang) as upstream:
        with unanswering_endpoint() as unanswering:
            document = simple_config(
                unanswering if script is None else upstream.url,
                upstream={"timeouts": {**LONG, **(short if where == "upstream" else {})}},
                timeouts=short if where == "route" else {},
            )
            gateway = await start_gateway(document)
            response, took_s = await timed(gateway)
        code = f"upstream_{phase}_timeout"
        if response.status == 200:
            assert not response.clean_end
            assert response.body.startswith(EVENTS[0])
            error = json.loads(response.body.rpartition(b"data: ")[2])["error"]
            assert (error["code"], response.body.count(b"error")) == (code, 2)
        else:
            assert_error(response, 504, code=code)
        for connection in upstream.connections:
            await connection.wait_client_gone()
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        await idle(gateway)
    assert logged["error"] == code
    report("U4", f"{phase} by {where}: off its 300 ms by, ms", abs(took_s - SHORT_S) * 1e3)
    assert SHORT_S - 0.01 <= took_s < SHORT_S + SLACK_S


@pytest.mark.parametrize("phase", ["first_byte", "total"])
async def test_a_route_may_give_more_time_than_its_upstream(
    start_gateway: StartGateway, phase: str
) -> None:
    async with ScriptedUpstream(late) as upstream:
        document = simple_config(
            upstream.url,
            upstream={"timeouts": {phase: "100ms"}},
            timeouts={phase: "30s"},
        )
        gateway = await start_gateway(document)
        assert (await ask(gateway.port)).status == 200


async def test_the_total_time_cuts_a_body_of_known_length_short(
    start_gateway: StartGateway,
) -> None:
    async def partial(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(reply(b'{"whole":"no"}')[:-4])
        await connection.wait_client_gone()

    async with ScriptedUpstream(partial) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, timeouts={"total": "300ms"}))
        response = await ask(gateway.port)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (response.status, response.body) == (200, b'{"whole":"')
    assert not response.clean_end
    assert (logged["end"], logged["error"]) == ("timeout", "upstream_total_timeout")


async def test_an_answer_in_time_is_whole_and_its_connection_serves_the_next(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, timeouts={"total": "1s"}))
        async with RawClient(gateway.port) as client:
            for _ in range(2):
                await client.send(POST)
                assert (await client.read_response()).status == 200
                await asyncio.sleep(
                    0.6
                )  # together longer: the first one's deadline is over, and means nothing
        assert len(upstream.connections) == 1


# -- what a client asks for --------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["300ms", "0.3s", "0.3", "0.005m"])
async def test_a_client_may_ask_for_less_time(start_gateway: StartGateway, asked: str) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response, took_s = await timed(gateway, asking(asked))
        assert_error(response, 504, code="upstream_total_timeout")
        await upstream.connections[0].wait_client_gone()
    assert SHORT_S - 0.01 <= took_s < SHORT_S + SLACK_S


async def test_a_client_gets_no_more_time_than_there_is(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"total": "300ms"}})
        )
        for asked in ("10m", "999999999999d"):
            response, took_s = await timed(gateway, asking(asked))
            assert_error(response, 504, code="upstream_total_timeout")
            assert took_s < SHORT_S + SLACK_S


async def test_a_client_may_ask_for_ages_where_there_is_no_total(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(late) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert (await ask(gateway.port, asking("999999999999d"))).status == 200
        assert upstream.requests


NO_TIMES = ["", "0", "0s", "0ms", "-1", "-1s", "1 s", "s", "abc", "1e3", "nan", "inf", "1,5s"]
NO_TIMES += ["5 minutes", "1s, 2s", "0x10", "9" * 40, "\u0661".encode().decode("latin-1")]


@pytest.mark.parametrize("asked", NO_TIMES)
async def test_what_is_no_time_is_400_and_goes_nowhere(
    start_gateway: StartGateway, asked: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await ask(gateway.port, asking(asked))
        assert_error(response, 400, code="invalid_timeout")
        error = response.json()["error"]
        assert error["param"] == "x-request-timeout"
        assert len(asked) < 6 or asked not in error["message"]
        assert upstream.connections == []


async def test_the_time_a_client_asks_for_ends_a_stream_with_one_error_event(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(endless) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            started = time.perf_counter()
            await client.send(asking("300ms"))
            await client.read_head()
            rest, clean = await read_stream(client)
            took_s = time.perf_counter() - started
        await upstream.connections[0].wait_client_gone()
    assert not clean
    assert rest.count(b"upstream_total_timeout") == 1
    report("U5", "stream ended off the client's 300 ms by, ms", abs(took_s - SHORT_S) * 1e3)
    assert took_s < SHORT_S + SLACK_S


@pytest.mark.parametrize("options", [{"retries": {"post": True}}, {"hedge": {"after": "5s"}}])
async def test_the_deadline_holds_while_the_body_is_waited_for(
    start_gateway: StartGateway, options: dict[str, Any]
) -> None:
    method = "POST" if "retries" in options else "PUT"
    async with ScriptedUpstream(silent_after_the_head) as upstream:
        document = endpoints(upstream.url, outliers={"failures": 1}, **options)
        gateway = await start_gateway(document)
        response, took_s = await timed(gateway, asking("300ms", method))
        assert_error(response, 504, code="upstream_total_timeout")
        await upstream.connections[0].wait_client_gone()
        await idle(gateway)
        assert state_of(gateway, upstream.url) is EndpointState.HEALTHY
    assert took_s < SHORT_S + SLACK_S


@pytest.mark.parametrize("script", [hang, silent_after_an_event, silent_after_the_head])
async def test_an_endpoint_is_not_blamed_for_a_clients_impatience(
    start_gateway: StartGateway, script: Script
) -> None:
    async with ScriptedUpstream(script) as upstream, ScriptedUpstream(json_reply({})) as other:
        gateway = await start_gateway(
            ranked(upstream.url, other.url, outliers={"failures": 2}),
        )
        answers = await asyncio.gather(*(ask(gateway.port, asking("500ms")) for _ in range(8)))
        assert {answer.status for answer in answers} == {504 if script is hang else 200}
        assert state_of(gateway, upstream.url) is EndpointState.HEALTHY
        assert upstream_of(gateway).counts.ejected == 0
        assert (len(upstream.requests), len(other.requests)) == (8, 0)


# -- deadlines in queues -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"admission": {"concurrency": 1, "max_wait": "30s"}}, "queue_timeout"),
        ({"max_requests": 1, "pending_wait": "30s"}, "upstream_busy"),
    ],
    ids=["admission", "pending"],
)
async def test_a_deadline_ends_the_wait_in_a_queue_and_the_request_is_never_sent(
    start_gateway: StartGateway, report: Report, options: dict[str, Any], code: str
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream=options))
        first = asyncio.create_task(ask(gateway.port))
        connection = await upstream.accept()
        await connection.read_request()
        response, took_s = await timed(gateway, asking("300ms"))
        assert_error(response, 503, code=code)
        assert response.value("retry-after") is not None
        await connection.send(reply(b"{}"))
        assert (await first).status == 200
        assert len(upstream.requests) == 1
        next_one = asyncio.create_task(ask(gateway.port))
        await connection.read_request()
        await connection.send(reply(b"{}"))
        assert (await next_one).status == 200
    report("U4", f"deadline while waiting, {code}: off its 300 ms by, ms", (took_s - SHORT_S) * 1e3)
    assert SHORT_S - 0.01 <= took_s < SHORT_S + SLACK_S


async def test_the_time_in_a_queue_is_taken_from_the_total(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(simple_config(upstream.url, upstream={"max_requests": 1}))
        first = asyncio.create_task(ask(gateway.port))
        connection = await upstream.accept()
        await connection.read_request()
        second = asyncio.create_task(timed(gateway, asking("600ms")))
        async with asyncio.timeout(PATIENCE_S):
            while not upstream_of(gateway).pending:  # noqa: ASYNC110 -- the loop's next turn
                await asyncio.sleep(0)
        await asyncio.sleep(0.3)
        await connection.send(reply(b"{}"))
        assert (await first).status == 200
        response, took_s = await second
        assert_error(response, 504, code="upstream_total_timeout")
        assert len(upstream.requests) == 1
        await connection.read_request()
    assert took_s < 0.6 + SLACK_S
