"""Limits over the wire: requests, tokens, slots, budgets; what callers are told; the store away."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support.client import RawClient, Response, ask
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.redis import StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import PATIENCE_S, SLACK_S, asked_until

USAGE = {"usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}}


def config(
    upstream: ScriptedUpstream, auth: Auth, limits: dict[str, Any], **sections: Any
) -> dict[str, Any]:
    return {
        "auth": auth,
        "limits": limits,
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
        "models": {
            "a": {"upstream": "main", "price": {"input": 100.0, "output": 1000.0}},
            "b": {"upstream": "main", "price": {"input": 0.0, "output": 0.0}},
        },
        "routes": [
            {
                "name": "r",
                "path": "/v1/",
                "auth": ["corp"],
                "models": ["a", "b"],
                "limits": list(limits),
            }
        ],
        **sections,
    }


def chat(credential: str, *, model: str = "a", close: bool = True, **fields: Any) -> bytes:
    body = json.dumps({"model": model, "messages": [], "max_tokens": 40, **fields}).encode()
    head = ["POST /v1/chat/completions HTTP/1.1", "Host: h", credential]
    head += ["Connection: close"] if close else []
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


async def post(gateway: RunningGateway, credential: str | None = None, **fields: Any) -> Response:
    return await ask(gateway.port, chat(credential or bearer(), **fields), "POST")


async def statuses(gateway: RunningGateway, *credentials: str, **fields: Any) -> list[int]:
    return [(await post(gateway, credential, **fields)).status for credential in credentials]


# -- requests and what callers are told --------------------------------------------------------


async def test_the_answer_to_too_many_says_which_limit_and_when_to_come_back(
    start_gateway: StartGateway, auth: Auth
) -> None:
    limits = {"per-user": {"key": "subject", "requests": "60/minute", "burst": 2}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        passed = [await post(gateway) for _ in range(2)]
        refused = await post(gateway)
    assert [response.status for response in passed] == [200, 200]
    assert refused.status == 429
    error = refused.json()["error"]
    assert (error["code"], error["type"]) == ("rate_limit_exceeded", "rate_limit_error")
    assert "'per-user'" in error["message"]
    assert refused.value("retry-after") == b"1"
    assert passed[0].value("ratelimit-policy") == b'"per-user";q=2;w=2'
    assert passed[0].value("ratelimit") == b'"per-user";r=1;t=1'
    assert refused.value("ratelimit") == b'"per-user";r=0;t=1'
    assert passed[0].value("x-ratelimit-limit-requests") == b"2"
    assert passed[0].value("x-ratelimit-remaining-requests") == b"1"
    assert len(upstream.requests) == 2


async def test_a_route_may_keep_to_itself_what_is_left(
    start_gateway: StartGateway, auth: Auth
) -> None:
    limits = {"per-user": {"key": "subject", "requests": "1/day"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, auth, limits)
        document["routes"][0]["limit_headers"] = False
        gateway = await start_gateway(document)
        await post(gateway)
        refused = await post(gateway)
    assert refused.status == 429
    assert refused.value("retry-after") is not None
    assert refused.value("ratelimit") is None


@pytest.mark.parametrize(
    ("key", "same", "other"),
    [
        ("subject", {"sub": "ann"}, {"sub": "bob"}),
        ("tenant", {"sub": "bob", "org": "acme"}, {"sub": "ann", "org": "other"}),
        ("claim.team", {"sub": "bob", "team": "x"}, {"sub": "ann", "team": "y"}),
    ],
)
async def test_who_shares_a_bucket_is_who_shares_the_key(
    start_gateway: StartGateway,
    auth: Auth,
    key: str,
    same: dict[str, str],
    other: dict[str, str],
) -> None:
    limits = {"l": {"key": key, "requests": "1/day"}}
    first = bearer(sub="ann", org="acme", team="x")
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        said = await statuses(gateway, first, bearer(**same), bearer(**other))
    assert said == [200, 429, 200]


async def test_a_combined_key_counts_each_combination(
    start_gateway: StartGateway, auth: Auth
) -> None:
    limits = {"l": {"key": ["subject", "model"], "requests": "1/day"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        assert await statuses(gateway, bearer(), bearer(), model="a") == [200, 429]
        assert await statuses(gateway, bearer(), bearer(), model="b") == [200, 429]
        assert await statuses(gateway, bearer(sub="bob"), model="a") == [200]


async def test_a_tier_has_amounts_of_its_own(start_gateway: StartGateway, auth: Auth) -> None:
    auth["corp"] = {**auth["corp"], "claims": {"tier": "plan"}}
    limits = {
        "l": {"key": "subject", "requests": "1/day", "tiers": {"gold": {"requests": "3/day"}}}
    }
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        gold = bearer(sub="g", plan="gold")
        assert await statuses(gateway, *[bearer(plan="silver")] * 2) == [200, 429]
        assert await statuses(gateway, *[gold] * 4) == [200, 200, 200, 429]


# -- LLM tokens --------------------------------------------------------------------------------


def tokens_limit(burst: int) -> dict[str, Any]:
    return {"t": {"key": "subject", "tokens": "1/day", "token_burst": burst}}


async def test_tokens_are_reserved_and_settled_with_what_was_used(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(1000)))
        first = await post(gateway)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        second = await post(gateway)
    reserved = 1000 - int(first.value("x-ratelimit-remaining-tokens") or b"0")
    assert 50 < reserved < 80
    assert (logged["tokens_in"], logged["tokens_out"]) == (30, 20)
    assert int(second.value("x-ratelimit-remaining-tokens") or b"0") == 1000 - 50 - reserved


async def test_a_streams_tokens_are_settled_too(start_gateway: StartGateway, auth: Auth) -> None:
    events = [b'data: {"choices":[{}]}\n\n'] * 5
    events += [b"data: " + json.dumps({"choices": [], **USAGE}).encode() + b"\n\n"]
    async with ScriptedUpstream(sse_reply([*events, b"data: [DONE]\n\n"])) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(1000)))
        await post(gateway, stream=True)
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (logged["tokens_in"], logged["tokens_out"]) == (30, 20)


async def test_an_abort_is_settled_with_what_was_streamed(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(10_000)))
        async with RawClient(gateway.port) as client:
            await client.send(chat(bearer(), close=False, stream=True, max_tokens=5000))
            for _ in range(3):
                await upstream.release(b"data: {}\n\n")
                await client.read_until(b"data: {}\n\n\r\n")
        logged = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert logged["end"] == "client_abort"
        assert logged["tokens_out"] == 3
        assert logged["tokens_in"] > 0
        async with RawClient(gateway.port) as client:
            await client.send(chat(bearer(), close=False, stream=True, max_tokens=9000))
            # Admitted: what was not used has been given back.
            await upstream.wait_requests(2)


async def test_what_an_upstream_refused_costs_no_tokens(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(100)))
        for _ in range(5):
            asked = asyncio.create_task(post(gateway))
            connection = await upstream.accept()
            await connection.read_request()
            connection.reset()
            assert (await asked).status == 502


async def test_a_compressed_answer_is_not_asked_for_where_tokens_are_counted(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(1000)))
        await ask(
            gateway.port, chat(bearer()).replace(b"Host: h", b"Host: h\r\nAccept-Encoding: gzip")
        )
    assert upstream.requests[0].value("accept-encoding") is None


async def test_a_stream_is_asked_for_its_usage_and_a_client_who_did_not_ask_sees_none(
    start_gateway: StartGateway, auth: Auth
) -> None:
    usage = b"data: " + json.dumps({"choices": [], **USAGE}).encode() + b"\n\n"
    events = [b'data: {"choices":[{}]}\n\n', usage, b"data: [DONE]\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(10_000)))
        silent = await post(gateway, stream=True)
        asking = await post(gateway, stream=True, stream_options={"include_usage": True})
    assert silent.body == events[0] + events[2]
    assert asking.body == b"".join(events)
    for request in upstream.requests:
        assert json.loads(request.body)["stream_options"] == {"include_usage": True}
    lines = gateway.log.requests
    assert [line["tokens_out"] for line in lines] == [20, 20]


@pytest.mark.parametrize("words", ["Extra inputs are not permitted: stream_options", "Bad request"])
@pytest.mark.parametrize("configured", [False, True], ids=["learnt", "configured"])
async def test_a_backend_that_refuses_to_be_asked_is_asked_no_more(
    start_gateway: StartGateway, auth: Auth, words: str, configured: bool
) -> None:
    events = [b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n', b"data: [DONE]\n\n"]
    whole = STREAM_HEAD + b"".join(map(chunk, events)) + LAST_CHUNK
    error = reply(json.dumps({"error": {"message": words}}).encode(), status="400 Bad Request")
    script = raw_reply(lambda seen: error if b"stream_options" in seen.body else whole)
    async with ScriptedUpstream(script) as upstream:
        document = config(upstream, auth, tokens_limit(10_000))
        if configured:
            document["upstreams"]["main"]["stream_options"] = False
        gateway = await start_gateway(document)
        answers = [await post(gateway, stream=True) for _ in range(2)]
        own = await post(gateway, stream=True, stream_options={"include_usage": True})
    assert [answer.body for answer in answers] == [b"".join(events)] * 2
    assert (own.status, own.json()["error"]["message"]) == (400, words)
    asked = [b"stream_options" in seen.body for seen in upstream.requests]
    assert asked == [*([] if configured else [True]), False, False, True]


async def test_a_400_for_another_reason_passes_as_it_came(
    start_gateway: StartGateway, auth: Auth
) -> None:
    error = b'{"error":{"message":"no such model","type":"x"}}'
    async with ScriptedUpstream(raw_reply(reply(error, status="400 Bad Request"))) as upstream:
        gateway = await start_gateway(config(upstream, auth, tokens_limit(10_000)))
        for _ in range(2):
            answer = await post(gateway, stream=True)
            assert (answer.status, answer.body) == (400, error)
        main = next(iter(gateway.server.runtime.upstreams.values()))
        assert not main.fields.refused("a")
        assert main.endpoints[0].in_flight == 0


# -- concurrency -------------------------------------------------------------------------------


async def test_a_slot_is_free_again_however_its_request_ends(
    start_gateway: StartGateway, auth: Auth
) -> None:
    limits = {"c": {"key": "subject", "concurrency": 1}}
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        for ending in ("complete", "abort", "reset", "truncated"):
            async with RawClient(gateway.port) as client:
                await client.send(chat(bearer(), close=False, stream=True))
                connection = await upstream.accept()
                await connection.read_request()
                await connection.send(STREAM_HEAD + chunk(b"data: 1\n\n"))
                await client.read_head()
                assert (await post(gateway)).status == 429, ending
                assert (await post(gateway)).status == 429, ending
                if ending == "complete":
                    await connection.send(b"0\r\n\r\n")
                    await client.read_until(b"0\r\n\r\n")
                elif ending == "reset":
                    connection.reset()
                    await client.read_to_end()
                elif ending == "truncated":
                    connection.close()
                    await client.read_to_end()
            connection.close()
            async with asyncio.timeout(PATIENCE_S):
                while len(gateway.server.runtime.leases):  # noqa: ASYNC110 -- the loop's next turn
                    await asyncio.sleep(0)


async def test_slots_are_exact_under_many_at_once(start_gateway: StartGateway, auth: Auth) -> None:
    limits = {"c": {"key": "route", "concurrency": 5}}
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits))
        asked = [asyncio.create_task(post(gateway, stream=True)) for _ in range(20)]
        done, waiting = set[asyncio.Task[Response]](), set(asked)
        while len(done) < 15:
            finished, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= finished
        assert {task.result().status for task in done} == {429}
        for _ in range(5):
            await upstream.finish()
        assert {(await task).status for task in waiting} == {200}


# -- budgets -----------------------------------------------------------------------------------


async def test_a_budget_in_money_is_spent_by_the_models_prices(
    start_gateway: StartGateway, auth: Auth, tmp_path: Path
) -> None:
    # A request uses 30 in, 20 out: 30 * 100 + 20 * 1000 = 23 000 millionths.
    limits = {"m": {"key": "tenant", "budget": "0.1 USD/month"}}
    store = {"url": f"sqlite://{tmp_path}/store.db"}
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await start_gateway(config(upstream, auth, limits, store=store))
        said = []
        for _ in range(4):
            response = await post(gateway, max_tokens=20)
            said.append(response.status)
            await gateway.wait_for_log(lambda line: line.get("tokens_out") == 20)
        free = await post(gateway, model="b")
        again = await start_gateway(config(upstream, auth, limits, store=store))
        after_restart = await post(again, max_tokens=80)
    assert said == [200, 200, 200, 200]
    assert free.status == 200
    assert after_restart.status == 429
    assert int(after_restart.value("retry-after") or b"0") > 0


# -- the store away ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "expected"), [("open", {200}), ("closed", {503}), ("local", {200, 429})]
)
async def test_r2_with_the_store_hanging_each_limit_does_as_it_says(
    start_gateway: StartGateway,
    start_redis: StartRedis,
    auth: Auth,
    mode: str,
    expected: set[int],
    report: Any,
) -> None:
    redis = await start_redis()
    limits = {"l": {"key": "subject", "requests": "2/day", "on_store_error": mode}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            config(upstream, auth, limits, store={"url": redis.url}),
        )
        await asked_until(  # on a busy machine, Redis may be late at first
            lambda: post(gateway, bearer(sub="before")), lambda answer: answer.status == 200
        )
        redis.signal(signal.SIGSTOP)
        loop = asyncio.get_running_loop()
        longest_s = 0.0
        said = set()
        for _ in range(8):
            started = loop.time()
            said.add((await post(gateway)).status)
            longest_s = max(longest_s, loop.time() - started)
        redis.signal(signal.SIGCONT)
        logged = await gateway.wait_for_log(lambda line: line.get("breaker") == "open")
        async with asyncio.timeout(PATIENCE_S):
            while (await post(gateway, bearer(sub="after"))).status == 503:
                pass
    report("R2", f"longest request while Redis hangs, {mode}, ms", longest_s * 1e3)
    assert said == expected
    assert longest_s < SLACK_S
    assert redis.url not in str(logged)


@pytest.mark.usefixtures("patient_stores")
async def test_replicas_share_a_limit_through_redis(
    start_gateway: StartGateway, start_redis: StartRedis, auth: Auth
) -> None:
    redis = await start_redis()
    limits = {"l": {"key": "subject", "requests": "3/day"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, auth, limits, store={"url": redis.url})
        gateways = [await start_gateway(document) for _ in range(2)]
        said = [(await post(gateways[n % 2])).status for n in range(5)]
    assert said == [200, 200, 200, 429, 429]
