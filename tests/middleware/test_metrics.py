"""What is counted of requests, over the wire; and that nobody can make up series."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from gateway.auth.principal import Principal
from gateway.exchange import Exchange
from gateway.limiting.decision import Decision
from gateway.limiting.demand import Demand, Kind, Level, LimitVerdict
from gateway.limiting.guard import OnStoreError
from gateway.limiting.rules import Amount, Price, Rule, Unit
from gateway.middleware import metrics, request_classes
from gateway.middleware.metrics import Counting, Names
from gateway.outcome import EndReason, Failure
from gateway.telemetry.metrics import instruments as table
from gateway.telemetry.metrics.exposition import exposed
from gateway.telemetry.metrics.merge import Merge
from gateway.telemetry.metrics.registry import Registry
from gateway.telemetry.traces.recording import Trace
from gateway.usage import Usage
from tests.support.client import RawClient, ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.growth import memory_growth
from tests.support.metrics import Samples, read, read_until
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    LAST_CHUNK,
    STREAM_HEAD,
    ScriptedUpstream,
    UpstreamConnection,
    chunk,
    hang,
    json_reply,
    sse_reply,
    stepped_stream,
)

WORD = b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,'
    b'"prompt_tokens_details":{"cached_tokens":4},'
    b'"completion_tokens_details":{"reasoning_tokens":2}}}\n\n'
)
DONE = b"data: [DONE]\n\n"
TTFT = "gen_ai_server_time_to_first_token_seconds"
PER_TOKEN = "gen_ai_server_time_per_output_token_seconds"


def config(url: str, *, model: Mapping[str, Any] | None = None, **upstream: Any) -> dict[str, Any]:
    return {
        "upstreams": {"main": {"endpoints": [{"url": url}], **upstream}},
        "models": {"m": {"upstream": "main", "model": "served-m", **(model or {})}},
        "routes": [{"name": "r", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
    }


def chat(*headers: str, model: str = "m", path: str = "/v1/chat/completions") -> bytes:
    body = json.dumps({"model": model, "stream": True}).encode()
    return request("POST", path, headers=["Content-Type: application/json", *headers], body=body)


async def ended(gateway: RunningGateway, count: int) -> Samples:
    """The metrics once so many requests have ended."""
    return await read_until(
        gateway, lambda samples: samples.value("gateway_requests_total") >= count
    )


async def test_a_stream_is_counted_with_its_tokens_cost_and_latencies(
    start_gateway: StartGateway, auth: Auth
) -> None:
    async with ScriptedUpstream(sse_reply([WORD] * 5 + [USAGE, DONE])) as upstream:
        settings = config(upstream.url, model={"price": {"input": 10.0, "output": 100.0}})
        settings["routes"][0]["auth"] = ["corp"]
        gateway = await start_gateway(settings, auth=auth)
        assert (await ask(gateway.port, chat(bearer(org="acme")))).status == 200
        samples = await ended(gateway, 1)
    only = {"route": "r", "model": "m", "upstream": "main", "code": "2xx", "end": "complete"}
    assert samples.value("gateway_requests_total", **only) == 1
    http = "http_server_request_duration_seconds_count"
    assert samples.value(http, http_request_method="POST", http_route="/v1/") == 1
    operation = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "openai",
        "gen_ai_request_model": "m",
        "gen_ai_response_model": "served-m",
    }
    for name in ("gen_ai_client_operation_duration_seconds", TTFT, PER_TOKEN):
        assert samples.value(f"{name}_count", **operation) == 1
    kinds = {kind: f"{kind}" for kind in ("input", "output", "cached", "reasoning")}
    told = {
        kind: samples.value("gateway_tokens_total", tenant="acme", type=kind, source="reported")
        for kind in kinds
    }
    assert told == {"input": 7, "output": 5, "cached": 4, "reasoning": 2}
    assert samples.value("gateway_tokens_total", source="estimated") == 0
    assert samples.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 5
    cost = samples.value("gateway_cost_total", tenant="acme", model="m", currency="USD")
    assert cost == pytest.approx(7 * 10e-6 + 5 * 100e-6)
    assert samples.value("gateway_tenant_requests_total", tenant="acme", code="2xx") == 1
    assert samples.value("gateway_tenant_time_to_first_token_seconds_count", tenant="acme") == 1
    at_endpoint = {"upstream": "main", "endpoint": upstream.url}
    assert samples.value("gateway_upstream_requests_total", **at_endpoint, code="2xx") == 1
    assert samples.value("gateway_upstream_first_byte_seconds_count", **at_endpoint) == 1
    assert samples.value("gateway_upstream_attempts_total", upstream="main") == 1


async def test_a_stream_that_does_not_tell_its_usage_is_estimated_and_said_to_be(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(sse_reply([WORD] * 5)) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await ask(gateway.port, chat())
        samples = await ended(gateway, 1)
    assert samples.value("gateway_tokens_total", type="output", source="estimated") == 5
    assert samples.value("gateway_tokens_total", type="input", source="estimated") > 0
    assert samples.value("gateway_tokens_total", source="reported") == 0
    assert samples.value("gen_ai_client_token_usage_count") == 0
    assert samples.value(f"{PER_TOKEN}_count") == 1


async def test_an_answer_in_one_piece_has_tokens_and_no_first_one(
    start_gateway: StartGateway,
) -> None:
    reply = json_reply({"usage": {"prompt_tokens": 7, "completion_tokens": 5}})
    async with ScriptedUpstream(reply) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await ask(gateway.port, chat())
        samples = await ended(gateway, 1)
    assert samples.value("gateway_tokens_total", source="reported") == 12
    assert samples.value(f"{TTFT}_count") == 0
    assert samples.value(f"{PER_TOKEN}_count") == 0


async def test_without_tokens_none_are_counted(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([WORD, USAGE])) as upstream:
        gateway = await start_gateway(
            config(upstream.url),
            telemetry={
                "log": {"format": "json"},
                "metrics": {"tokens": False},
                "traces": {"sample": 1.0, "local": None},
            },
        )
        await ask(gateway.port, chat())
        samples = await ended(gateway, 1)
    # What a sampled trace has read is not counted either: it would be of some requests only.
    assert samples.value("gateway_tokens_total") == 0
    assert samples.value(f"{TTFT}_count") == 1


async def test_clients_that_leave_are_counted_by_how_far_they_were(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(hang) as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            await upstream.request_seen.wait()
        await ended(gateway, 1)
        upstream.script = stepped_stream()
        async with RawClient(gateway.port) as client:
            await client.send(chat())
            await upstream.release(WORD)
            await client.read_until(WORD)
            assert (await read(gateway)).value("gateway_active_streams", model="m") == 1
        samples = await ended(gateway, 2)
    for phase in ("waiting", "streaming"):
        assert samples.value("gateway_client_aborts_total", route="r", phase=phase) == 1
    assert samples.value("gateway_requests_total", end="client_abort") == 2
    assert samples.value("gateway_active_streams") == 0


async def stall(connection: UpstreamConnection) -> None:
    await connection.read_request()
    await connection.send(STREAM_HEAD + chunk(WORD))
    await connection.wait_client_gone()


@pytest.mark.parametrize(
    ("code", "script", "timeouts"),
    [
        ("upstream_first_byte_timeout", hang, {"first_byte": "100ms"}),
        ("upstream_idle_timeout", stall, {"idle": "100ms"}),
        ("upstream_total_timeout", hang, {"total": "100ms"}),
    ],
)
async def test_every_timeout_is_counted_by_its_own_code(
    start_gateway: StartGateway, code: str, script: Any, timeouts: dict[str, str]
) -> None:
    async with ScriptedUpstream(script) as upstream:
        gateway = await start_gateway(config(upstream.url, timeouts=timeouts))
        await ask(gateway.port, chat())
        samples = await ended(gateway, 1)
    assert samples.value("gateway_errors_total", upstream="main", code=code) == 1
    assert samples.value("gateway_errors_total") == 1
    assert samples.value("http_server_request_duration_seconds_count", error_type=code) == 1


async def test_limits_tell_their_decisions_and_what_is_left(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        settings = config(upstream.url)
        settings["routes"][0]["limits"] = ["few", "slots"]
        gateway = await start_gateway(
            settings,
            limits={
                "few": {"key": "ip", "requests": "4/day", "burst": 4},
                "slots": {"key": "ip", "concurrency": 10},
            },
        )
        answers = [(await ask(gateway.port, chat())).status for _ in range(6)]
        samples = await ended(gateway, 6)
    assert answers == [200] * 4 + [429] * 2
    decided = "gateway_limit_decisions_total"
    few = {"limit": "few", "unit": "requests"}
    assert samples.value(decided, **few, decision="allowed") == 4
    assert samples.value(decided, **few, decision="refused") == 2
    assert samples.value(decided, limit="slots", unit="concurrency", decision="refused") == 0
    left = "gateway_limit_remaining_ratio"
    assert samples.value(f"{left}_count", **few) == 6
    assert samples.value(f"{left}_sum", **few) == pytest.approx(0.75 + 0.5 + 0.25)
    assert samples.value(f"{left}_bucket", **few, le="0.0") == 3
    assert samples.value("gateway_errors_total", code="rate_limit_exceeded") == 2


async def test_queues_tell_how_many_wait_where_and_for_how_long(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        gateway = await start_gateway(
            config(upstream.url, admission={"concurrency": 1, "queue": 5, "max_wait": "30s"})
        )
        async with RawClient(gateway.port) as first, RawClient(gateway.port) as second:
            await first.send(chat())
            await upstream.release(WORD)
            await second.send(chat())
            waiting = await read_until(
                gateway, lambda one: one.value("gateway_queue_depth", gate="upstream main") == 1
            )
            assert waiting.value("gateway_queue_passing", gate="upstream main") == 1
            await upstream.finish()
            await first.read_response("POST")
            await upstream.release(WORD)
            await upstream.finish()
            await second.read_response("POST")
        samples = await ended(gateway, 2)
    labels = {"model": "m", "upstream": "main"}
    assert samples.value("gateway_queue_wait_seconds_count", **labels) == 1
    assert samples.value("gateway_queue_wait_seconds_sum", **labels) > 0
    assert samples.value("gateway_queue_position_sum", **labels) == 1
    assert samples.value("gateway_queue_depth", gate="upstream main") == 0


async def test_fallbacks_and_retries_are_counted(start_gateway: StartGateway) -> None:
    async with (
        ScriptedUpstream(json_reply({}, status="503 Busy")) as bad,
        ScriptedUpstream(json_reply({})) as good,
    ):
        settings = config(bad.url, retries={"post": True, "attempts": 1})
        settings["upstreams"]["spare"] = {"endpoints": [{"url": good.url}]}
        settings["models"]["m"]["fallbacks"] = ["n"]
        settings["models"]["n"] = {"upstream": "spare"}
        gateway = await start_gateway(settings)
        assert (await ask(gateway.port, chat())).status == 200
        samples = await ended(gateway, 1)
    assert samples.value("gateway_fallbacks_total", model="m", served="n") == 1
    assert samples.value("gateway_upstream_retries_total", upstream="main") == 1
    assert samples.value("gateway_requests_total", model="m", upstream="spare", code="2xx") == 1


async def test_a_client_that_takes_nothing_is_a_stall(start_gateway: StartGateway) -> None:
    data = b"data: " + b"x" * 32_000 + b"\n\n"

    async def pour(connection: UpstreamConnection) -> None:
        await connection.read_request()
        await connection.send(STREAM_HEAD)
        for _ in range(300):
            await connection.send(chunk(data))
        await connection.send(LAST_CHUNK)

    async with ScriptedUpstream(pour) as upstream:
        gateway = await start_gateway(config(upstream.url))
        async with RawClient(gateway.port, receive_buffer_bytes=4096) as client:
            await client.send(chat())
            await client.read_head()
            client.pause_reading()
            under_way = gateway.server.listener
            await read_until(gateway, lambda _: any(one.stalls for one in under_way.exchanges))
            client.resume_reading()
            while await client.read_chunk() is not None:
                pass
        samples = await ended(gateway, 1)
    assert samples.value("gateway_relay_stalls_total", route="r") >= 1
    assert samples.value("gateway_relay_stall_seconds_total", route="r") > 0


async def test_what_is_refused_before_it_is_a_request_is_counted(
    start_gateway: StartGateway,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(config(upstream.url))
        await ask(gateway.port, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n")
        await ask(gateway.port, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
        samples = await read(gateway)
    refused = "gateway_refused_connections_total"
    assert samples.value(refused, code="invalid_http") == 1
    assert samples.value(refused, code="http_version_not_supported") == 1


async def test_x8_made_up_paths_and_models_make_no_series(
    start_gateway: StartGateway, report: Report
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway(
            config(upstream.url), telemetry={"log": {"format": "json", "access": False}}
        )
        await ask(gateway.port, chat())
        await ask(gateway.port, request(target="/nowhere"))
        await ask(gateway.port, chat(model="unknown"))
        for method in ("PROPFIND", "MKCOL", "PURGE", "TRACE"):
            await ask(gateway.port, request(method, "/v1/x"))
        before = (await ended(gateway, 3)).series
        await _pour(gateway.port, (request(target=f"/p{n}/x") for n in range(10_000)))
        await _pour(gateway.port, (chat(model=f"model-{n}") for n in range(10_000)))
        samples = await ended(gateway, 20_003)
    report("X8", "series after 10 000 made-up paths and 10 000 models", samples.series)
    report("X8", "before", before)
    assert samples.series == before
    assert samples.value("gateway_errors_total", code="not_found") == 10_001
    assert samples.value("gateway_errors_total", code="model_not_found") == 10_001
    methods = {
        one.labels["http_request_method"]
        for one in samples.of("http_server_request_duration_seconds_count")
    }
    assert methods <= {"GET", "POST", "_OTHER"}


async def _pour(port: int, requests: Iterator[bytes]) -> None:
    """Many requests, eight at a time, on one connection."""
    async with RawClient(port) as client:
        while piece := b"".join(itertools.islice(requests, 8)):
            await client.send(piece)
            for _ in range(piece.count(b"HTTP/1.1\r\n")):
                assert (await client.read_response()).status == 404


class Ended:
    """Exchanges that end here and now, counted."""

    def __init__(self, *, tenants: int = 10) -> None:
        self.registry = Registry()
        prices = {"m": (Price(1.0, 2.0, 1.0, 1.0, 2.0), "EUR")}
        names = Names({"r": "/v1/"}, {("m", "up"): "mm"}, {"up": "openai"}, prices)
        self.counting = Counting(self.registry, names, tenants=tenants, tokens=True)

    def end(self, method: str = "POST", **known: Any) -> None:
        exchange = Exchange(method, "127.0.0.1", trusted_peer=False)
        for name, value in {"route": "r", "status": 200, **known}.items():
            setattr(exchange, name, value)
        exchange.end(EndReason.COMPLETE)
        self.counting.on_report([exchange])

    @property
    def samples(self) -> Samples:
        merged = Merge(10).merge({0: ("x", self.registry.snapshot())})
        return Samples(exposed(merged, "application/openmetrics-text; version=1.0.0")[0])


def test_x8_made_up_methods_and_tenants_make_no_series() -> None:
    ended = Ended(tenants=10)
    for number in range(10_000):
        ended.end(f"METHOD{number}")
        tenant = Principal(f"subject {number}", "corp", tenant=f"tenant {number}")
        ended.end(principal=tenant, model="m", upstream="up", endpoint=f"http://{number}")
        ended.end(failure=Failure(f"code_{number}", None), status=number % 1000)
    samples = ended.samples
    assert samples.series < 20_000
    http = "http_server_request_duration_seconds_count"
    assert samples.value(http, http_request_method="_OTHER") == 10_000
    assert len(samples.of("gateway_tenant_time_to_first_token_seconds_count")) == 11
    assert samples.value("gateway_tenant_requests_total", tenant="other") == 10_000 - 10
    assert samples.value("gateway_upstream_requests_total", endpoint="other") == 9_500
    assert len(samples.of("gateway_errors_total", route="r")) == 201


def test_every_request_counts_however_many_end_before_the_metrics_are_read() -> None:
    ended = Ended()
    rule = Rule("l", Unit.REQUESTS, (), Amount(10.0), {}, OnStoreError.OPEN, {})
    demand = Demand(Kind.TAKE, "k", size=10.0)
    for number in range(1000):
        verdict = LimitVerdict((Level(number % 10, 0.0),), refused=None if number % 4 else 0)
        decided = Decision([rule], [demand], verdict, None)
        ended.end(model="m", upstream="up", usage=Usage(3, 4), decided=decided)
    samples = ended.samples
    assert samples.value("http_server_request_duration_seconds_count") == 1000
    assert samples.value("gateway_limit_decisions_total", decision="allowed") == 750
    assert samples.value("gateway_limit_decisions_total", decision="refused") == 250
    assert samples.value("gateway_limit_remaining_ratio_count") == 1000
    assert samples.value("gateway_limit_remaining_ratio_sum") == pytest.approx(450.0)
    assert samples.value("gen_ai_client_token_usage_sum", gen_ai_token_type="output") == 4000


def test_memory_for_what_callers_make_up_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "BOUND_CAP", 200)
    monkeypatch.setattr(request_classes, "KEPT", 50)

    def methods() -> Callable[[int], object]:
        ended = Ended()

        def end(number: int) -> None:
            ended.end(f"METHOD{number}", path=f"/v1/{number}", model="m")
            ended.registry.settle()

        return end

    assert memory_growth(methods, 400) < 1.3


def test_tenants_without_a_label_of_their_own_share_one_subtotal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_classes, "KEPT", 20)

    def tenants() -> Callable[[int], object]:
        ended = Ended(tenants=10)
        return lambda number: ended.end(principal=Principal("s", "corp", tenant=f"tenant {number}"))

    assert memory_growth(tenants, 100) < 1.1


def test_tokens_with_and_without_details_count_and_cost_alike() -> None:
    ended = Ended()
    for usage in (
        Usage(1_000_000, 1_000_000),
        Usage(1_000_000, 1_000_000, cached=10, cache_write=20, reasoning=30),
        Usage(1_000_000, 1_000_000, estimated=True),
    ):
        ended.end(model="m", upstream="up", usage=usage)
    samples = ended.samples
    assert samples.value("gateway_cost_total", model="m", currency="EUR") == 9.0
    for kind in ("input", "output"):
        assert samples.value("gateway_tokens_total", type=kind, source="reported") == 2_000_000
        assert samples.value("gateway_tokens_total", type=kind, source="estimated") == 1_000_000
        usage_of = {"gen_ai_token_type": kind}
        assert samples.value("gen_ai_client_token_usage_count", **usage_of) == 2
        assert samples.value("gen_ai_client_token_usage_sum", **usage_of) == 2_000_000
    for kind, count in (("cached", 10), ("cache_write", 20), ("reasoning", 30)):
        assert samples.value("gateway_tokens_total", type=kind, source="reported") == count


def test_a_request_that_ends_after_a_reload_is_counted_too() -> None:
    ended = Ended()
    before = ended.counting
    ended.end()
    ended.counting = Counting(ended.registry, Names(), tenants=10, tokens=True)
    ended.end()
    ended.counting = before
    ended.end()
    assert ended.samples.value("gateway_requests_total") == 3


def test_a_sampled_request_leaves_its_trace_as_an_exemplar() -> None:
    ended = Ended()
    ended.end(trace=Trace("ab" * 16, sampled=True))
    ended.end()
    found = [
        one.exemplar.labels
        for one in ended.samples.of("http_server_request_duration_seconds_bucket")
        if one.exemplar is not None
    ]
    assert found == [{"trace_id": "ab" * 16}]


def test_what_another_model_served_costs_what_that_one_costs() -> None:
    ended = Ended()
    usage = Usage(1_000_000, 1_000_000)
    ended.end(model="dear", served="m", upstream="up", usage=usage)
    ended.end(model="dear", upstream="up", usage=usage)
    samples = ended.samples
    assert samples.value("gateway_cost_total", model="m", currency="EUR") == 3.0
    assert samples.value("gateway_cost_total") == 3.0
    assert samples.value("gateway_tokens_total", model="dear", type="input") == 1_000_000


def test_every_error_of_the_conventions_has_a_type() -> None:
    ended = Ended()
    ended.end(status=502, failure=Failure("upstream_reset", None))
    ended.end(status=500)
    ended.end(status=404)
    errors = {one.labels.get("error_type", "") for one in ended.samples.of(f"{_HTTP}_count")}
    assert errors == {"upstream_reset", "500", ""}


def test_made_up_paths_of_a_model_are_one_operation() -> None:
    ended = Ended()
    for number in range(10_000):
        ended.end(model="m", upstream="up", path=f"/v1/{number}")
    ended.end(model="m", upstream="up", path="/v1/embeddings")
    count = "gen_ai_client_operation_duration_seconds_count"
    assert ended.samples.value(count, gen_ai_operation_name="other") == 10_000
    assert ended.samples.value(count, gen_ai_operation_name="embeddings") == 1


_HTTP = table.HTTP_DURATION.name
