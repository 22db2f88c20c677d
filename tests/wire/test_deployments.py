"""A model with several deployments: they share its requests, and one takes over from another."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.upstream.health import EndpointState
from tests.support.client import RawClient, Response, request
from tests.support.exchange import ask
from tests.support.gateway import LogLine, RunningGateway, StartGateway, simple_config
from tests.support.peers import idle, refusing_endpoint, upstream_of
from tests.support.refusal import assert_error
from tests.support.upstream import (
    STREAM_HEAD,
    Request,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    reply_then_reset,
    sse_reply,
)
from tests.support.waiting import eventually

OK = json_reply({"served": True})
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hi"}]}
Deployed = dict[str, Any]


def config(
    *urls: str, each: Sequence[Deployed] = (), upstream: Deployed | None = None, **model: Any
) -> dict[str, Any]:
    """Return a configuration in which `small` is deployed at the upstreams `u0`, `u1` and so on,
    which call it `own-0`, `own-1` and so on. `each` has more settings of each deployment.
    """
    document = simple_config(urls[0])
    options = {"retries": {"attempts": 0}, **(upstream or {})}
    document["upstreams"] = {
        f"u{number}": {"endpoints": [{"url": url}], **options} for number, url in enumerate(urls)
    }
    deployments = [{"upstream": f"u{n}", "model": f"own-{n}"} for n in range(len(urls))]
    for one, more in zip(deployments, each, strict=False):
        one |= more
    document["models"] = {"small": {"deployments": deployments, **model}}
    route = document["routes"][0]
    route.pop("upstream", None)
    route["models"] = ["small"]
    return document


def chat(**fields: Any) -> bytes:
    return request("POST", "/v1/chat/completions", body=json.dumps({**CHAT, **fields}).encode())


async def post(gateway: RunningGateway, **fields: Any) -> Response:
    return await ask(gateway.port, chat(**fields))


async def logged(gateway: RunningGateway) -> LogLine:
    return await gateway.wait_for_log(lambda line: line["event"] == "request")


def model_of(seen: Request) -> str:
    name: str = json.loads(seen.body)["model"]
    return name


def counts(*upstreams: ScriptedUpstream) -> list[int]:
    return [len(one.requests) for one in upstreams]


def failing(status: str, *headers: str) -> Script:
    return raw_reply(reply(b'{"error":{"message":"no"}}', status=status, headers=headers))


async def test_each_deployment_is_asked_under_its_own_name(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as two:
        gateway = await start_gateway(config(one.url, two.url, balance="round_robin"))
        for _ in range(4):
            assert (await post(gateway)).status == 200
        assert counts(one, two) == [2, 2]
        assert {model_of(seen) for seen in one.requests} == {"own-0"}
        assert {model_of(seen) for seen in two.requests} == {"own-1"}


async def test_weights_divide_the_requests(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as two:
        document = config(one.url, two.url, each=[{"weight": 3}], balance="round_robin")
        gateway = await start_gateway(document)
        for _ in range(16):
            assert (await post(gateway)).status == 200
        assert counts(one, two) == [12, 4]


async def test_a_caller_keeps_its_deployment_where_its_name_is_hashed(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as two:
        document = config(one.url, two.url, balance={"hash": "header.x-user"})
        gateway = await start_gateway(document)
        for number in range(72):
            headers = [f"X-User: user-{number % 24}"]
            raw = request("POST", body=json.dumps(CHAT).encode(), headers=headers)
            assert (await ask(gateway.port, raw)).status == 200
        assert min(counts(one, two)) > 0
        firsts = {seen.value("x-user") for seen in one.requests}
        seconds = {seen.value("x-user") for seen in two.requests}
        assert not firsts & seconds


@pytest.mark.parametrize("failure", ["429", "500", "503", "reset", "refused"])
async def test_another_deployment_serves_what_one_refuses_or_fails(
    start_gateway: StartGateway, failure: str
) -> None:
    script = reply_then_reset() if failure == "reset" else failing(f"{failure} No")
    async with ScriptedUpstream(script) as one, ScriptedUpstream(OK) as two:
        with refusing_endpoint() as nobody:
            first = nobody if failure == "refused" else one.url
            document = config(first, two.url, each=[{}, {"priority": 1}])
            gateway = await start_gateway(document)
            response = await post(gateway)
        assert (response.status, response.json()) == (200, {"served": True})
        assert model_of(two.requests[0]) == "own-1"
        line = await logged(gateway)
        assert (line["model"], line["upstream"]) == ("small", "u1")
        assert "served" not in line
        assert line["fallbacks"][0].startswith("small at u0: ")


async def test_a_deployment_that_refused_is_left_alone_for_the_time_it_asked_for(
    start_gateway: StartGateway,
) -> None:
    async with (
        ScriptedUpstream(failing("429 Too Many", "Retry-After: 60")) as one,
        ScriptedUpstream(OK) as two,
    ):
        gateway = await start_gateway(config(one.url, two.url, each=[{}, {"priority": 1}]))
        for _ in range(3):
            assert (await post(gateway)).status == 200
        assert counts(one, two) == [1, 3]
        upstream = upstream_of(gateway, "u0")
        assert upstream.state(upstream.endpoints[0]) is EndpointState.COOLING


async def test_a_deployment_whose_endpoint_is_ejected_is_passed_over_until_it_is_probed(
    start_gateway: StartGateway,
) -> None:
    answers = [reply(b"{}", status="500 No"), reply(b'{"served":true}')]
    outliers = {"failures": 1, "base": "1s", "slow_start": "0s", "successes": 1}
    recovers = raw_reply(lambda _: answers.pop(0))
    async with ScriptedUpstream(recovers) as one, ScriptedUpstream(OK) as two:
        document = config(
            one.url, two.url, each=[{}, {"priority": 1}], upstream={"outliers": outliers}
        )
        gateway = await start_gateway(document)
        upstream = upstream_of(gateway, "u0")
        assert (await post(gateway)).status == 200
        assert upstream.state(upstream.endpoints[0]) is EndpointState.EJECTED
        assert (await post(gateway)).status == 200
        assert counts(one, two) == [1, 2]
        await eventually(lambda: upstream.state(upstream.endpoints[0]) is not EndpointState.EJECTED)
        assert (await post(gateway)).status == 200
        assert counts(one, two) == [2, 2]


async def test_the_last_refusal_is_passed_on_where_all_deployments_refuse(
    start_gateway: StartGateway,
) -> None:
    refuses = failing("429 Too Many")
    async with ScriptedUpstream(refuses) as one, ScriptedUpstream(refuses) as two:
        gateway = await start_gateway(config(one.url, two.url))
        assert (await post(gateway)).status == 429
        assert counts(one, two) == [1, 1]


async def test_a_mistake_of_the_caller_is_not_sent_to_another_deployment(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(failing("400 Bad")) as one, ScriptedUpstream(OK) as two:
        gateway = await start_gateway(config(one.url, two.url, each=[{}, {"priority": 1}]))
        assert (await post(gateway)).status == 400
        assert counts(one, two) == [1, 0]


async def test_a_fallback_is_asked_after_all_deployments_and_under_its_own_name(
    start_gateway: StartGateway,
) -> None:
    broken = failing("503 Down")
    async with (
        ScriptedUpstream(broken) as one,
        ScriptedUpstream(broken) as two,
        ScriptedUpstream(OK) as three,
    ):
        document = config(one.url, two.url, fallbacks=["big"])
        document["upstreams"]["u2"] = {"endpoints": [{"url": three.url}]}
        document["models"]["big"] = {"deployments": [{"upstream": "u2", "model": "acme/big"}]}
        gateway = await start_gateway(document)
        assert (await post(gateway)).status == 200
        assert counts(one, two, three) == [1, 1, 1]
        assert model_of(three.requests[0]) == "acme/big"
        line = await logged(gateway)
        assert (line["served"], line["upstream"], len(line["fallbacks"])) == ("big", "u2", 2)


async def test_a_deployment_gets_no_more_requests_at_once_than_it_takes(
    start_gateway: StartGateway,
) -> None:
    release = asyncio.Event()

    async def hold(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await release.wait()
        await connection.send(reply(b'{"served":true}'))

    async with ScriptedUpstream(hold) as one, ScriptedUpstream(OK) as two:
        document = config(
            one.url, two.url, each=[{"concurrency": 1}, {"priority": 1, "concurrency": 1}]
        )
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            await one.wait_requests(1)
            assert (await post(gateway)).status == 200
            assert counts(one, two) == [1, 1]
            release.set()
            assert (await client.read_response()).status == 200


async def test_where_no_deployment_has_room_the_request_is_refused_with_503(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(OK) as one:
        gateway = await start_gateway(config(one.url, each=[{"requests": "2/hour"}]))
        assert [(await post(gateway)).status for _ in range(2)] == [200, 200]
        assert_error(await post(gateway), 503, code="upstream_busy")
        assert counts(one) == [2]


async def test_requests_beyond_the_quota_of_one_deployment_go_to_the_next(
    start_gateway: StartGateway,
) -> None:
    usage = json_reply({"usage": {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}})
    async with ScriptedUpstream(usage) as one, ScriptedUpstream(usage) as two:
        document = config(one.url, two.url, each=[{"tokens": "100/hour"}, {"priority": 1}])
        gateway = await start_gateway(document)
        # Each reserves some 50 tokens, and uses 10: the reservation is corrected at its end.
        for _ in range(8):
            assert (await post(gateway, max_tokens=40)).status == 200
            await idle(gateway)
        first, second = counts(one, two)
        assert 2 <= first <= 7
        assert first + second == 8


async def test_a_reload_keeps_what_was_counted_of_a_quota(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as two:
        document = config(one.url, two.url, each=[{"requests": "1/hour"}, {"priority": 1}])
        gateway = await start_gateway(document)
        assert (await post(gateway)).status == 200
        model = gateway.config.models["small"]
        changed = gateway.config.model_copy(
            update={"models": {"small": model.model_copy(update={"max_output_tokens": 50})}}
        )
        await gateway.server.prepare(changed)
        gateway.server.commit()
        assert (await post(gateway)).status == 200
        assert counts(one, two) == [1, 1]


async def test_a_stream_that_breaks_off_goes_on_at_another_deployment(
    start_gateway: StartGateway,
) -> None:
    def event(text: str) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        return b"data: %b\n\n" % json.dumps({"id": "a", "choices": [choice]}).encode()

    async def breaks_off(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(event("Once ")))
        await begun.wait()
        connection.reset()

    begun = asyncio.Event()
    rest = sse_reply([event("upon"), b"data: [DONE]\n\n"])
    async with ScriptedUpstream(breaks_off) as one, ScriptedUpstream(rest) as two:
        document = config(
            one.url, two.url, each=[{}, {"priority": 1}], upstream={"continues": "prefill"}
        )
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            body = json.dumps({**CHAT, "stream": True}).encode()
            await client.send(request("POST", "/v1/chat/completions", body=body))
            assert (await client.read_head()).status == 200
            received = await client.read_chunk() or b""
            begun.set()
            while (piece := await client.read_chunk()) is not None:
                received += piece
        assert received.index(b"Once ") < received.index(b"upon")
        assert received.endswith(b": continued by another backend\n")
        continued = json.loads(two.requests[0].body)
        assert (continued["model"], continued["messages"][-1]["content"]) == ("own-1", "Once ")
        line = await logged(gateway)
        assert (line["continued"], line["upstream"]) == (1, "u1")


async def test_the_cheapest_deployment_that_may_be_asked_is_asked(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as two:
        document = config(
            one.url,
            two.url,
            each=[{"cost": 2}, {"cost": 0.5, "requests": "2/hour"}],
            balance="cheapest",
        )
        gateway = await start_gateway(document)
        for _ in range(3):
            assert (await post(gateway)).status == 200
        assert counts(one, two) == [1, 2]


async def test_a_deployment_of_another_dialect_gets_a_translated_request(
    start_gateway: StartGateway,
) -> None:
    answer = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "own-1",
        "content": [{"type": "text", "text": "hello"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    async with (
        ScriptedUpstream(failing("503 Down")) as one,
        ScriptedUpstream(json_reply(answer)) as two,
    ):
        document = config(one.url, two.url, each=[{}, {"priority": 1}])
        document["upstreams"]["u1"]["dialect"] = "anthropic"
        document["routes"][0]["dialect"] = "openai"
        gateway = await start_gateway(document)
        raw = request("POST", "/v1/chat/completions", body=json.dumps(CHAT).encode())
        response = await ask(gateway.port, raw)
        assert response.status == 200
        assert response.json()["choices"][0]["message"]["content"] == "hello"
        assert model_of(two.requests[0]) == "own-1"


async def test_a_deployment_costs_its_own_price(start_gateway: StartGateway) -> None:
    usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
    answered = json_reply({"usage": usage})
    each: list[Deployed] = [{"price": {"input": 7, "output": 1}}, {"priority": 1}]
    async with ScriptedUpstream(answered) as one, ScriptedUpstream(answered) as other:
        document = config(one.url, other.url, each=each, price={"input": 2, "output": 1})
        document["routes"][0]["served_headers"] = ["cost", "upstream"]
        gateway = await start_gateway(document)
        dear = await post(gateway)
        await one.stop()
        cheap = await post(gateway)
        records = gateway.server.state.records
        metrics = gateway.server.state.registry.snapshot()

    assert (dear.value("x-gateway-upstream"), dear.value("x-gateway-cost")) == (b"u0", b"7")
    assert (cheap.value("x-gateway-upstream"), cheap.value("x-gateway-cost")) == (b"u1", b"2")
    [tally] = json.loads(records.take())["tallies"]
    assert 9.0 in tally, "usage by model adds up what the deployments cost"
    assert sum(value for _, value in metrics["gateway_cost"]) == pytest.approx(9.0)


async def test_the_cheapest_deployment_by_price_is_asked(start_gateway: StartGateway) -> None:
    each = [{"price": {"input": 3, "output": 15}}, {"price": {"input": 1, "output": 5}}]
    async with ScriptedUpstream(OK) as one, ScriptedUpstream(OK) as other:
        document = config(one.url, other.url, each=each, balance="cheapest")
        gateway = await start_gateway(document)
        for _ in range(4):
            await post(gateway)

    assert counts(one, other) == [0, 4]


@pytest.mark.parametrize("at", ["deployments", "endpoints"])
async def test_the_one_near_its_providers_limit_gets_fewer_requests_before_a_429(
    start_gateway: StartGateway, at: str
) -> None:
    def answering(remaining: int) -> Script:
        return raw_reply(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
            b"x-ratelimit-limit-requests: 1000\r\nx-ratelimit-reset-requests: 1h\r\n"
            b"x-ratelimit-remaining-requests: %d\r\n\r\n{}" % remaining
        )

    async with ScriptedUpstream(answering(10)) as near, ScriptedUpstream(answering(900)) as far:
        if at == "deployments":
            document = config(near.url, far.url, balance="round_robin")
        else:
            document = config(near.url)
            endpoints = [{"url": near.url}, {"url": far.url}]
            document["upstreams"] = {"u0": {"endpoints": endpoints, "balance": "round_robin"}}
        gateway = await start_gateway(document)
        for _ in range(40):
            assert (await post(gateway)).status == 200

    few, many = counts(near, far)
    assert few + many == 40
    assert 1 <= few <= 6, "a twentieth of the other's share"
