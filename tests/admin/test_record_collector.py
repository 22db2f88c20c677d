"""Records of requests reach the store, whoever ends or dies meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.support.admin import admin, told, until
from tests.support.client import ask
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.metrics import scraped_until
from tests.support.otlp import dead_collector, hanging_collector, http_collector, plain
from tests.support.traces import chat, listed, model_config, telemetry
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
)
from tests.support.waiting import asked_until

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


async def test_what_all_workers_served_is_in_one_store_and_goes_to_one_collector(
    start_gateway_process: StartGatewayProcess,
) -> None:
    with http_collector() as received:
        async with ScriptedUpstream(json_reply({"model": "m-1"})) as upstream:
            gateway = await start_gateway_process(
                model_config(upstream, server={"workers": 2}),
                telemetry=telemetry(otlp=received.url),
            )
            await asyncio.gather(*(ask(gateway.port, chat()) for _ in range(40)))
            requests = await listed(gateway, 40)
            spans = await asyncio.to_thread(received.wait, 40 * 3)
        lines = await asyncio.to_thread(lambda: gateway.log.requests)
    assert len({one["request_id"] for one in requests}) == 40
    assert {line["worker"] for line in lines} == {0, 1}, "both had some"
    servers = [span for span in spans if span.kind == 2]
    assert {span.trace_id.hex() for span in servers} == {one["trace"] for one in requests}
    assert plain(servers[0].attributes)["http.route"] == "/v1/chat/completions"


async def test_what_a_worker_has_at_its_end_is_not_lost(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}), telemetry=telemetry()
        )
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
        await gateway.stop()
    with contextlib.closing(sqlite3.connect(tmp_path / ".gateway" / "traces.db")) as db:
        assert db.execute("SELECT count(*) FROM requests").fetchone() == (20,)
        assert db.execute("SELECT sum(requests) FROM usage").fetchone() == (20,)


async def test_an_admin_process_that_dies_costs_no_record(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url), telemetry=telemetry())
        children = Path(f"/proc/{gateway.master_pid}/task/{gateway.master_pid}/children")
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(5)))
        await listed(gateway, 5)
        (other,) = set(map(int, children.read_text().split())) - set(gateway.worker_pids)
        os.kill(other, signal.SIGKILL)
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(5)))
        await gateway.log.wait_for(lambda line: line["event"] == "restarted")
        await gateway.log.wait_for(lambda line: line["event"] == "restarted")
        await asked_until(
            lambda: admin(gateway, "GET", "/api/traces"),
            lambda page: len(page.json().get("requests", ())) == 10,
            unless=(OSError, AssertionError, ValueError),
            patience_s=20,
        )


async def timed(gateway: GatewayProcess, count: int) -> list[float]:
    """Seconds that requests take, one after the other."""
    found = []
    for _ in range(count):
        started = time.perf_counter()
        assert (await ask(gateway.port, GET)).status == 200
        found.append(time.perf_counter() - started)
    return found


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


async def test_o9_a_collector_that_does_not_answer_costs_no_time(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    """Three gateways, asked in turn: one has no collector, the others one that is no use."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")  # until spans count as lost
    async with ScriptedUpstream(json_reply({})) as upstream:
        with dead_collector() as dead, hanging_collector() as hanging:
            config = simple_config(upstream.url)
            kinds = {"none": {}, "down": {"otlp": dead}, "hanging": {"otlp": hanging}}
            started = await asyncio.gather(
                *(
                    start_gateway_process(config, telemetry=telemetry(**traces))
                    for traces in kinds.values()
                )
            )
            gateways = dict(zip(kinds, started, strict=True))
            taken: dict[str, list[float]] = {kind: [] for kind in gateways}
            for _ in range(8):
                for kind, gateway in gateways.items():
                    taken[kind] += await timed(gateway, 5)
            for kind in ("down", "hanging"):
                added_ms = (median(taken[kind]) - median(taken["none"])) * 1e3
                report("O9", f"collector {kind}: median latency added, ms", round(added_ms, 3))
                # A gateway that waited for it would take its timeout.
                assert median(taken[kind]) < 0.9
                await listed(gateways[kind], 40)
                assert (await told(gateways[kind], "/api/telemetry"))["dropped"] == 0
            down = gateways["down"]
            state = await until(down, "/api/telemetry", lambda state: state["export"]["lost"] > 0)
            assert state["export"]["why"]
            await scraped_until(
                down,
                lambda one: one.value("gateway_trace_exported_spans_total", outcome="lost") > 0,
            )
            line = await down.log.wait_for(lambda line: line["event"] == "trace_export")
            assert line["state"] == "failing"


async def test_a_store_that_cannot_be_written_costs_one_line_and_no_request(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url), telemetry=telemetry(local="file/traces.db")
        )
        assert (await ask(gateway.port, GET)).status == 200
        line = await gateway.log.wait_for(lambda line: line["event"] == "trace_store")
        assert line["state"] == "failing"
        assert line["file"] == str(tmp_path / "file/traces.db")
        assert (await ask(gateway.port, GET)).status == 200
        await scraped_until(gateway, lambda one: one.value("gateway_trace_store_lost_total") == 2)
        page = await admin(gateway, "GET", "/api/traces")
        assert page.status in (200, 503)
        assert (await told(gateway, "/api/workers"))["workers"]


async def test_without_a_listener_traces_are_collected_all_the_same(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        with http_collector() as received:
            gateway = await start_gateway_process(
                simple_config(upstream.url), telemetry=telemetry(otlp=received.url), admin=None
            )
            await ask(gateway.port, GET)
            await asyncio.to_thread(received.wait, 2)
