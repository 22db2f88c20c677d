"""From a metric to its trace to its log lines, and back: one id in all that Grafana links."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.client import request
from tests.support.exchange import ask
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.metrics import scraped_until
from tests.support.otlp import http_collector
from tests.support.upstream import ScriptedUpstream, json_reply

COUNT = "gateway_requests_total"
METRIC = "http_server_request_duration_seconds_bucket"


async def test_a_metric_a_trace_and_a_log_line_have_one_id(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")  # milliseconds
    with http_collector() as collector:
        async with ScriptedUpstream(json_reply({})) as upstream:
            traces = {"sample": 1.0, "local": None, "otlp": collector.url}
            gateway = await start_gateway_process(
                simple_config(upstream.url),
                telemetry={"log": {"format": "json"}, "traces": traces},
            )
            await ask(gateway.port, request("POST", "/v1/chat/completions", body=b"{}"))
            line = await gateway.log.wait_for(lambda line: line["event"] == "request")
            samples = await scraped_until(gateway, lambda now: now.value(COUNT) == 1)
            spans = await asyncio.to_thread(collector.wait, 1)
    assert {span.trace_id.hex() for span in spans} == {line["trace_id"]}
    # Grafana's data source links by the label that it is provisioned with.
    exemplars = [one.exemplar for one in samples.of(METRIC) if one.exemplar is not None]
    assert {one.labels["trace_id"] for one in exemplars} == {line["trace_id"]}
    # The resource attribute by which a trace finds its log lines in Loki.
    assert collector.resources[0]["service.name"] == "llm-gateway"
