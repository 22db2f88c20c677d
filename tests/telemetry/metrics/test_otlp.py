"""Metrics that are sent by OTLP."""

from __future__ import annotations

import asyncio

from aiohttp import web
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from pytest_aiohttp import AiohttpServer

from tests.support.client import ask
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.metrics import Samples, scraped_until
from tests.support.upstream import ScriptedUpstream, json_reply

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def requests(samples: Samples) -> float:
    return samples.value("gateway_requests_total", route="main")


class Collector:
    """Takes OTLP over HTTP, and decodes it."""

    def __init__(self) -> None:
        self.metrics: dict[str, object] = {}
        self.requests: list[ExportMetricsServiceRequest] = []
        self.received = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        document = ExportMetricsServiceRequest()
        document.ParseFromString(await request.read())
        self.requests.append(document)
        self.received.set()
        return web.Response(content_type="application/x-protobuf")


async def test_otlp_carries_what_metrics_show(
    start_gateway_process: StartGatewayProcess, aiohttp_server: AiohttpServer
) -> None:
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/metrics", collector.take)
    server = await aiohttp_server(application)
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}),
            telemetry={
                "log": {"format": "json"},
                "metrics": {"otlp": str(server.make_url("")), "interval": "1s"},
            },
        )
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(30)))
        async with asyncio.timeout(20):
            while _total(collector) != 30:
                collector.received.clear()
                await collector.received.wait()
    last = collector.requests[-1].resource_metrics[0]
    resource = {one.key: one.value.string_value for one in last.resource.attributes}
    assert resource["service.name"] == "llm-gateway"
    found = {metric.name: metric for metric in last.scope_metrics[0].metrics}
    counted = found["gateway.requests"]
    assert counted.sum.is_monotonic
    assert counted.sum.aggregation_temporality == 2  # cumulative
    duration = found["http.server.request.duration"]
    assert duration.unit == "s"
    [point] = duration.histogram.data_points
    assert point.count == sum(point.bucket_counts) == 30
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    attributes = {one.key: one.value.string_value for one in point.attributes}
    assert attributes["http.request.method"] == "GET"
    assert attributes["http.route"] == "/v1/"
    assert "error.type" not in attributes
    assert found["gateway.workers"].gauge.data_points


def _total(collector: Collector) -> int:
    if not collector.requests:
        return 0
    metrics = collector.requests[-1].resource_metrics[0].scope_metrics[0].metrics
    points = [p for one in metrics if one.name == "gateway.requests" for p in one.sum.data_points]
    return int(sum(point.as_double for point in points))


async def test_a_collector_that_is_away_is_told_of_once_and_holds_up_nothing(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url),
            first="import gateway.telemetry.metrics.otlp as otlp; otlp._TIMEOUT_S = 0.2",
            telemetry={
                "log": {"format": "json"},
                "metrics": {"otlp": "http://127.0.0.1:1/v1/metrics", "interval": "1s"},
            },
        )
        await gateway.log.wait_for(lambda line: line["event"] == "metrics")
        assert (await ask(gateway.port, GET)).status == 200
        await scraped_until(gateway, lambda one: requests(one) == 1)
    assert sum(line["event"] == "metrics" for line in gateway.log.lines) == 1
