"""Metrics of the whole gateway: right with several workers, whatever happens to them."""

from __future__ import annotations

import asyncio
import os
import signal

import yaml

from tests.support.admin import admin, told, until
from tests.support.client import ask
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.metrics import Samples, scraped, scraped_until
from tests.support.upstream import ScriptedUpstream, json_reply, sse_reply

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def requests(samples: Samples) -> float:
    return samples.value("gateway_requests_total", route="main")


async def test_two_workers_are_one_gateway(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(60)))
        samples = await scraped_until(gateway, lambda one: requests(one) == 60)
    assert samples.value("http_server_request_duration_seconds_count", route="main") == 60
    assert samples.value("gateway_upstream_requests_total", upstream="main", code="2xx") == 60
    assert samples.value("gateway_workers", state="up") == 2
    healthy = samples.value("gateway_endpoint_state", endpoint=upstream.url, state="healthy")
    assert healthy == 2
    assert {one.labels["worker"] for one in samples.of("gateway_worker_memory_bytes")} == {
        *("0", "1")
    }
    build = samples.of("gateway_build_info")
    assert [one.value for one in build] == [1.0]
    assert build[0].labels.keys() == {"version", "python", "aiohttp"}


async def test_counters_stay_when_a_worker_is_killed(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(40)))
        await scraped_until(gateway, lambda one: requests(one) == 40)
        os.kill(gateway.worker_pids[0], signal.SIGKILL)
        assert requests(await scraped(gateway)) == 40
        await gateway.log.wait_for(lambda line: line["event"] == "restarted")
        await until(gateway, "/livez", lambda document: document["live"])
        assert requests(await scraped(gateway)) == 40
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
        samples = await scraped_until(gateway, lambda one: requests(one) >= 60)
    assert requests(samples) == 60
    assert samples.value("gateway_worker_starts_total") == 3


async def test_counters_stay_through_a_reload_and_it_is_counted(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url))
        await ask(gateway.port, GET)
        await scraped_until(gateway, lambda one: requests(one) == 1)
        assert (await admin(gateway, "POST", "/api/reload")).status == 200
        await ask(gateway.port, GET)
        samples = await scraped_until(gateway, lambda one: requests(one) == 2)
        assert samples.value("gateway_config_reloads_total", outcome="ok") == 1
        assert samples.value("gateway_config_last_reload_successful") == 1
        gateway.file.write_text(gateway.file.read_text() + "\nnonsense: 1\n")
        assert (await admin(gateway, "POST", "/api/reload")).status == 400
        samples = await scraped(gateway)
    assert requests(samples) == 2
    assert samples.value("gateway_config_reloads_total", outcome="failed") == 1
    assert samples.value("gateway_config_last_reload_successful") == 0


async def test_the_newer_names_and_none_at_all_are_a_setting_away(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(sse_reply([b"data: 1\n\n"])) as upstream:
        gateway = await start_gateway_process(
            {
                "upstreams": {"main": {"endpoints": [{"url": upstream.url}]}},
                "models": {"m": {"upstream": "main"}},
                "routes": [{"name": "main", "path": "/v1/", "auth": "anonymous", "models": ["m"]}],
                "telemetry": {"log": {"format": "json"}, "metrics": {"semconv": "next"}},
            }
        )
        body = b'{"model":"m"}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        head += b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
        await ask(gateway.port, head + body, "POST")
        name = "gen_ai_client_inference_duration_seconds_count"
        await scraped_until(gateway, lambda one: one.value(name) == 1)
        document = yaml.safe_load(gateway.file.read_text())
        document["telemetry"]["metrics"] = None
        gateway.file.write_text(yaml.safe_dump(document))
        assert (await admin(gateway, "POST", "/api/reload")).status == 200
        refused = await admin(gateway, "GET", "/metrics")
    assert refused.status == 404
    assert b"telemetry.metrics" in refused.body


async def test_now_tells_rates_by_route_and_upstream(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url),
            first="import gateway.admin.metrics as metrics; metrics.STEP_S = 0.2",
        )
        empty = await told(gateway, "/api/now")
        assert empty["total"]["requests_per_s"] == 0
        assert [row["name"] for row in empty["routes"]] == ["main"]
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(10)))
        document = await until(gateway, "/api/now", lambda one: one["total"]["requests_per_s"] > 0)
    assert 0 < document["window_s"] < 60
    counted = document["total"]["requests_per_s"] * document["window_s"]
    assert round(counted) == 10
    assert document["routes"][0]["duration_s"]["p50"] > 0
    assert document["hour"]["requests_per_s"][-1] > 0


async def test_exemplars_lead_to_the_traces_of_sampled_requests(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url),
            telemetry={"log": {"format": "json"}, "traces": {"sample": 1.0, "local": None}},
        )
        await ask(gateway.port, GET)
        samples = await scraped_until(gateway, lambda one: requests(one) == 1)
        line = await gateway.log.wait_for(lambda line: line["event"] == "request")
    buckets = samples.of("http_server_request_duration_seconds_bucket", route="main")
    traces = {one.exemplar.labels["trace_id"] for one in buckets if one.exemplar is not None}
    assert traces == {line["trace_id"]}
