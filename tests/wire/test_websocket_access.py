"""WebSockets: who they are opened by, for how long, and how much of the limits they use. W10."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.auth.jwt import REVOKED
from gateway.errors import GatewayError
from gateway.middleware import limits
from gateway.usage import Usage
from tests.support.client import RawClient, ask
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.refusal import assert_error
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.websocket import close, config, echo, frame, hear, join, opened, opening

LEEWAY_S = 1.0


def guarded(upstream: ScriptedUpstream, auth: Auth, **route: Any) -> dict[str, Any]:
    """One route that asks for a token of `corp`, whose leeway is short."""
    document = config(upstream.url)
    auth["corp"]["leeway"] = "1s"
    document["routes"][0] |= {"auth": ["corp"], **route}
    return {**document, "auth": auth}


async def open_with(client: RawClient, *lines: str, target: str = "/v1/x") -> None:
    await opened(client, target, *lines)


# -- W10: the credential -----------------------------------------------------------------------


async def test_w10_a_token_that_expires_ends_its_session_within_the_leeway(
    start_gateway: StartGateway, auth: Auth, report: Report
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(guarded(upstream, auth))
        async with RawClient(gateway.port) as client:
            expires_at = time.time() + 0.5
            await open_with(client, bearer(exp=expires_at))
            await client.send(frame("while it is good"))
            heard = await hear(client)
            late_s = time.time() - expires_at
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        again = await ask(gateway.port, opening("/v1/x", bearer(exp=expires_at)))
    report("W10", "expiry to close, s (leeway 1 s)", late_s)
    assert len(heard.messages) == 1
    assert heard.code == 3000
    assert late_s >= LEEWAY_S - 0.05
    assert (line["end"], line["error"], line["closed_by"]) == (
        "refused",
        "credential_expired",
        "gateway",
    )
    assert again.status == 401


async def test_w10_a_token_that_is_revoked_ends_its_session(
    start_gateway: StartGateway, auth: Auth, report: Report
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(guarded(upstream, auth))
        records = gateway.server.runtime.stores.records
        async with RawClient(gateway.port) as client, RawClient(gateway.port) as other:
            await open_with(client, bearer(jti="one"))
            await open_with(other, bearer(jti="two"))
            await records.put(REVOKED, "one", b"", 60.0)
            started = time.perf_counter()
            assert (await hear(client)).code == 3000
            report("W10", "revoked to closed, s", time.perf_counter() - started)
            await other.send(frame("still here") + close())
            assert len((await hear(other)).messages) == 1


async def test_a_session_by_a_ticket_lasts_as_long_as_who_it_speaks_for(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        document = guarded(upstream, {**auth, "door": {"type": "ticket"}})
        document["routes"][0]["auth"] = ["corp", "door"]
        document["routes"].append(
            {
                "name": "tickets",
                "path": "/auth/ticket",
                "methods": ["POST"],
                "auth": ["corp"],
                "issues": "door",
            }
        )
        gateway = await start_gateway(document)
        ticket = await ask(
            gateway.port,
            f"POST /auth/ticket HTTP/1.1\r\nHost: x\r\n{bearer(exp=time.time() + 0.5)}\r\n"
            "Content-Length: 0\r\n\r\n".encode(),
        )
        target = f"/v1/x?a=b&ticket={ticket.json()['ticket']}"
        bad = await ask(gateway.port, opening(target).replace(b"Version: 13", b"Version: 7"))
        assert bad.status == 426  # and the ticket was not spent on it
        async with RawClient(gateway.port) as client:
            await open_with(client, target=target)
            assert (await hear(client)).code == 3000
        assert_error(await ask(gateway.port, opening(target)), 401)
    assert upstream.requests[0].target == "/v1/x?a=b"
    assert upstream.requests[0].values("authorization") == []


async def test_without_a_credential_there_is_no_session(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(guarded(upstream, auth))
        protocol = "Sec-WebSocket-Protocol: realtime, openai-insecure-api-key.sk-x"
        for lines in ((), (protocol,)):
            assert_error(await ask(gateway.port, opening("/v1/x", *lines)), 401)
    assert upstream.requests == []


# -- models ------------------------------------------------------------------------------------


def by_model(upstream: ScriptedUpstream, other: ScriptedUpstream | None = None) -> dict[str, Any]:
    """Models by the query; `b` stands in for `a`."""
    return {
        "upstreams": {
            "one": {"endpoints": [{"url": upstream.url}]},
            "two": {"endpoints": [{"url": (other or upstream).url}]},
        },
        "models": {
            "a": {"upstream": "one", "model": "real/a", "fallbacks": ["b"]},
            "b": {"upstream": "two", "model": "real-b"},
        },
        "routes": [
            {
                "name": "main",
                "path": "/v1/",
                "auth": "anonymous",
                "models": ["a", "b"],
                "websocket": True,
            }
        ],
    }


async def test_the_query_names_the_model_and_it_is_renamed_there(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(by_model(upstream))
        async with RawClient(gateway.port) as client:
            await open_with(client, target="/v1/realtime?x=1&model=a&y=2")
            await client.send(close())
            await hear(client)
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        unknown = await ask(gateway.port, opening("/v1/realtime?model=c"))
        unnamed = await ask(gateway.port, opening("/v1/realtime"))
        twice = await ask(gateway.port, opening("/v1/realtime?model=a&mode%6c=b"))
    assert line["model"] == "a"
    assert [r.target for r in upstream.requests] == ["/v1/realtime?x=1&model=real%2Fa&y=2"]
    assert_error(unknown, 404, code="model_not_found")
    assert_error(unnamed, 400, code="model_required")
    assert_error(twice, 400, code="invalid_request")


async def test_another_model_stands_in_at_the_handshake(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(echo) as other:
        async with ScriptedUpstream() as gone:
            document = by_model(gone, other)
        gateway = await start_gateway(document)
        async with RawClient(gateway.port) as client:
            await open_with(client, target="/v1/realtime?model=a")
            await client.send(frame("hi") + close())
            assert len((await hear(client)).messages) == 1
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert line["served"] == "b"
    assert [r.target for r in other.requests] == ["/v1/realtime?model=real-b"]


# -- limits ------------------------------------------------------------------------------------


def limited(upstream: ScriptedUpstream, tmp_path: Path, **limit: Any) -> dict[str, Any]:
    document = config(upstream.url)
    document["limits"] = {"own": {"key": "ip", **limit}}
    document["routes"][0]["limits"] = ["own"]
    document["store"] = {"url": f"sqlite:///{tmp_path}/store.db"}
    return document


async def test_a_session_holds_its_slot_until_it_ends(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(limited(upstream, tmp_path, concurrency=1))
        async with RawClient(gateway.port) as client:
            await open_with(client)
            refused = await ask(gateway.port, opening())
            await client.send(close())
            await hear(client)
        await gateway.wait_for_log(lambda line: line.get("status") == 101)
        async with RawClient(gateway.port) as client:
            await open_with(client)
            await client.send(close())
            await hear(client)
    assert_error(refused, 429, code="rate_limit_exceeded")


def done(**usage: int) -> bytes:
    """The event that says what an answer used."""
    event = {"type": "response.done", "response": {"usage": usage, "output": ['"usage": {']}}
    return frame(orjson.dumps(event), mask=None)


async def session(
    gateway: RunningGateway, client: RawClient, upstream: ScriptedUpstream
) -> UpstreamConnection:
    await client.send(opening())
    connection = await upstream.accept()
    await join(connection)
    await client.read_head()
    return connection


async def test_tokens_are_counted_as_they_pass_and_end_the_session_when_there_are_none_left(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    for limit in ({"tokens": "100/day"}, {"budget": "100 tokens/day"}):
        async with ScriptedUpstream() as upstream:
            folder = tmp_path / next(iter(limit))
            folder.mkdir()
            gateway = await start_gateway(limited(upstream, folder, **limit))
            async with RawClient(gateway.port) as client:
                connection = await session(gateway, client, upstream)
                await connection.send(done(input_tokens=30, output_tokens=10, total_tokens=40))
                await connection.send(frame('{"type": "other"}', mask=None))
                await connection.send(done(input_tokens=50, output_tokens=25))
                heard = await hear(client)
            line = await gateway.wait_for_log(lambda line: line["event"] == "request")
            again = await ask(gateway.port, opening())
        assert len(heard.messages) == 3
        assert heard.code == 1008
        assert "'own'" in heard.reason
        assert (line["tokens_in"], line["tokens_out"]) == (80, 35)
        assert (line["end"], line["error"]) == ("refused", "rate_limit_exceeded")
        assert_error(again, 429, code="rate_limit_exceeded")


async def test_tokens_that_are_counted_during_a_check_are_checked_too(
    start_gateway: StartGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked, counted = limits.SessionMeter.exhausted, limits.SessionMeter.count
    begun, second = asyncio.Event(), asyncio.Event()
    counts = 0

    def count(self: limits.SessionMeter, usage: Usage) -> None:
        nonlocal counts
        counts += 1
        counted(self, usage)
        if counts == 2:
            second.set()

    async def exhausted(self: limits.SessionMeter) -> GatewayError | None:
        found = await checked(self)
        begun.set()
        await second.wait()  # a store that answers late
        return found

    monkeypatch.setattr(limits.SessionMeter, "count", count)
    monkeypatch.setattr(limits.SessionMeter, "exhausted", exhausted)
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(limited(upstream, tmp_path, tokens="100/day"))
        async with RawClient(gateway.port) as client:
            connection = await session(gateway, client, upstream)
            await connection.send(done(input_tokens=30, output_tokens=10))
            await begun.wait()
            await connection.send(done(input_tokens=50, output_tokens=25))
            heard = await hear(client)
    assert heard.code == 1008


async def test_an_answer_that_was_broken_off_counts_by_its_pieces(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    delta = frame('{"type": "response.output_text.delta", "delta": "x"}', mask=None)
    async with ScriptedUpstream() as upstream:
        gateway = await start_gateway(limited(upstream, tmp_path, tokens="100/day"))
        async with RawClient(gateway.port) as client:
            connection = await session(gateway, client, upstream)
            await connection.send(done(input_tokens=1, output_tokens=1) + 20 * delta)
            await connection.send(close(mask=None))
            await client.read_to_end()
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
    assert (line["tokens_in"], line["tokens_out"]) == (1, 21)


async def test_many_sessions_at_once_end_with_nothing_left_over(
    start_gateway: StartGateway,
) -> None:
    async def one(gateway: RunningGateway, number: int) -> bytes:
        async with RawClient(gateway.port) as client:
            await open_with(client)
            for part in range(5):
                await client.send(frame(f"{number}.{part}"))
            await client.send(close())
            return b" ".join(payload for _, payload in (await hear(client)).messages)

    async with ScriptedUpstream(echo) as upstream:
        gateway = await start_gateway(config(upstream.url))
        said = await asyncio.gather(*(one(gateway, number) for number in range(50)))
    assert said == [b" ".join(b"%d.%d" % (n, part) for part in range(5)) for n in range(50)]
