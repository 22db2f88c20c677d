"""Bodies that a route reads whole: what is decided before, how much of them is held, and how they
are decoded.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
from backports import zstd

from tests.support.client import RawClient, Response, ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, StartGatewayProcess
from tests.support.keys import new_key
from tests.support.refusal import assert_error
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import eventually

MIB = 1024 * 1024
CHAT = "/v1/chat/completions"
JSON = "Content-Type: application/json"
USAGE = {"usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}}


def config(upstream: ScriptedUpstream, limit: dict[str, Any], **sections: Any) -> dict[str, Any]:
    return {
        "limits": {"l": {"key": "ip", **limit}},
        "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
        "models": {"a": {"upstream": "main", "model": "real-a"}},
        "routes": [
            {
                "name": "r",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["a"],
                "limits": ["l"],
            }
        ],
        **sections,
    }


def body(**fields: Any) -> bytes:
    return json.dumps({"model": "a", "messages": [], "max_tokens": 10, **fields}).encode()


async def begun(client: RawClient, size: int, sent: int = 0) -> None:
    """A request whose body does not come, or not all of it."""
    head = request("POST", CHAT, headers=[JSON, f"Content-Length: {size}"])
    await client.send(head + b" " * sent)


def held(gateway: RunningGateway) -> int:
    return gateway.server.state.bodies.held_bytes


async def some_held(gateway: RunningGateway) -> None:
    await eventually(lambda: held(gateway))


# -- limits before bodies ----------------------------------------------------------------------


@pytest.mark.parametrize("limit", [{"requests": "1/day"}, {"concurrency": 1}])
@pytest.mark.parametrize("tokens", [{}, {"tokens": "100000/day"}])
async def test_a_caller_at_its_limit_is_refused_before_its_body_is_read(
    start_gateway: StartGateway, limit: dict[str, Any], tokens: dict[str, Any]
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {**limit, **tokens}))
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await begun(first, 5 * MIB, sent=100_000)
            await some_held(gateway)
            await begun(second, 5 * MIB)
            assert_error(await second.read_response("POST"), 429, code="rate_limit_exceeded")
            assert held(gateway) == 5 * MIB
            assert (await second.read_to_end()) is not None


async def test_a_request_refused_for_its_tokens_takes_none_of_the_others(
    start_gateway: StartGateway,
) -> None:
    limit = {"requests": "5/day", "concurrency": 1, "tokens": "100000/day"}
    used = {"usage": {"prompt_tokens": 60_000, "completion_tokens": 1}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        gateway = await start_gateway(config(upstream, limit))
        small = request("POST", CHAT, headers=[JSON, "Connection: close"], body=body())
        assert (await ask(gateway.port, small, "POST")).status == 200
        large = request("POST", CHAT, headers=[JSON], body=body(text="x" * 300_000))
        for _ in range(3):
            refused = await ask(gateway.port, large, "POST")
            assert_error(refused, 429, code="rate_limit_exceeded")
            assert refused.value("x-ratelimit-remaining-requests") == b"4"
        passed = await ask(gateway.port, small, "POST")
        assert passed.status == 200
        assert passed.value("x-ratelimit-remaining-requests") == b"3"


async def test_a_large_body_takes_of_every_limit_once(start_gateway: StartGateway) -> None:
    limit = {"requests": "5/day", "concurrency": 1, "tokens": "200000/day"}
    async with ScriptedUpstream(json_reply(USAGE)) as upstream:
        gateway = await start_gateway(config(upstream, limit))
        large = request("POST", CHAT, headers=[JSON], body=body(text="x" * 300_000))
        for left in (b"4", b"3"):
            passed = await ask(gateway.port, large, "POST")
            assert passed.status == 200
            assert passed.value("x-ratelimit-remaining-requests") == left
            assert len(passed.values("ratelimit-policy")) == 1
            assert b";r=1;" not in (passed.value("ratelimit") or b"").split(b",")[0]


async def test_a_keys_own_tokens_are_reserved_on_a_route_without_limits(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    used = {"usage": {"prompt_tokens": 600, "completion_tokens": 1}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        document = config(upstream, {"tokens": "1000/day"})
        document["auth"] = {"keys": {"type": "api_key", "file": str(tmp_path / "keys.yaml")}}
        document["routes"][0] |= {"auth": ["keys"], "limits": []}
        headers = [JSON, new_key(tmp_path / "keys.yaml", limits=("l",))]
        gateway = await start_gateway(document)
        asked = request("POST", CHAT, headers=headers, body=body(max_tokens=500))
        assert (await ask(gateway.port, asked, "POST")).status == 200
        assert (await ask(gateway.port, asked, "POST")).status == 429
        assert len(upstream.requests) == 1


async def test_tokens_are_reserved_on_a_route_that_only_passes_on(
    start_gateway: StartGateway,
) -> None:
    used = {"usage": {"prompt_tokens": 600, "completion_tokens": 1}}
    async with ScriptedUpstream(json_reply(used)) as upstream:
        document = config(upstream, {"tokens": "1000/day"})
        del document["routes"][0]["models"]
        document["routes"][0]["upstream"] = "main"
        gateway = await start_gateway(document)
        asked = request("POST", CHAT, headers=[JSON], body=body(max_tokens=500))
        assert (await ask(gateway.port, asked, "POST")).status == 200
        assert (await ask(gateway.port, asked, "POST")).status == 429
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("size", [100, 200_000])
async def test_requests_are_spread_by_a_field_of_a_body_of_any_size(
    start_gateway: StartGateway, size: int
) -> None:
    async with (
        ScriptedUpstream(json_reply({})) as one,
        ScriptedUpstream(json_reply({})) as two,
    ):
        document = config(one, {"requests": "99/day"})
        document["upstreams"]["main"] = {
            "endpoints": [{"url": one.url}, {"url": two.url}],
            "balance": {"hash": "body.user"},
        }
        gateway = await start_gateway(document)
        users = 0
        while users < 8 or not (one.requests and two.requests):  # ports decide who gets whom
            users += 1
            text = "x" * size
            raw = request("POST", CHAT, headers=[JSON], body=body(user=f"u{users}", text=text))
            before = len(one.requests), len(two.requests)
            for _ in range(3):
                assert (await ask(gateway.port, raw, "POST")).status == 200
            asked = len(one.requests) - before[0], len(two.requests) - before[1]
            assert sorted(asked) == [0, 3]
            assert users < 64


# -- memory ------------------------------------------------------------------------------------


async def test_bodies_over_the_budget_are_refused_and_those_under_way_are_not_lost(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, {"requests": "99/day"}, server={"body_memory": "4MiB"})
        gateway = await start_gateway(document)
        whole = body(text="x" * 3 * MIB)
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            raw = request("POST", CHAT, headers=[JSON], body=whole)
            await first.send(raw[:100_000])
            await some_held(gateway)
            await begun(second, 2 * MIB, sent=100_000)
            refused = await second.read_response("POST")
            assert_error(refused, 503, code="overloaded")
            assert refused.value("retry-after") == b"1"
            small = request("POST", CHAT, headers=[JSON, "Connection: close"], body=body())
            assert (await ask(gateway.port, small, "POST")).status == 200
            await first.send(raw[100_000:])
            assert (await first.read_response("POST")).status == 200
        assert len(upstream.requests[-1].body) == len(whole) + len("real-")
        assert held(gateway) == 0
        assert gateway.server.state.bodies.refused == 1


async def test_a_client_that_leaves_gives_its_share_back(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {"requests": "99/day"}))
        async with RawClient(gateway.port) as client:
            await begun(client, 2 * MIB, sent=100_000)
            await some_held(gateway)
            client.reset()
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert held(gateway) == 0


async def test_a_stream_does_not_hold_its_prompt(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {"tokens": "9000000/day"}))
        async with RawClient(gateway.port) as client:
            await client.send(
                request("POST", CHAT, headers=[JSON], body=body(stream=True, text="x" * 2 * MIB))
            )
            connection = await upstream.accept()
            asked = await connection.read_request()
            assert len(asked.body) > 2 * MIB
            assert held(gateway) > 2 * MIB
            await connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n"
            )
            await client.read_head()
            assert held(gateway) == 0


# -- codings -----------------------------------------------------------------------------------

CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "br": brotli.compress,
    "GZIP": gzip.compress,
}


def coded(coding: str, data: bytes, *lines: str) -> bytes:
    return request("POST", CHAT, headers=[JSON, f"Content-Encoding: {coding}", *lines], body=data)


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_compressed_body_is_decoded_where_its_model_is_read(
    start_gateway: StartGateway, coding: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, {"requests": "99/day"}))
        plain = body(text="x" * 100_000)
        raw = coded(coding, CODINGS[coding](plain), "Content-Digest: sha-256=:AA==:")
        assert (await ask(gateway.port, raw, "POST")).status == 200
        (got,) = upstream.requests
        assert json.loads(got.body) == {**json.loads(plain), "model": "real-a"}
        assert got.value("content-encoding") is None
        assert got.value("content-digest") is None
        assert got.value("content-length") == str(len(got.body)).encode()


async def refused(gateway: RunningGateway, raw: bytes) -> Response:
    return await ask(gateway.port, raw, "POST")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
async def test_what_is_longer_than_the_cap_once_decoded_is_413(
    start_gateway: StartGateway, coding: str
) -> None:
    async with ScriptedUpstream() as upstream:
        document = config(upstream, {"requests": "99/day"})
        document["routes"][0]["body"] = "1MiB"
        gateway = await start_gateway(document)
        bomb = CODINGS[coding](b" " * 20 * MIB)
        assert_error(await refused(gateway, coded(coding, bomb)), 413, code="request_too_large")
        assert held(gateway) == 0
        assert not upstream.requests


@pytest.mark.parametrize("coding", ["compress", "gzip, zstd", "aes128gcm", "gzip;q=1"])
async def test_an_unknown_coding_is_415_and_says_which_are_known(
    start_gateway: StartGateway, coding: str
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {"requests": "99/day"}))
        response = await refused(gateway, coded(coding, gzip.compress(body())))
        assert_error(response, 415, code="unsupported_encoding")
        assert response.value("accept-encoding") == b"zstd, br, gzip, deflate"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "zstd", "br"])
@pytest.mark.parametrize("harm", ["cut", "longer", "another"])
async def test_a_body_that_is_not_in_its_coding_is_400(
    start_gateway: StartGateway, coding: str, harm: str
) -> None:
    data = CODINGS[coding](body(text="y" * 5000))
    data = {"cut": data[:-3], "longer": data + b"\x80more", "another": body()}[harm]
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {"requests": "99/day"}))
        response = await refused(gateway, coded(coding, data))
        assert_error(response, 400, code="invalid_encoding")
        assert not upstream.requests


async def test_a_compressed_body_passes_as_it_is_where_nobody_reads_it(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        document = config(upstream, {"requests": "99/day"})
        del document["routes"][0]["models"]
        document["routes"][0]["upstream"] = "main"
        gateway = await start_gateway(document)
        data = gzip.compress(body())
        assert (await ask(gateway.port, coded("gzip", data), "POST")).status == 200
        (got,) = upstream.requests
        assert got.body == data
        assert got.value("content-encoding") == b"gzip"


# -- large bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
async def test_a_body_parsed_in_the_helper_is_sent_as_one_parsed_here(
    start_gateway: StartGateway, stream: bool
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream, {"tokens": "9000000/day"}))
        nested = [{"model": "b", "x": []}] * 60_000
        raw = request("POST", CHAT, headers=[JSON], body=body(nested=nested, stream=stream))
        assert (await ask(gateway.port, raw, "POST")).status == 200
        (got,) = upstream.requests
        sent = json.loads(got.body)
        assert (sent["model"], sent["nested"]) == ("real-a", nested)
        assert sent.get("stream_options") == ({"include_usage": True} if stream else None)
        assert gateway.server.state.offload.runs == 1


async def test_a_large_conversation_is_translated_in_the_helper(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(
        json_reply({"error": {"message": "no"}}, status="400 Bad Request")
    ) as upstream:
        document = config(upstream, {"requests": "99/day"})
        document["upstreams"]["main"]["dialect"] = "anthropic"
        document["routes"][0]["dialect"] = "openai"
        gateway = await start_gateway(document)
        messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}] * 3000
        messages.append({"role": "user", "content": "c"})
        raw = request("POST", CHAT, headers=[JSON], body=body(messages=messages))
        response = await ask(gateway.port, raw, "POST")
        assert response.status == 400
        (got,) = upstream.requests
        sent = json.loads(got.body)
        assert (sent["model"], len(sent["messages"])) == ("real-a", len(messages))
        assert gateway.server.state.offload.runs == 1


async def test_what_the_helper_refuses_is_told_as_if_it_were_here(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(config(upstream, {"requests": "99/day"}))
        for data, code, status in (
            (b'{"model":"a","x":[' + b"[]," * 400_000 + b"}", "invalid_json", 400),
            (b'{"model":"b","x":[' + b"[]," * 400_000 + b"1]}", "model_not_found", 404),
        ):
            raw = request("POST", CHAT, headers=[JSON], body=data)
            assert_error(await ask(gateway.port, raw, "POST"), status, code=code)


@pytest.mark.parametrize("limit", [{"requests": "1/day"}, {"requests": "9999/day"}])
@pytest.mark.own_program
async def test_eighty_slow_uploads_take_no_more_than_the_memory_for_bodies(
    start_gateway_process: StartGatewayProcess, limit: dict[str, Any], report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream, AsyncExitStack() as stack:
        document = config(upstream, limit, server={"max_memory": "200MiB"})
        gateway = await start_gateway_process(document)
        small = request("POST", CHAT, headers=[JSON, "Connection: close"], body=body())
        assert (await ask(gateway.port, small, "POST")).status == 200
        before = gateway.rss_bytes
        clients = [await stack.enter_async_context(RawClient(gateway.port)) for _ in range(80)]
        answers = 0
        for client in clients:
            await begun(client, 10 * MIB)
            answers += await client.send_until_answered([b" " * 65536] * 150) < 150 * 65536
        grown = gateway.rss_bytes - before
        report("A2", f"RSS Δ of 80 uploads, {limit['requests']}, MiB", grown // MIB)
        assert answers >= 75
        assert grown < 70 * MIB  # a quarter of max_memory, and what sockets buffer
