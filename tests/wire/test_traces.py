"""X9, and what is written down of requests, from the client's bytes to the record kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import orjson
import pytest

from gateway.telemetry.semconv import NAMES
from gateway.telemetry.traces.context import parse_parent
from gateway.telemetry.traces.spans import Span, build
from tests.support.client import RawClient, ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.metrics import read_until
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    ScriptedUpstream,
    hang,
    json_reply,
    reply_then_reset,
    sse_reply,
    stepped_stream,
)
from tests.support.waiting import eventually

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"traceparent: 00-{TRACE}-{SPAN}-01"
TRUSTED = {"trusted_proxies": ["127.0.0.1/32"]}
NOBODY = {"telemetry": {"log": {"format": "json"}, "traces": {"sample": 0, "local": None}}}


def traced(**traces: Any) -> dict[str, Any]:
    """A `telemetry` section; without keywords, everything is sampled."""
    return {"telemetry": {"log": {"format": "json"}, "traces": {"sample": 1, **traces}}}


async def records(gateway: RunningGateway, count: int = 1) -> list[dict[str, Any]]:
    """All that was kept, once there are so many; each is told once."""
    found: list[dict[str, Any]] = []
    acknowledged = 0

    def collected() -> bool:
        nonlocal acknowledged
        batch = orjson.loads(gateway.server.state.records.take(acknowledged))
        acknowledged = batch["number"]
        found.extend(batch["records"])
        return len(found) >= count

    await eventually(collected)
    return found


def raw(*lines: str, path: str = "/v1/x", host: str = "localhost") -> bytes:
    head = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1")


def sent_parent(upstream: ScriptedUpstream, number: int = 0) -> tuple[str, str, bool]:
    """Trace, span and sampled, as the upstream was told."""
    told = upstream.requests[number].value("traceparent")
    assert told is not None
    parent = parse_parent([told.decode()])
    assert parent is not None
    return parent


def by_name(record: dict[str, Any]) -> dict[str, Span]:
    return {span.name: span for span in build(record, NAMES["1.44"])}


# -- X9: trace headers -----------------------------------------------------------------------------

HOSTILE = {
    "malformed": ["traceparent: 00-xyz-1-01"],
    "zeros": [f"traceparent: 00-{'0' * 32}-{'0' * 16}-01"],
    "twice": [PARENT, PARENT],
    "8 KB of state": [PARENT, "tracestate: " + ",".join(f"k{n}={'x' * 60}" for n in range(120))],
    "8 KB of baggage": [PARENT, "baggage: " + "x=" + "y" * 8192],
    "sampled": [PARENT],
    "not sampled": [PARENT[:-1] + "0"],
    "bytes": ["traceparent: \xff\xfe"],
    "empty": ["traceparent: "],
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_x9_nobody_who_is_not_trusted_names_the_trace_or_has_it_sampled(
    start_gateway: StartGateway, case: str, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced(sample=0))
        assert (await ask(gateway.port, raw(*HOSTILE[case]))).status == 200
        trace_id, _, sampled = sent_parent(upstream)
        assert trace_id != TRACE
        assert not sampled
        sent = upstream.requests[0]
        assert sent.value("tracestate") is None
        assert sent.value("baggage") is None
        assert len(gateway.server.state.records) == 0
    report("X9", "samples forced by headers", 0)


@pytest.mark.parametrize("case", HOSTILE)
async def test_x9_what_they_name_is_linked_where_it_is_well_formed(
    start_gateway: StartGateway, case: str
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced())
        await ask(gateway.port, raw(*HOSTILE[case]))
        (record,) = await records(gateway)
    assert record["trace"] != TRACE
    assert "parent" not in record
    well_formed = HOSTILE[case][:1] in ([PARENT], [PARENT[:-1] + "0"]) and case != "twice"
    assert ("link" in record) == well_formed
    if well_formed:
        assert by_name(record)["GET /v1/"].links == [(TRACE, SPAN)]


async def test_the_trace_of_a_trusted_peer_is_gone_on_with(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED), **traced())
        lines = [PARENT, "tracestate: a=1,b=2", "baggage: user=ann"]
        answer = await ask(gateway.port, raw(*lines))
        trace_id, span_id, sampled = sent_parent(upstream)
        assert (trace_id, sampled) == (TRACE, True)
        sent = upstream.requests[0]
        assert (sent.value("tracestate"), sent.value("baggage")) == (b"a=1,b=2", b"user=ann")
        (record,) = await records(gateway)
    assert answer.value("x-trace-id") == TRACE.encode()
    spans = build(record, NAMES["1.44"])
    assert spans[0].parent_id == SPAN
    (call,) = [span for span in spans if span.kind == "client"]
    assert call.span_id == span_id, "the upstream's parent is this attempt"


@pytest.mark.parametrize(("follow", "sampled"), [(False, False), (True, True)])
async def test_what_a_trusted_peer_sampled_is_sampled_here_if_we_follow(
    start_gateway: StartGateway, follow: bool, sampled: bool
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, server=TRUSTED), **traced(sample=0, follow=follow)
        )
        await ask(gateway.port, raw(PARENT))
        assert sent_parent(upstream)[2] == sampled
        await ask(gateway.port, raw(PARENT[:-1] + "0"))
        assert not sent_parent(upstream, 1)[2]


async def test_a_stranger_behind_a_trusted_proxy_is_a_stranger(start_gateway: StartGateway) -> None:
    """nginx passes on what clients send; it does not say it."""
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, server=TRUSTED), **traced(follow=True, sample=0)
        )
        await ask(gateway.port, raw(PARENT, "baggage: a=1", "X-Forwarded-For: 198.51.100.7"))
        assert sent_parent(upstream)[0] != TRACE
        assert upstream.requests[0].value("baggage") is None


async def test_networks_of_our_own_may_be_trusted_beside_the_proxies(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, server=TRUSTED), **traced(trust=["198.51.100.0/24"])
        )
        await ask(gateway.port, raw(PARENT, "X-Forwarded-For: 198.51.100.7"))
        await ask(gateway.port, raw(PARENT))
        assert sent_parent(upstream)[0] == TRACE
        assert sent_parent(upstream, 1)[0] != TRACE, "the proxy itself is not in that network"


async def test_without_tracing_the_headers_pass_as_any_other(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url), telemetry={"log": {"format": "json"}, "traces": None}
        )
        await ask(gateway.port, raw(PARENT, "tracestate: a=1"))
        sent = upstream.requests[0]
        assert sent.value("traceparent") == PARENT.partition(": ")[2].encode()
        assert sent.value("tracestate") == b"a=1"
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert "trace_id" not in line
        assert len(gateway.server.state.records) == 0


# -- what is kept ----------------------------------------------------------------------------------


async def test_the_access_line_has_the_id_of_the_trace(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced())
        answer = await ask(gateway.port, raw())
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        (record,) = await records(gateway)
    assert line["trace_id"] == record["trace"] == sent_parent(upstream)[0]
    # An id that was made here is both: who quotes the one has the other.
    assert answer.value("x-request-id") == record["trace"].encode()


async def test_the_id_of_a_proxy_names_no_trace(start_gateway: StartGateway) -> None:
    """It could be a client's, who would choose what is sampled."""
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(simple_config(upstream.url, server=TRUSTED), **traced())
        await ask(gateway.port, raw(f"X-Request-ID: {TRACE}"))
        (record,) = await records(gateway)
    assert record["request_id"] == TRACE
    assert record["trace"] != TRACE


@pytest.mark.parametrize(
    ("script", "status", "kept"),
    [
        (json_reply({}), 200, None),
        (json_reply({}, status="404 Not Found"), 404, None),
        (json_reply({}, status="500 No"), 500, "error"),
        (json_reply({}, status="429 Slow Down"), 429, "limited"),
        (reply_then_reset(), 502, "error"),
    ],
)
async def test_what_went_wrong_is_kept_whatever_is_sampled(
    start_gateway: StartGateway, script: Any, status: int, kept: str | None
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced(sample=0))
        assert (await ask(gateway.port, raw())).status == status
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        found = orjson.loads(gateway.server.state.records.take())
    assert [one["kept"] for one in found["records"]] == ([kept] if kept else [])
    assert found["tallies"][0][5] == 1, "it is counted all the same"


async def test_what_is_slow_is_kept(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url), **traced(sample=0, keep={"slow": "1ms"})
        )

        async def slowly(connection: Any) -> None:
            await connection.read_request()
            await asyncio.sleep(0.02)
            await connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

        upstream.script = slowly
        await ask(gateway.port, raw())
        (record,) = await records(gateway)
    assert record["kept"] == "slow"


@pytest.mark.parametrize("status", [429, 500])
async def test_rules_can_be_turned_off(start_gateway: StartGateway, status: int) -> None:
    keep = {"errors": False, "slow": None, "limited": False}
    async with ScriptedUpstream(json_reply({}, status=f"{status} No")) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced(sample=0, keep=keep))
        await ask(gateway.port, raw())
        await gateway.wait_for_log(lambda line: line.get("status") == status)
        assert len(gateway.server.state.records) == 0


async def test_a_route_may_have_a_share_of_its_own(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, traces={"sample": 1}), **traced(sample=0)
        )
        await ask(gateway.port, raw())
        (record,) = await records(gateway)
    assert record["kept"] == "sampled"


async def test_where_there_is_nowhere_to_put_them_nothing_is_kept(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({}, status="500 No")) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced(local=None))
        await ask(gateway.port, raw())
        await gateway.wait_for_log(lambda line: line["event"] == "request")
        assert len(gateway.server.state.records) == 0
        assert upstream.requests[0].value("traceparent"), "the upstream is told all the same"


# -- the spans of real requests --------------------------------------------------------------------


async def test_every_part_of_a_request_has_its_span(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({"model": "m-1", "id": "c-1"})) as upstream:
        config = simple_config(
            upstream.url,
            auth=list(auth),
            limits=["few"],
            upstream={"admission": {"concurrency": 1}},
        )
        gateway = await start_gateway(
            {**config, "auth": auth, "limits": {"few": {"key": "subject", "requests": "9/minute"}}},
            **traced(),
        )
        await ask(gateway.port, raw(bearer(sub="ann")))
        (record,) = await records(gateway)
    spans = by_name(record)
    assert list(spans) == ["GET /v1/", "auth", "limits", "admission", "GET", "stream"]
    assert spans["GET /v1/"].attributes["enduser.id"] == "ann"
    by_id = {span.span_id: span for span in spans.values()}
    for span in spans.values():
        if span.parent_id is not None:
            assert by_id[span.parent_id].start <= span.start <= span.end
            assert span.end <= by_id[span.parent_id].end + 1e-6


async def test_a_refused_request_shows_where_it_was_refused(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, auth=list(auth))
        gateway = await start_gateway({**config, "auth": auth}, **traced())
        await ask(gateway.port, raw())
        (record,) = await records(gateway)
    spans = by_name(record)
    assert list(spans) == ["GET /v1/", "auth"]
    assert spans["auth"].error == "invalid_api_key"
    assert spans["auth"].attributes["gateway.reason"] == "no credential"


async def test_a_request_no_route_serves_is_traced_too(start_gateway: StartGateway) -> None:
    gateway = await start_gateway(simple_config("http://127.0.0.1:1"), **traced())
    await ask(gateway.port, raw(path="/nowhere"))
    (record,) = await records(gateway)
    assert list(by_name(record)) == ["GET"]
    assert record["status"] == 404


async def test_every_attempt_has_its_span_and_the_upstream_sees_it(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(reply_then_reset()) as bad, ScriptedUpstream() as good:
        good.script = json_reply({})
        config = simple_config(bad.url)
        config["upstreams"]["main"] |= {
            "endpoints": [{"url": bad.url}, {"url": good.url, "priority": 1}],
            "retries": {"backoff": "1ms"},
        }
        gateway = await start_gateway(config, **traced())
        assert (await ask(gateway.port, raw())).status == 200
        (record,) = await records(gateway)
        told = [sent_parent(bad)[1], sent_parent(good)[1]]
    calls = [span for span in build(record, NAMES["1.44"]) if span.kind == "client"]
    assert [span.span_id for span in calls] == told
    assert [span.error for span in calls] == ["upstream_reset", None]
    assert calls[1].attributes["gateway.attempt.reason"] == "retry: upstream_reset"


async def test_a_fallback_says_what_it_stands_in_for(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(json_reply({}, status="500 No")) as first,
        ScriptedUpstream() as two,
    ):
        two.script = json_reply({"model": "b-1", "choices": [{"finish_reason": "stop"}]})
        config = {
            "upstreams": {
                "first": {"endpoints": [{"url": first.url}]},
                "two": {"endpoints": [{"url": two.url}]},
            },
            "models": {
                "a": {"upstream": "first", "fallbacks": ["b"]},
                "b": {"upstream": "two", "model": "b-1"},
            },
            "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["a", "b"]}],
        }
        gateway = await start_gateway(config, **traced())
        body = json.dumps({"model": "a", "messages": []}).encode()
        raw_post = request("POST", "/v1/chat/completions", body=body)
        assert (await ask(gateway.port, raw_post)).status == 200
        (record,) = await records(gateway)
    calls = [span for span in build(record, NAMES["1.44"]) if span.kind == "client"]
    assert [span.name for span in calls] == ["chat a", "chat b-1"]
    assert calls[1].attributes["gateway.attempt.reason"] == "fallback: status 500"
    assert calls[1].attributes["gen_ai.response.finish_reasons"] == ["stop"]


async def test_a_limited_request_names_its_limit_in_log_and_spans(
    start_gateway: StartGateway,
) -> None:
    limits = {"per-address": {"key": "ip", "requests": "1/hour"}}
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = simple_config(upstream.url, limits=["per-address"]) | {"limits": limits}
        gateway = await start_gateway(config, **traced(sample=0))
        passed = await ask(gateway.port, request())
        refused = await ask(gateway.port, request())
        line = await gateway.wait_for_log(lambda line: line.get("status") == 429)
        (record,) = await records(gateway)
    assert (passed.status, refused.status) == (200, 429)
    wait_s = int(refused.value("retry-after") or b"")
    assert wait_s > 3000
    assert (line["limit"], line["retry_after_s"]) == ("per-address", wait_s)
    assert (record["limit"], record["retry_after_s"]) == ("per-address", wait_s)
    spans = build(record, NAMES["1.44"])
    assert [span.kind for span in spans] == ["server", "internal"]
    for span in spans:
        assert span.attributes["gateway.limit"] == "per-address"
        assert span.attributes["gateway.retry_after_s"] == wait_s
    first = next(line for line in gateway.log_lines if line.get("status") == 200)
    assert "limit" not in first


# -- streams ---------------------------------------------------------------------------------------


async def test_a_sampled_stream_has_its_pieces_counted_and_its_ends_read(
    start_gateway: StartGateway,
) -> None:
    events = [
        b'data: {"id":"c-1","model":"m-1","choices":[{"delta":{"content":"a"}}]}\n\n',
        b'data: {"choices":[{"delta":{},"finish_reason":"length"}]}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}\n\n',
        b"data: [DONE]\n\n",
    ]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        config = simple_config(upstream.url)
        config["models"] = {"m": {"upstream": "main"}}
        config["routes"][0] |= {"models": ["m"]}
        gateway = await start_gateway(config, **traced())
        body = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
        await ask(gateway.port, request("POST", "/v1/chat/completions", body=body))
        (record,) = await records(gateway)
    assert record["gaps"]["pieces"] >= 1
    assert sum(record["gaps"]["counts"]) == record["gaps"]["pieces"] - 1
    spans = by_name(record)
    call = spans["chat m"].attributes
    assert call["gen_ai.request.stream"]
    assert call["gen_ai.response.model"] == "m-1"
    assert call["gen_ai.response.finish_reasons"] == ["length"]
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == (7, 2)
    assert spans["stream"].attributes["gateway.stream.end"] == "complete"
    assert record["at"] + record["first_byte_s"] == spans["stream"].start


async def test_a_client_that_leaves_is_who_hung_up(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(simple_config(upstream.url), **traced(sample=0))
        async with RawClient(gateway.port) as client:
            await client.send(request())
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            assert await client.read_chunk() == b"data: 1\n\n"
        (record,) = await records(gateway)
    assert record["kept"] == "aborted"
    stream = by_name(record)["stream"]
    assert stream.attributes["gateway.stream.ended_by"] == "client"
    assert stream.events[-1].name == "cancel"


async def test_a_backend_that_falls_silent_is_who_ended_it(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            simple_config(upstream.url, upstream={"timeouts": {"idle": "50ms"}}), **traced(sample=0)
        )
        async with RawClient(gateway.port) as client:
            await client.send(request())
            await upstream.release(b"data: 1\n\n")
            await client.read_head()
            (record,) = await records(gateway)
    assert (record["kept"], record["end"]) == ("error", "timeout")
    spans = by_name(record)
    assert spans["stream"].attributes["gateway.stream.ended_by"] == "upstream"
    assert spans["GET"].error == "upstream_idle_timeout"


async def test_a_request_that_got_no_answer_has_the_attempt_that_failed(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(
            simple_config(
                upstream.url,
                upstream={"timeouts": {"first_byte": "50ms"}, "retries": {"attempts": 0}},
            ),
            **traced(sample=0),
        )
        assert (await ask(gateway.port, raw())).status == 504
        (record,) = await records(gateway)
    call = by_name(record)["GET"]
    assert call.error == "upstream_first_byte_timeout"


# -- tallies ---------------------------------------------------------------------------------------


async def test_every_request_is_counted_with_its_tokens_and_its_cost(
    start_gateway: StartGateway, auth: Auth
) -> None:
    usage = {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    async with ScriptedUpstream(json_reply(usage)) as upstream:
        config = simple_config(upstream.url, auth=list(auth))
        config["models"] = {"m": {"upstream": "main", "price": {"input": 2.0, "output": 10.0}}}
        config["routes"][0] |= {"models": ["m"]}
        gateway = await start_gateway({**config, "auth": auth}, **traced(sample=0))
        body = json.dumps({"model": "m", "messages": []}).encode()
        for _ in range(3):
            await ask(gateway.port, request("POST", headers=[bearer(sub="ann")], body=body))
        await ask(gateway.port, raw())
        await gateway.wait_for_log(lambda line: line.get("status") == 401)
        rows = orjson.loads(gateway.server.state.records.take())["tallies"]
    by_tenant = {row[2]: row for row in rows}
    assert by_tenant["ann"][:2] == ["main", "m"]
    assert by_tenant["ann"][3:] == [
        "ann",
        "",
        3,
        0,
        0,
        3,
        3000,
        300,
        0,
        pytest.approx(0.009),
        "USD",
        "",
        "",
    ]
    assert by_tenant[""][3:] == ["", "", 1, 0, 0, 0, 0, 0, 0, 0.0, "", "", ""]


# -- one figure ------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [True, False], ids=["told", "estimated"])
@pytest.mark.parametrize("counted", [True, False], ids=["with metrics", "without"])
async def test_log_span_metrics_and_tally_show_one_figure_of_tokens(
    start_gateway: StartGateway, told: bool, counted: bool
) -> None:
    events = [b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'] * 4
    if told:
        events.append(b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n')
    async with ScriptedUpstream(sse_reply([*events, b"data: [DONE]\n\n"])) as upstream:
        config = simple_config(upstream.url)
        config["models"] = {"m": {"upstream": "main"}}
        config["routes"][0] |= {"models": ["m"]}
        sections = traced()
        if not counted:
            sections["telemetry"]["metrics"] = None
        gateway = await start_gateway(config, **sections)
        body = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
        await ask(gateway.port, request("POST", "/v1/chat/completions", body=body))
        line = await gateway.wait_for_log(lambda line: line["event"] == "request")
        batch = orjson.loads(gateway.server.state.records.take())
        figure = line["tokens_in"], line["tokens_out"]
        if counted:
            samples = await read_until(gateway, lambda now: now.value("gateway_tokens_total") > 0)
            kinds = [
                samples.value("gateway_tokens_total", type=kind) for kind in ("input", "output")
            ]
            assert tuple(kinds) == figure
    assert not told or figure == (7, 3)
    (record,) = batch["records"]
    call = by_name(record)["chat m"].attributes
    assert (call["gen_ai.usage.input_tokens"], call["gen_ai.usage.output_tokens"]) == figure
    (tally,) = batch["tallies"]
    assert tuple(tally[9:11]) == figure
