"""A request that equals an earlier one gets the stored answer, where the route says so."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.limits import worker_limits
from gateway.config import ConfigError, load_text
from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.spans import build
from tests.support.admin import admin
from tests.support.bridge import bridge_client, bridged, texts
from tests.support.client import RawClient, Response, ask, request
from tests.support.gateway import (
    StartGateway,
    StartGatewayProcess,
    config_text,
    simple_config,
)
from tests.support.metrics import read, scraped_until
from tests.support.patient_stores import stores_wait
from tests.support.redis import SlowLink, StartRedis
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    STREAM_HEAD,
    Script,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    json_reply,
    raw_reply,
    reply,
    sse_reply,
)
from tests.support.waiting import eventually

PRICE = {"input": 2, "output": 10}
USAGE = {"prompt_tokens": 100, "completion_tokens": 7, "total_tokens": 107}
EVENTS = (
    b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":' + json.dumps(USAGE).encode() + b"}\n\n",
    b"data: [DONE]\n\n",
)


def config(*upstreams: ScriptedUpstream, cache: Any = None, **route: Any) -> dict[str, Any]:
    return {
        "admin": {"listen": "127.0.0.1:0"},
        "upstreams": {
            f"u{number}": {"endpoints": [{"url": each.url}], "retries": {"attempts": 0}}
            for number, each in enumerate(upstreams)
        },
        "models": {
            "m": {"upstream": "u0", "price": PRICE},
            "n": {"upstream": "u0", "model": "own"},
            "f": {"upstream": "u0", "fallbacks": ["last"]},
            "last": {"upstream": f"u{len(upstreams) - 1}", "model": "fallback"},
        },
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["m", "n", "f", "last"],
                "served_headers": ["cache"],
                "cache": {} if cache is None else cache,
                **route,
            }
        ],
    }


def numbered(**fields: Any) -> Script:
    """Answer each request with a number of its own."""
    count = itertools.count(1)
    return raw_reply(
        lambda _: reply(
            json.dumps(
                {"id": next(count), "choices": [{"message": {"content": "Hi"}}], **fields}
            ).encode()
        )
    )


async def post(
    gateway: Any, *headers: str, path: str = "/v1/chat/completions", **fields: Any
) -> Response:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()
    return await ask(gateway.port, request("POST", path, headers=headers, body=body), "POST")


def state(response: Response) -> str:
    return (response.value("x-gateway-cache") or b"").decode()


async def test_an_equal_request_gets_the_same_bytes(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(numbered(usage=USAGE)) as upstream:
        gateway = await start_gateway(config(upstream))
        first = await post(gateway, seed=1, temperature=0.5)
        raw = b'{"temperature": 0.5,  "seed":1, "messages":[],\n"model":"m"}'
        second = await ask(gateway.port, request("POST", "/v1/chat/completions", body=raw), "POST")
        other = await post(gateway, seed=2, temperature=0.5)
    assert [state(one) for one in (first, second, other)] == ["miss", "hit", "miss"]
    assert second.body == first.body
    assert second.value("content-type") == first.value("content-type")
    assert second.value("age") is not None
    assert first.value("age") is None
    assert (first.json()["id"], other.json()["id"]) == (1, 2)
    assert len(upstream.requests) == 2


async def test_a_streamed_answer_is_replayed_as_a_stream(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream))
        first = await post(gateway, stream=True)
        second = await post(gateway, stream=True)
        upstream.script = json_reply({"choices": []})
        whole = await post(gateway)
    assert second.body == first.body
    assert b"[DONE]" in second.body
    assert second.value("transfer-encoding") == b"chunked"
    assert second.value("content-type") == b"text/event-stream"
    assert [state(one) for one in (first, second, whole)] == ["miss", "hit", "miss"]


async def test_the_usage_that_only_the_gateway_asks_for_tells_no_answers_apart(
    start_gateway: StartGateway,
) -> None:
    limits = {"t": {"key": "route", "tokens": "100000/minute"}}
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway({**config(upstream, limits=["t"]), "limits": limits})
        plain = await post(gateway, stream=True)
        asking = await post(gateway, stream=True, stream_options={"include_usage": True})
        again = await post(gateway, stream=True)
        asking_again = await post(gateway, stream=True, stream_options={"include_usage": True})
    assert b"usage" not in plain.body
    assert b"usage" in asking.body
    assert (again.body, asking_again.body) == (plain.body, asking.body)
    assert state(again) == state(asking_again) == "hit"


async def test_a_hit_costs_no_tokens_but_counts_as_a_request(start_gateway: StartGateway) -> None:
    limits = {
        "both": {"key": "route", "tokens": "100000/minute", "requests": "5/minute", "burst": 5}
    }
    async with ScriptedUpstream(numbered(usage=USAGE)) as upstream:
        document = config(upstream, limits=["both"], served_headers=["cache", "cost", "model"])
        document["telemetry"] = {"traces": {"sample": 1.0}}
        gateway = await start_gateway({**document, "limits": limits})
        answers = [await post(gateway) for _ in range(3)]
        lines = [line for line in gateway.log_lines if line.get("event") == "request"]
        last = await post(gateway, "Cache-Control: no-cache")
        samples = await read(gateway)
        records = json.loads(gateway.server.state.records.take(0))["records"]
    assert [build(one, NAMES["1.44"])[0].attributes["gateway.cache"] for one in records] == [
        *("miss", "hit", "hit", "refresh"),
    ]
    assert [line["cache"] for line in lines] == ["miss", "hit", "hit"]
    assert [line.get("tokens_in") for line in lines] == [100, None, None]
    assert [one.value("x-gateway-cost") for one in answers] == [b"0.00027", b"0", b"0"]
    assert [one.value("x-gateway-model") for one in answers] == [b"m"] * 3
    assert last.value("x-ratelimit-remaining-requests") == b"1"
    name = "gateway_cache_requests_total"
    counted = {one: samples.value(name, result=one) for one in ("hit", "miss", "refresh", "bypass")}
    assert counted == {"hit": 2, "miss": 1, "refresh": 1, "bypass": 0}
    saved = "gateway_cache_saved_tokens_total"
    assert samples.value(saved, model="m", type="input") == 200
    assert samples.value("gateway_cache_stored_total", route="main") == 2
    assert samples.value("gateway_cache_bytes") > 100
    assert samples.value("gateway_tokens_total") == 2 * 107


async def test_hits_may_cost_nothing_at_all(start_gateway: StartGateway, tmp_path: Path) -> None:
    limits = {
        "all": {
            **{"key": "route", "tokens": "100000/minute", "requests": "9/minute", "burst": 9},
            **{"concurrency": 1, "budget": "1 USD/day"},
        }
    }
    async with ScriptedUpstream(numbered(usage=USAGE)) as upstream:
        document = config(upstream, cache={"count_hits": False}, limits=["all"], models=["m"])
        store = {"url": f"sqlite://{tmp_path / 'store.db'}"}
        gateway = await start_gateway({**document, "limits": limits, "store": store})
        assert [state(await post(gateway)) for _ in range(5)] == ["miss", *["hit"] * 4]
        last = await post(gateway, "Cache-Control: no-store", max_tokens=7)
        left = await worker_limits(gateway.server.runtime)
    assert last.value("x-ratelimit-remaining-requests") == b"7"
    rows = {row["unit"]: row["remaining"] for row in left["keys"]}
    assert rows["budget_money"] == pytest.approx(1 - 2 * 0.00027)
    assert rows["tokens"] >= 100_000 - 2 * 107
    assert rows["concurrency"] == 1


async def test_requests_direct_the_cache(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway(config(upstream))
        seen = [
            (one := await post(gateway, *headers), state(one), one.json()["id"])[1:]
            for headers in (
                ("Cache-Control: no-store",),
                (),
                ("Cache-Control: max-age=60",),
                ("Cache-Control: no-cache",),
                (),
                ("Cache-Control: min-fresh=99999",),
                ("Pragma: no-cache",),
            )
        ]
    assert seen == [
        *[("bypass", 1), ("miss", 2), ("hit", 2), ("refresh", 3), ("hit", 3)],
        *[("miss", 4), ("refresh", 5)],
    ]


@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        ([], True),
        (["Cache-Control: no-store"], False),
        (["Cache-Control: private"], False),
        (["Cache-Control: no-cache"], False),
        (["Cache-Control: max-age=0"], False),
        (["Cache-Control: public, max-age=60"], True),
        (["Cache-Control: max-age=60", "Age: 61"], False),
        ([f"Age: {'9' * 5000}"], False),
        (["Vary: *"], False),
        (["Vary: Accept-Encoding, Accept"], True),
        (["Set-Cookie: session=1", "X-RateLimit-Remaining: 3"], True),
    ],
)
async def test_backends_say_what_may_be_stored(
    start_gateway: StartGateway, fields: list[str], stored: bool
) -> None:
    async with ScriptedUpstream(json_reply({"choices": []}, headers=fields)) as upstream:
        gateway = await start_gateway(config(upstream))
        await post(gateway)
        second = await post(gateway)
    assert state(second) == ("hit" if stored else "miss")
    if stored:
        assert second.value("set-cookie") is None
        assert second.value("x-ratelimit-remaining") is None


async def test_a_backend_that_forbids_everything_may_be_ignored(
    start_gateway: StartGateway,
) -> None:
    script = json_reply({"choices": []}, headers=["Cache-Control: no-cache, must-revalidate"])
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, cache={"backend_cache_control": "ignore"}))
        await post(gateway)
        assert state(await post(gateway)) == "hit"


@pytest.mark.parametrize(
    "script",
    [
        json_reply({"error": {"message": "no"}}),
        json_reply({"error": {"message": "no"}}, status="500 No"),
        json_reply({}, status="202 Accepted"),
        sse_reply(EVENTS[:1]),
        sse_reply((EVENTS[0], b'data: {"error":{"message":"broken"}}\n\n')),
        json_reply({"choices": ["x" * 5000]}),
    ],
    ids=["error document", "error", "not 200", "no end", "error event", "too large"],
)
async def test_only_complete_answers_are_stored(
    start_gateway: StartGateway, script: Script
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream, cache={"max_answer": "4KiB"}))
        assert [state(await post(gateway, stream=True)) for _ in range(2)] == ["miss", "miss"]
        assert len(upstream.requests) == 2


async def test_an_answer_that_breaks_off_or_whose_caller_leaves_is_not_stored(
    start_gateway: StartGateway,
) -> None:
    async def breaks_off(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + chunk(EVENTS[1]))
        connection.reset()

    async def lasts(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD + chunk(EVENTS[0]) + chunk(EVENTS[1]))
        await connection.wait_client_gone()

    body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
    raw = request("POST", "/v1/chat/completions", body=body)
    async with ScriptedUpstream(breaks_off) as upstream:
        gateway = await start_gateway(config(upstream))
        await post(gateway, stream=True)
        upstream.script = lasts
        async with RawClient(gateway.port) as client:
            await client.send(raw)
            await client.read_head()
        await gateway.wait_for_log(lambda line: line.get("end") == "client_abort")
        upstream.script = sse_reply(EVENTS)
        assert state(await post(gateway, stream=True)) == "miss"
        assert state(await post(gateway, stream=True)) == "hit"


async def test_the_answer_of_a_fallback_is_not_stored(start_gateway: StartGateway) -> None:
    failing, other = json_reply({}, status="503 No"), json_reply({"choices": []})
    async with ScriptedUpstream(failing) as one, ScriptedUpstream(other) as two:
        gateway = await start_gateway(config(one, two))
        assert [state(await post(gateway, model="f")) for _ in range(2)] == ["miss", "miss"]
        assert len(two.requests) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"background": True},
        {"previous_response_id": "r"},
        {"messages": ["x" * 5000]},
        {"path": "/v1/images/generations"},
        {"path": "/v1/batches"},
    ],
    ids=["tools", "background", "refers", "large", "images", "batches"],
)
async def test_requests_with_other_effects_pass_by_the_cache(
    start_gateway: StartGateway, fields: dict[str, Any]
) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway(config(upstream, cache={"max_request": "4KiB"}))
        assert [state(await post(gateway, **fields)) for _ in range(2)] == ["bypass"] * 2


async def test_tools_and_determinism_are_options(start_gateway: StartGateway) -> None:
    tools = [{"type": "function", "function": {"name": "f"}}]
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway(
            config(upstream, cache={"tools": True, "only_deterministic": True})
        )
        told = [
            state(await post(gateway, tools=tools, **fields))
            for fields in ({}, {"temperature": 0.1}, {"temperature": 0}, {"temperature": 0})
        ]
        path = "/v1/embeddings"
        embedded = [state(await post(gateway, path=path, input="x")) for _ in range(2)]
    assert told == ["bypass", "bypass", "miss", "hit"]
    assert embedded == ["miss", "hit"]


async def test_tenants_share_nothing_unless_that_is_configured(
    start_gateway: StartGateway, auth: Auth
) -> None:
    callers = [
        bearer(sub="a", org="one"),
        bearer(sub="b", org="one"),
        bearer(sub="c", org="two"),
        bearer(sub="d"),
        bearer(sub="e"),
    ]
    expected = {
        "tenant": ["miss", "hit", "miss", "miss", "miss"],
        "subject": ["miss"] * 5,
        "route": ["miss", *["hit"] * 4],
    }
    for scope, told in expected.items():
        async with ScriptedUpstream(numbered()) as upstream:
            document = config(upstream, cache={"scope": scope}, auth=["corp"])
            gateway = await start_gateway(document, auth=auth)
            assert [state(await post(gateway, one)) for one in callers] == told


async def test_anonymous_callers_with_other_credentials_share_nothing(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway(config(upstream, cache={"scope": "route"}))
        keys = ("Authorization: Bearer one", "Authorization: Bearer two", "X-Api-Key: one", "X: y")
        assert [state(await post(gateway, key)) for key in keys] == ["miss"] * 4
        assert [state(await post(gateway, key)) for key in keys] == ["hit"] * 4


async def test_models_paths_queries_and_headers_tell_answers_apart(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway(config(upstream))
        asked: list[Callable[[], Any]] = [
            lambda: post(gateway),
            lambda: post(gateway, model="n"),
            lambda: post(gateway, path="/v1/completions"),
            lambda: post(gateway, path="/v1/chat/completions?v=2"),
            lambda: post(gateway, "OpenAI-Beta: x"),
            lambda: post(gateway, "Accept: text/event-stream"),
        ]
        assert [state(await one()) for one in asked] == ["miss"] * 6
        assert [state(await one()) for one in asked] == ["hit"] * 6
        assert state(await post(gateway, "User-Agent: other")) == "hit"


async def test_equal_requests_at_the_same_time_are_sent_once(start_gateway: StartGateway) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            began.set()
            await goes_on.wait()
            await connection.send(reply(b'{"choices":[]}'))

    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream))
        first = asyncio.create_task(post(gateway))
        await began.wait()
        others = [asyncio.create_task(post(gateway)) for _ in range(5)]
        await eventually(lambda: gateway.server.state.overload.requests == 6)
        goes_on.set()
        assert state(await first) == "miss"
        assert [state(await one) for one in others] == ["hit"] * 5
        assert len(upstream.requests) == 1


async def test_requests_go_on_by_themselves_if_the_one_they_wait_for_fails(
    start_gateway: StartGateway,
) -> None:
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def fails_first(connection: UpstreamConnection) -> None:
        await connection.read_request()
        if began.is_set():
            await connection.send(reply(b'{"choices":[]}'))
            return
        began.set()
        await goes_on.wait()
        await connection.send(reply(b"{}", status="400 No"))

    async with ScriptedUpstream(fails_first) as upstream:
        gateway = await start_gateway(config(upstream, cache={"single_flight": "all"}))
        first = asyncio.create_task(post(gateway, stream=True))
        await began.wait()
        other = asyncio.create_task(post(gateway, stream=True))
        await eventually(lambda: gateway.server.state.overload.requests == 2)
        goes_on.set()
        assert (await first).status == 400
        assert (await other).status == 200


async def test_a_cached_answer_costs_what_the_stored_one_has_cost(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, cost_in_usage=True))
        first, second = [await post(gateway, stream=True) for _ in range(2)]
    assert b'"cost"' in first.body
    assert second.body == first.body


async def test_a_kept_stream_may_be_a_stored_answer(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        gateway = await start_gateway(config(upstream, resume={}))
        first, second = [await post(gateway, stream=True) for _ in range(2)]
        assert len(upstream.requests) == 1
        stream = (second.value("x-stream-id") or b"").decode()
        again = await ask(gateway.port, request("GET", f"/v1/streams/{stream}"))
    assert state(second) == "hit"
    assert first.body.count(b"data:") == second.body.count(b"data:") == again.body.count(b"data:")


async def test_compression_and_translation_work_on_stored_answers(
    start_gateway: StartGateway,
) -> None:
    answer = {
        "type": "message",
        "role": "assistant",
        "model": "x",
        "content": [{"type": "text", "text": "Hi " * 1000}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 3, "output_tokens": 5},
    }
    async with ScriptedUpstream(json_reply(answer)) as upstream:
        document = config(upstream, dialect="openai", compress=["gzip"])
        document["upstreams"]["u0"]["dialect"] = "anthropic"
        gateway = await start_gateway(document)
        message = [{"role": "user", "content": "Hi"}]
        first = await post(gateway, messages=message)
        packed = await post(gateway, "Accept-Encoding: gzip", messages=message)
        plain = await post(gateway, messages=message)
    assert (state(packed), state(plain)) == ("hit", "hit")
    assert packed.value("content-encoding") == b"gzip"
    assert len(packed.body) < len(plain.body)
    assert plain.body == first.body
    assert "Hi Hi" in first.json()["choices"][0]["message"]["content"]


async def test_a_changed_model_leaves_its_answers_behind(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        document = config(upstream)
        gateway = await start_gateway_process(document)
        assert [state(await post(gateway)) for _ in range(2)] == ["miss", "hit"]
        document["limits"] = {"l": {"key": "route", "requests": "1000/minute"}}
        gateway.file.write_text(json.dumps(document))
        assert (await admin(gateway, "POST", "/api/reload")).status == 200
        assert state(await post(gateway)) == "hit"
        document["models"]["m"]["model"] = "another"
        gateway.file.write_text(json.dumps(document))
        assert (await admin(gateway, "POST", "/api/reload")).status == 200
        assert state(await post(gateway)) == "miss"


async def test_operators_remove_answers(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway_process(config(upstream))
        for model in ("m", "n"):
            await post(gateway, model=model)
        refused = await admin(gateway, "DELETE", "/api/cache?colour=red")
        removed = await admin(gateway, "DELETE", "/api/cache?model=m&route=main")
        assert (refused.status, removed.json()) == (400, {"removed": 1})
        assert [state(await post(gateway, model=one)) for one in ("m", "n")] == ["miss", "hit"]
        assert (await admin(gateway, "DELETE", "/api/cache")).json() == {"removed": 2}
        assert state(await post(gateway, model="n")) == "miss"


async def test_replicas_share_answers_in_redis(
    start_gateway_process: StartGatewayProcess, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(numbered()) as upstream:
        document = config(upstream, cache={"scope": "route"})
        document["store"] = {"url": redis.url}
        document["server"] = {"workers": 2}
        one, other = [await start_gateway_process(document, first=stores_wait()) for _ in range(2)]
        first = await post(one)
        await scraped_until(one, lambda found: found.value("gateway_cache_shared_bytes") > 0)
        hits = [await post(gateway) for gateway in (one, other) for _ in range(3)]
        assert [state(hit) for hit in hits] == ["hit"] * 6
        assert {hit.body for hit in hits} == {first.body}
        assert (await admin(other, "DELETE", "/api/cache?tenant=x")).json() == {"removed": 0}
        assert (await admin(other, "DELETE", "/api/cache?route=main")).json() == {"removed": 1}
        assert state(await post(one)) == "miss"


async def test_equal_requests_at_several_replicas_are_sent_once(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    redis, goes_on = await start_redis(), asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await goes_on.wait()
            await connection.send(reply(b'{"choices":[]}'))

    async with ScriptedUpstream(script) as upstream:
        document = {**config(upstream), "store": {"url": redis.url}}
        replicas = [await start_gateway(document) for _ in range(3)]
        first = asyncio.create_task(post(replicas[0]))
        await upstream.wait_requests(1)
        others = [asyncio.create_task(post(one)) for one in replicas for _ in range(3)]
        await eventually(lambda: sum(one.server.state.overload.requests for one in replicas) == 10)
        goes_on.set()
        assert state(await first) == "miss"
        answers = [await one for one in others]
        assert [state(one) for one in answers] == ["hit"] * 9
        assert len(upstream.requests) == 1


async def test_replicas_ask_by_themselves_if_the_request_they_wait_for_fails(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    redis, goes_on = await start_redis(), asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        while True:
            await connection.read_request()
            await goes_on.wait()
            await connection.send(reply(b"{}", status="500 No"))

    async with ScriptedUpstream(script) as upstream:
        document = {**config(upstream), "store": {"url": redis.url}}
        replicas = [await start_gateway(document) for _ in range(2)]
        first = asyncio.create_task(post(replicas[0]))
        await upstream.wait_requests(1)
        other = asyncio.create_task(post(replicas[1]))
        await eventually(lambda: replicas[1].server.state.overload.requests == 1)
        goes_on.set()
        answers = [await first, await other]
    assert [(one.status, state(one)) for one in answers] == [(500, "miss")] * 2
    assert len(upstream.requests) == 2


async def test_when_the_caller_who_leads_leaves_another_replica_leads(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    redis, goes_on = await start_redis(), asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        if len(connection.upstream.connections) == 1:
            await connection.wait_client_gone()
            return
        await goes_on.wait()
        await connection.send(reply(b'{"choices":[]}'))

    body = json.dumps({"model": "m", "messages": []}).encode()
    async with ScriptedUpstream(script) as upstream:
        document = {**config(upstream), "store": {"url": redis.url}}
        replicas = [await start_gateway(document) for _ in range(3)]
        async with RawClient(replicas[0].port) as leading:
            await leading.send(request("POST", "/v1/chat/completions", body=body))
            await upstream.wait_requests(1)
            others = [asyncio.create_task(post(one)) for one in replicas[1:]]
            await eventually(
                lambda: all(one.server.state.overload.requests for one in replicas[1:])
            )
            leading.reset()
        await upstream.wait_requests(2)
        goes_on.set()
        told = [state(await one) for one in others]
        assert sorted(told) == ["hit", "miss"]
        assert len(upstream.requests) == 2


async def test_without_redis_every_request_is_a_miss(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    redis = await start_redis()
    async with ScriptedUpstream(numbered()) as upstream:
        gateway = await start_gateway({**config(upstream), "store": {"url": redis.url}})
        await post(gateway)
        await redis.stop()
        answers = [await post(gateway) for _ in range(3)]
        await gateway.wait_for_log(lambda line: line.get("event") == "cache")
    assert [(one.status, state(one)) for one in answers] == [(200, "miss")] * 3


def test_a_route_without_models_cannot_have_a_cache() -> None:
    with pytest.raises(ConfigError, match="stores answers of models"):
        load_text(config_text(simple_config("http://127.0.0.1:1", cache={}), {}))


async def test_a_redis_that_hangs_delays_one_request(
    start_gateway: StartGateway, start_redis: StartRedis
) -> None:
    async with (
        ScriptedUpstream(numbered()) as upstream,
        SlowLink(await start_redis()) as link,
    ):
        gateway = await start_gateway({**config(upstream), "store": {"url": link.url}})
        await post(gateway)
        link.delay_s = 1.0
        answers = [await post(gateway) for _ in range(10)]
        lines = [line for line in gateway.log_lines if line.get("event") == "request"]
    assert [(one.status, state(one)) for one in answers] == [(200, "miss")] * 10
    late = sum(line["duration_ms"] > 400 for line in lines)
    assert 1 <= late <= 5, "a busy machine may delay another one"


async def test_a_stored_stream_of_lines_is_replayed(start_gateway: StartGateway) -> None:
    head = STREAM_HEAD.replace(b"text/event-stream", b"application/x-ndjson")
    lines = [b'{"message":{"content":"Hi"},"done":false}\n', b'{"done":true,"eval_count":3}\n']
    async with ScriptedUpstream(sse_reply(lines, head=head)) as upstream:
        document = config(upstream, dialect="ollama", path="/api/")
        document["upstreams"]["u0"]["dialect"] = "ollama"
        gateway = await start_gateway(document)
        first, second = [await post(gateway, path="/api/chat") for _ in range(2)]
    assert (state(first), state(second)) == ("miss", "hit")
    assert second.body == first.body == b"".join(lines)
    assert second.value("content-type") == b"application/x-ndjson"


async def test_a_bridge_gets_stored_answers_event_by_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply(EVENTS)) as upstream:
        document = bridged(upstream.url)
        del document["routes"][0]["upstream"]
        document["routes"][0] |= {"cache": {}, "models": ["m"]}
        document["models"] = {"m": {"upstream": "main"}}
        gateway = await start_gateway(document)
        heard = []
        async with bridge_client(gateway.port) as client:
            for tag in ("a", "b"):
                await client.create(tag, body={"model": "m", "messages": []})
                heard.append(await client.end_of(tag))
        assert len(upstream.requests) == 1
    assert texts(heard[0]) == texts(heard[1])
    assert heard[1][-1]["type"] == "done"


async def test_a_slow_reader_of_a_large_stored_stream_gets_all_of_it(
    start_gateway: StartGateway,
) -> None:
    text = json.dumps({"choices": [{"delta": {"content": "x" * 60_000}}]}).encode()
    events = [b"data: %b\n\n" % text] * 15 + [*EVENTS]
    body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
    raw = request("POST", "/v1/chat/completions", body=body)
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        gateway = await start_gateway(config(upstream))
        await post(gateway, stream=True)
        async with RawClient(gateway.port) as client:
            client.pause_reading()
            await client.send(raw)
            await gateway.wait_for_log(lambda line: line.get("cache") == "hit")
            client.resume_reading()
            response = await client.read_response("POST")
    assert state(response) == "hit"
    assert response.body == b"".join(events)


async def test_when_the_caller_who_leads_leaves_one_other_request_is_sent(
    start_gateway: StartGateway,
) -> None:
    goes_on = asyncio.Event()

    async def script(connection: UpstreamConnection) -> None:
        await connection.read_request()
        if len(connection.upstream.connections) == 1:
            await connection.wait_client_gone()
            return
        await goes_on.wait()
        await connection.send(reply(b'{"choices":[]}'))

    body = json.dumps({"model": "m", "messages": []}).encode()
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream))
        async with RawClient(gateway.port) as leading:
            await leading.send(request("POST", "/v1/chat/completions", body=body))
            await upstream.wait_requests(1)
            others = [asyncio.create_task(post(gateway)) for _ in range(4)]
            await eventually(lambda: gateway.server.state.overload.requests == 5)
            leading.reset()
        await upstream.wait_requests(2)
        goes_on.set()
        told = [state(await one) for one in others]
        assert sorted(told) == ["hit", "hit", "hit", "miss"]
        assert len(upstream.requests) == 2


async def test_requests_that_wait_for_an_equal_one_take_no_place_at_a_deployment(
    start_gateway: StartGateway,
) -> None:
    release = asyncio.Event()

    async def hold(connection: UpstreamConnection) -> None:
        asked = await connection.read_request()
        if b"slow" in asked.body:
            await release.wait()
        await connection.send(reply(b'{"choices":[{"message":{"content":"Hi"}}]}'))

    async with ScriptedUpstream(hold) as upstream:
        document = config(upstream)
        document["models"]["m"] = {"deployments": [{"upstream": "u0", "concurrency": 2}]}
        gateway = await start_gateway(document)
        first = asyncio.create_task(post(gateway, user="slow"))
        await upstream.wait_requests(1)
        waiting = [asyncio.create_task(post(gateway, user="slow")) for _ in range(4)]
        await eventually(lambda: gateway.server.listener.open_exchanges == 5)
        assert (await post(gateway, user="quick")).status == 200
        release.set()
        answers = [await one for one in (first, *waiting)]
    assert [(one.status, state(one)) for one in answers] == [(200, "miss"), *[(200, "hit")] * 4]
