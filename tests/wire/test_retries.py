"""Sending again: when, how often, to whom, and when never (U1, U2, U16)."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.client import RawClient, Response, request
from tests.support.exchange import EVENTS, POST, ask, read_stream
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.peers import (
    endpoint_at,
    endpoints,
    idle,
    ranked,
    refusing_endpoint,
    state_of,
    upstream_of,
)
from tests.support.refusal import assert_error
from tests.support.upstream import (
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    raw_reply,
    reply,
    reply_then_close,
    reply_then_reset,
    sse_reply,
)
from tests.support.waiting import PATIENCE_S, SLACK_S

GET = request("GET")
OK = json_reply({"served": True})
UNAVAILABLE = "503 Service Unavailable"


def failing(status: str, *headers: str) -> Script:
    return json_reply({"failed": True}, status=status, headers=headers)


def in_turn(*answers: bytes) -> Script:
    """Answer the first request with the first of these, and so on; the last stays."""
    left = list(answers)

    def answer(_: Request) -> bytes:
        return left.pop(0) if len(left) > 1 else left[0]

    return raw_reply(answer)


async def get(gateway: RunningGateway, *headers: str) -> Response:
    return await ask(gateway.port, request("GET", headers=headers), "GET")


def counts(*upstreams: ScriptedUpstream) -> list[int]:
    """How many requests each has seen."""
    return [len(upstream.requests) for upstream in upstreams]


# -- U1: nothing was sent ----------------------------------------------------------------------


async def test_u1_no_client_notices_a_refusing_endpoint_and_it_costs_no_budget(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(OK) as upstream:
        with refusing_endpoint() as refusing:
            document = endpoints(
                refusing,
                upstream.url,
                outliers={"enabled": False},
                retries={"budget": "0%", "reserve": 0},
            )
            gateway = await start_gateway(document)
            answers = [await ask(gateway.port) for _ in range(40)]
        tried = [line.get("attempts", 1) for line in gateway.log.requests]
        assert counts(upstream) == [40]
        assert upstream_of(gateway).counts.retries == 0
    noticed = sum(answer.status != 200 for answer in answers)
    report("U1", "clients of 40 who noticed that one of two refuses", noticed)
    assert noticed == 0
    assert set(tried) == {1, 2}


async def test_u1_where_everybody_refuses_they_are_asked_again_before_it_is_502(
    start_gateway: StartGateway, report: Report
) -> None:
    with refusing_endpoint() as one, refusing_endpoint() as other:
        gateway = await start_gateway(endpoints(one, other, retries={"attempts": 2}))
        started = time.perf_counter()
        assert_error(await ask(gateway.port), 502, code="upstream_connect_failed")
        report("U1", "all refuse three times to 502, ms", (time.perf_counter() - started) * 1e3)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        await idle(gateway)
    assert logged["attempts"] == 6


# -- U2: what may not be repeated --------------------------------------------------------------


@pytest.mark.parametrize("script", [reply_then_reset(), reply_then_close(b"")], ids=["rst", "fin"])
async def test_u2_a_post_cut_off_before_its_answer_goes_to_nobody_else(
    start_gateway: StartGateway, report: Report, script: Script
) -> None:
    async with ScriptedUpstream(script) as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url))
        assert_error(await ask(gateway.port), 502, code="upstream_reset")
        await idle(gateway)
        assert counts(first, second) == [1, 0]
        sent = sum(counts(first, second))
    report("U2", "attempts of a POST reset before the head, two endpoints", sent)


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_post_that_was_answered_with_an_error_is_not_repeated(
    start_gateway: StartGateway, status: int
) -> None:
    async with (
        ScriptedUpstream(failing(f"{status} Failed")) as first,
        ScriptedUpstream(OK) as second,
    ):
        gateway = await start_gateway(ranked(first.url, second.url))
        response = await ask(gateway.port)
        assert (response.status, response.json()) == (status, {"failed": True})
        assert counts(first, second) == [1, 0]


STREAMED = request("PUT", headers=["Transfer-Encoding: chunked"]) + b"4\r\nhalf\r\n"


@pytest.mark.parametrize("post", [False, True])
@pytest.mark.parametrize("answer", [b"", reply(b"{}", status=UNAVAILABLE)], ids=["reset", "503"])
async def test_a_body_that_is_streamed_is_never_sent_twice(
    start_gateway: StartGateway, post: bool, answer: bytes
) -> None:
    async def script(connection: UpstreamConnection) -> None:
        await connection.read_head()
        await connection.read_exactly(len(b"4\r\nhalf\r\n"))
        if answer:
            await connection.send(answer)
            await connection.wait_client_gone()
        else:
            connection.reset()

    async with ScriptedUpstream(script) as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url, retries={"post": post}))
        async with RawClient(gateway.port) as client:
            await client.send(STREAMED)
            response = await client.read_response()
        assert response.status == (503 if answer else 502)
        await idle(gateway)
        assert len(first.connections) == 1
        assert second.connections == []


# -- what is idempotent ------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
@pytest.mark.parametrize("failure", ["reset", "502", "503", "504"])
async def test_what_is_idempotent_goes_to_another_endpoint(
    start_gateway: StartGateway, method: str, failure: str
) -> None:
    bad = reply_then_reset() if failure == "reset" else raw_reply(reply(status=f"{failure} Bad"))
    raw = request(method, body=b"{}" if method == "PUT" else None)
    async with ScriptedUpstream(bad) as first, ScriptedUpstream(raw_reply(reply())) as second:
        gateway = await start_gateway(ranked(first.url, second.url))
        assert (await ask(gateway.port, raw, method)).status == 200
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert counts(first, second) == [1, 1]
        assert (
            first.requests[0].raw.split(b"\r\n", 1)[0] == second.requests[0].raw.split(b"\r\n")[0]
        )
        assert first.requests[0].body == second.requests[0].body
    assert (logged["attempts"], logged["endpoint"]) == (2, second.url)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "answer",
    [
        reply(b"{}", status="500 Internal Server Error"),
        reply(b"{}", status="400 Bad Request"),
        reply(b"{}", status="501 Not Implemented"),
        b"not http at all\r\n\r\n",
    ],
    ids=["500", "400", "501", "garbage"],
)
async def test_what_would_fail_again_is_not_sent_again(
    start_gateway: StartGateway, method: str, answer: bytes
) -> None:
    async with ScriptedUpstream(raw_reply(answer)) as first, ScriptedUpstream(OK) as second:
        document = ranked(first.url, second.url, retries={"post": True})
        gateway = await start_gateway(document)
        response = await ask(gateway.port, request(method), method)
        garbage = not answer.startswith(b"HTTP")
        assert response.status == (502 if garbage else int(answer[9:12]))
        assert counts(first, second) == [1, 0]


async def test_statuses_that_are_not_taken_can_be_chosen(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(failing("429 Too Many Requests")) as first,
        ScriptedUpstream(OK) as second,
    ):
        gateway = await start_gateway(ranked(first.url, second.url, retries={"statuses": [429]}))
        assert (await get(gateway)).status == 200
        assert counts(first, second) == [1, 1]


async def test_attempts_end_and_the_last_answer_is_passed_on(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE)) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await get(gateway)
        assert (response.status, response.json()) == (503, {"failed": True})
        await idle(gateway)
        assert counts(upstream) == [3]


async def test_an_endpoint_alone_is_asked_again_itself(start_gateway: StartGateway) -> None:
    answers = in_turn(reply(b"{}", status=UNAVAILABLE), reply(b"{}"))
    async with ScriptedUpstream(answers) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        assert (await get(gateway)).status == 200
        assert counts(upstream) == [2]


async def test_pauses_between_attempts_double_up_to_the_longest(
    start_gateway: StartGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest_s: list[float] = []

    def shortest(least: float, most: float) -> float:
        longest_s.append(most)
        return least

    monkeypatch.setattr(random, "uniform", shortest)
    async with ScriptedUpstream(failing(UNAVAILABLE)) as upstream:
        retries = {"attempts": 4, "backoff": "20ms", "longest_backoff": "100ms", "reserve": 10}
        gateway = await start_gateway(simple_config(upstream.url, upstream={"retries": retries}))
        assert (await get(gateway)).status == 503
        assert counts(upstream) == [5]
    assert longest_s[:4] == [0.02, 0.04, 0.08, 0.1]


@pytest.mark.parametrize("failure", ["503", "reset"])
async def test_an_endpoint_is_asked_again_where_the_others_are_out(
    start_gateway: StartGateway, failure: str
) -> None:
    answered = 0

    async def once(connection: UpstreamConnection) -> None:
        nonlocal answered
        while True:
            await connection.read_request()
            answered += 1
            if answered > 1:
                await connection.send(reply(b"{}"))
            elif failure == "503":
                await connection.send(reply(b"{}", status=UNAVAILABLE))
            else:
                return connection.reset()

    async with ScriptedUpstream(once) as first, ScriptedUpstream(OK) as out:
        gateway = await start_gateway(endpoints(first.url, out.url))
        upstream_of(gateway).drain(endpoint_at(gateway, out.url), out=True)
        assert (await get(gateway)).status == 200
        assert counts(first, out) == [2, 0]


# -- what is not idempotent, where the owner allows it -----------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        failing(UNAVAILABLE),
        reply_then_reset(),
        reply_then_close(STREAM_HEAD),
        reply_then_close(reply(b"{}")[:-2]),
    ],
    ids=["503", "reset", "head-then-close", "length-then-close"],
)
async def test_a_post_is_repeated_before_the_first_byte_of_an_answer_where_that_is_allowed(
    start_gateway: StartGateway, bad: Script
) -> None:
    async with ScriptedUpstream(bad) as first, ScriptedUpstream(sse_reply(EVENTS)) as second:
        gateway = await start_gateway(ranked(first.url, second.url, retries={"post": True}))
        response = await ask(gateway.port)
        await idle(gateway)
        assert (response.status, response.body) == (200, b"".join(EVENTS))
        assert response.clean_end
        assert counts(first, second) == [1, 1]
        assert first.requests[0].body == second.requests[0].body


async def test_a_post_is_not_repeated_after_the_first_byte_of_its_answer(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url, retries={"post": True}))
        async with RawClient(gateway.port) as client:
            await client.send(POST)
            connection = await first.accept()
            await connection.read_request()
            await connection.send(STREAM_HEAD + chunk(EVENTS[0]))
            await client.read_head()
            assert await client.read_chunk() == EVENTS[0]
            connection.reset()
            rest, clean = await read_stream(client)
        assert not clean
        assert rest.count(b"upstream_reset") == 1
        await idle(gateway)
        assert counts(first, second) == [1, 0]


# -- time for each attempt ---------------------------------------------------------------------


async def test_who_is_late_by_the_time_for_one_attempt_is_left_for_another(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(
            ranked(first.url, second.url, retries={"per_try": "200ms", "post": True})
        )
        started = time.perf_counter()
        assert (await ask(gateway.port)).status == 200
        took_s = time.perf_counter() - started
        await first.connections[0].wait_client_gone()
        await idle(gateway)
        assert counts(first, second) == [1, 1]
    report("retry", "hanging endpoint, 200 ms per try, to the other's answer, ms", took_s * 1e3)
    assert 0.2 <= took_s < SLACK_S


async def late(connection: UpstreamConnection) -> None:
    """Answer after 400 ms."""
    while True:
        await connection.read_request()
        await asyncio.sleep(0.4)
        await connection.send(reply(b"{}"))


async def test_the_last_attempt_has_the_whole_time(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(late) as second:
        gateway = await start_gateway(
            ranked(first.url, second.url, retries={"per_try": "100ms"}),
        )
        assert (await get(gateway)).status == 200
        assert counts(first, second) == [1, 1]


@pytest.mark.parametrize("retries", [{}, {"budget": "0%", "reserve": 0}], ids=["alone", "broke"])
async def test_an_attempt_that_nothing_may_follow_has_the_whole_time(
    start_gateway: StartGateway, retries: dict[str, Any]
) -> None:
    async with ScriptedUpstream(late) as upstream, ScriptedUpstream(OK) as other:
        urls = (upstream.url, other.url) if retries else (upstream.url,)
        gateway = await start_gateway(ranked(*urls, retries={"per_try": "100ms", **retries}))
        assert (await get(gateway)).status == 200
        assert counts(upstream, other) == [1, 0]


@pytest.mark.parametrize("others", [0, 1])
async def test_who_falls_silent_before_the_body_is_left_for_another_and_not_asked_again(
    start_gateway: StartGateway, others: int
) -> None:
    async def silent(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        await connection.wait_client_gone()

    async with ScriptedUpstream(silent) as first, ScriptedUpstream(OK) as second:
        urls = [first.url, second.url][: 1 + others]
        document = ranked(*urls, retries={"post": True}, timeouts={"idle": "200ms"})
        gateway = await start_gateway(document)
        response = await ask(gateway.port)
        if others:
            assert response.status == 200
        else:
            assert_error(response, 504, code="upstream_idle_timeout")
        assert counts(first, second) == [1, others]


# -- Retry-After -------------------------------------------------------------------------------


async def test_who_asks_for_a_pause_is_left_for_another_at_once(
    start_gateway: StartGateway, report: Report
) -> None:
    async with (
        ScriptedUpstream(failing(UNAVAILABLE, "Retry-After: 30")) as first,
        ScriptedUpstream(OK) as second,
    ):
        gateway = await start_gateway(ranked(first.url, second.url))
        started = time.perf_counter()
        assert (await get(gateway)).status == 200
        took_s = time.perf_counter() - started
        assert (await get(gateway)).status == 200
        assert counts(first, second) == [1, 2]
        assert state_of(gateway, first.url) is EndpointState.COOLING
    report("retry", "Retry-After of one to the other's answer, ms", took_s * 1e3)
    assert took_s < SLACK_S


@pytest.mark.parametrize("other", ["none", "drained"])
async def test_a_short_pause_is_waited_for_where_nobody_else_can_be_asked(
    start_gateway: StartGateway, report: Report, other: str
) -> None:
    answers = in_turn(
        reply(b"{}", status=UNAVAILABLE, headers=["Retry-After: 1"]), reply(b'{"ok":1}')
    )
    async with ScriptedUpstream(answers) as upstream, ScriptedUpstream(OK) as drained:
        urls = (upstream.url, drained.url) if other == "drained" else (upstream.url,)
        gateway = await start_gateway(endpoints(*urls))
        if other == "drained":
            upstream_of(gateway).drain(endpoint_at(gateway, drained.url), out=True)
        started = time.perf_counter()
        response = await get(gateway)
        took_s = time.perf_counter() - started
        assert (response.status, response.json()) == (200, {"ok": 1})
        assert counts(upstream, drained) == [2, 0]
    report("retry", f"Retry-After of 1 s waited for, others: {other}, s", took_s)
    assert 0.99 <= took_s < 1.0 + SLACK_S


async def test_a_long_pause_is_passed_on(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE, "Retry-After: 60")) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await get(gateway)
        assert (response.status, response.value("retry-after")) == (503, b"60")
        assert counts(upstream) == [1]


# -- U16: the budget ---------------------------------------------------------------------------


async def test_u16_where_all_fail_every_request_is_answered_and_few_are_repeated(
    start_gateway: StartGateway, report: Report
) -> None:
    sent, at_once, well = 300, 20, False

    def answer(_: Request) -> bytes:
        return reply(b"{}") if well else reply(b'{"failed":1}', status=UNAVAILABLE)

    script = raw_reply(answer)
    async with ScriptedUpstream(script) as one, ScriptedUpstream(script) as other:
        outliers = {"max_ejected": "100%", "base": "60s"}
        gateway = await start_gateway(endpoints(one.url, other.url, outliers=outliers))
        statuses = []

        async def client() -> None:
            for _ in range(sent // at_once):
                statuses.append((await get(gateway)).status)

        await asyncio.gather(*(client() for _ in range(at_once)))
        seen = sum(counts(one, other))
        assert upstream_of(gateway).panicking
        assert {state_of(gateway, url) for url in (one.url, other.url)} == {EndpointState.EJECTED}
        well = True
        served = [(await get(gateway)).status for _ in range(20)]
        await idle(gateway)
        assert upstream_of(gateway).counts.panics == 1
    assert statuses == sent * [503]
    assert set(served) == {200}
    report("U16", "answered of 300 while all peers answer 503", len(statuses))
    report("U16", "requests at the upstream for each of a client's", seen / sent)
    assert seen <= 1.2 * sent + 3


async def test_u16_without_a_budget_nothing_is_repeated(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE)) as upstream:
        retries = {"budget": "0%", "reserve": 0}
        gateway = await start_gateway(simple_config(upstream.url, upstream={"retries": retries}))
        assert [(await get(gateway)).status for _ in range(5)] == 5 * [503]
        assert counts(upstream) == [5]


# -- deadlines, and clients that leave ---------------------------------------------------------


async def test_no_attempt_begins_that_the_deadline_would_end(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE, "Retry-After: 1")) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        response = await get(gateway, "x-request-timeout: 900ms")
        assert (response.status, response.json()) == (503, {"failed": True})
        assert counts(upstream) == [1]


async def test_an_error_whose_repetition_would_be_too_late_is_passed_on_as_it_is(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE)) as upstream:
        # The pause before the retry is random below a day.
        retries = {"backoff": "1d", "longest_backoff": "1d"}
        gateway = await start_gateway(simple_config(upstream.url, upstream={"retries": retries}))
        response = await get(gateway, "x-request-timeout: 1s")
        assert (response.status, response.json()) == (503, {"failed": True})
        assert counts(upstream) == [1]
        assert upstream_of(gateway).counts.retries == 0


async def test_the_deadline_ends_the_attempts(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(hang) as second:
        gateway = await start_gateway(ranked(first.url, second.url, retries={"per_try": "200ms"}))
        started = time.perf_counter()
        response = await get(gateway, "x-request-timeout: 1500ms")
        took_s = time.perf_counter() - started
        assert_error(response, 504, code="upstream_total_timeout")
        assert counts(first, second) == [1, 1]
        for upstream in (first, second):
            await upstream.connections[0].wait_client_gone()
    assert 1.49 <= took_s < 1.5 + SLACK_S


async def test_nothing_more_is_sent_for_a_client_that_leaves_between_attempts(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(failing(UNAVAILABLE, "Retry-After: 2")) as upstream:
        gateway = await start_gateway(simple_config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(GET)
            async with asyncio.timeout(PATIENCE_S):
                while not upstream_of(gateway).counts.retries:  # noqa: ASYNC110 -- the next turn
                    await asyncio.sleep(0)
            assert endpoint_at(gateway, upstream.url).in_flight == 0
            client.reset()
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert logged["end"] == "client_abort"
        assert gateway.server.state.overload.requests == 0
        await idle(gateway)
        assert counts(upstream) == [1]


async def test_nothing_more_is_sent_for_a_client_that_leaves_during_an_attempt(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(hang) as first, ScriptedUpstream(OK) as second:
        gateway = await start_gateway(ranked(first.url, second.url))
        async with RawClient(gateway.port) as client:
            await client.send(GET)
            await first.wait_requests(1)
            client.reset()
        await first.connections[0].wait_client_gone()
        await idle(gateway)
        assert counts(first, second) == [1, 0]
