"""Traces of a whole gateway: kept locally, sent to a collector, asked for; O9 and X2."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import admin, told, until
from tests.support.client import ask, request
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.metrics import scraped_until
from tests.support.otlp import dead_collector, hanging_collector, http_collector, plain
from tests.support.tokens import Auth, bearer
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
    raw_reply,
    reply,
    reply_then_reset,
    sse_reply,
)

CANARY = "canary7f3a"
GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def telemetry(**traces: Any) -> dict[str, Any]:
    """A section that samples everything."""
    return {"log": {"format": "json"}, "traces": {"sample": 1, **traces}}


def model_config(upstream: ScriptedUpstream, **more: Any) -> dict[str, Any]:
    """One route, one model with a price."""
    config = simple_config(upstream.url, **more)
    config["models"] = {"m": {"upstream": "main", "price": {"input": 2.0, "output": 10.0}}}
    config["routes"][0]["models"] = ["m"]
    return config


def chat(*lines: str) -> bytes:
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": CANARY}]}).encode()
    headers = ["Connection: close", *lines]
    return request("POST", "/v1/chat/completions", headers=headers, body=body)


async def listed(gateway: GatewayProcess, count: int, query: str = "") -> list[dict[str, Any]]:
    """The requests in the store, once there are so many."""
    page = await until(
        gateway,
        f"/api/traces?limit=500{query}",
        lambda page: len(page.get("requests", ())) >= count,
    )
    found: list[dict[str, Any]] = page["requests"]
    return found


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


async def test_a_trace_is_found_by_either_id_with_its_spans(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(reply_then_reset()) as upstream:
        gateway = await start_gateway_process(
            simple_config(
                upstream.url,
                server={"trusted_proxies": ["127.0.0.1"]},
                upstream={"retries": {"attempts": 0}},
            ),
            telemetry=telemetry(sample=0),
        )
        answer = await ask(gateway.port, request(headers=["X-Request-ID: theirs-1"]))
        trace = (answer.value("x-trace-id") or b"").decode()
        (one,) = await listed(gateway, 1, "&id=theirs&status=5xx&kept=error")
        assert (one["trace"], one["request_id"]) == (trace, "theirs-1")
        assert "marks" not in one
        for identity in (trace, "theirs-1"):
            found = await told(gateway, f"/api/traces/{identity}")
            assert found["trace_id"] == trace
            names = [span["name"] for span in found["requests"][0]["spans"]]
            assert names == ["GET /v1/", "GET"]
        assert (await admin(gateway, "GET", "/api/traces/unknown")).status == 404
        await assert_questions_are_understood(gateway)


async def test_a_request_says_in_one_sentence_what_happened_and_whose_fault_it_is(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    words = b'{"error": {"message": "CUDA out of memory"}}'
    answers = iter([reply(b"{}"), reply(words, status="500 Internal Server Error")])
    async with ScriptedUpstream(raw_reply(lambda _: next(answers))) as upstream:
        config = model_config(upstream, auth=list(auth), limits=["twice"])
        config["limits"] = {"twice": {"key": "subject", "requests": "2/day"}}
        gateway = await start_gateway_process({**config, "auth": auth}, telemetry=telemetry())
        for _ in range(3):
            await ask(gateway.port, chat(bearer(sub="ann")))
        await ask(gateway.port, chat(bearer(sub="ann", aud="billing")))
        kept = await listed(gateway, 4)
        one = (await told(gateway, f"/api/traces/{kept[0]['trace']}"))["requests"][0]
    refused, limited, failed, good = (each["verdict"] for each in kept)
    assert (good["text"][:13], good["fault"]) == ("It succeeded:", "nobody")
    assert failed["text"] == "Backend 'main' answered with status 500: CUDA out of memory."
    assert failed["fault"] == "backend"
    assert limited["text"].startswith("Limit 'twice' refused it; wait ")
    assert limited["fault"] == "client"
    assert "billing" in refused["text"]
    assert refused["fault"] == "client"
    assert one["verdict"] == refused


async def test_who_began_a_kept_stream_and_who_read_it_lead_to_each_other(
    start_gateway_process: StartGatewayProcess,
) -> None:
    events = [b'data: {"n":1}\n\n', b"data: [DONE]\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        config = model_config(upstream)
        config["routes"][0]["resume"] = {}
        gateway = await start_gateway_process(config, telemetry=telemetry())
        begun = await ask(gateway.port, chat())
        stream = (begun.value("x-stream-id") or b"").decode()
        again = request(target=f"/v1/streams/{stream}", headers=["Connection: close"])
        assert (await ask(gateway.port, again)).body.endswith(b"[DONE]\n\n")
        reader, beginner = await listed(gateway, 2)
        for one, other in ((reader, beginner), (beginner, reader)):
            page = await told(gateway, f"/api/traces/{one['request_id']}")
            (linked,) = page["requests"][0]["same_stream"]
            assert linked["request_id"] == other["request_id"]
            assert linked["reads"] is other["reads"] is (other is reader)
    assert reader["verdict"]["text"].startswith("It succeeded: read a kept stream, ")


async def test_what_is_filtered_is_exported_whole_as_csv_and_as_json_lines(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({"model": "m"})) as upstream:
        config = model_config(upstream, auth=list(auth))
        gateway = await start_gateway_process({**config, "auth": auth}, telemetry=telemetry())
        for subject in ("ann", "=ann", "ann", "ben"):
            await ask(gateway.port, chat(bearer(sub=subject)))
        await listed(gateway, 4)
        lines = await admin(gateway, "GET", "/api/traces.jsonl?subject=ann&limit=1")
        table = await admin(gateway, "GET", "/api/traces.csv?upstream=main&sort=took")
        refused = await admin(gateway, "GET", "/api/traces.csv?status=many")
    assert lines.value("content-disposition") == b'attachment; filename="requests.jsonl"'
    rows = [json.loads(line) for line in lines.body.splitlines()]
    assert [(row["subject"], row["verdict"]["fault"]) for row in rows] == [("ann", "nobody")] * 2
    assert table.value("content-type") == b"text/csv; charset=utf-8"
    read = list(csv.DictReader(table.body.decode().splitlines()))
    assert {row["subject"] for row in read} == {"ann", "'=ann", "ben"}
    took = [float(row["s"]) for row in read]
    assert took == sorted(took, reverse=True)
    assert read[0]["verdict"].startswith("It succeeded")
    assert refused.status == 400


async def assert_questions_are_understood(gateway: GatewayProcess) -> None:
    """What means nothing is told so."""
    for name, values in {
        "id": ("%25", "", "x" * 200),
        "status": ("abc", "6xx", "99"),
        "before": ("x", "1:"),
        "limit": ("many", "-1", "1.5"),
        "slower": ("fast",),
        "sort": ("name", ""),
        "order": ("up",),
        "since": ("yesterday",),
    }.items():
        for value in values:
            refused = await admin(gateway, "GET", f"/api/traces?{name}={value}")
            assert refused.status == 400, (name, value)
            assert refused.json()["error"].startswith(f"{name}: ")
    assert (await admin(gateway, "GET", "/api/usage?by=hour")).status == 400
    assert (await admin(gateway, "GET", "/api/usage?since=1.2.2026")).status == 400
    good = "since=2026-01-01T00:00:00Z&until=1e10&slower=1s&limit=1&end=complete&kept=slow"
    assert (await told(gateway, f"/api/traces?{good}"))["requests"] == []


def counted(count: int) -> Callable[[Any], bool]:
    """Whether so many requests are counted in a page of usage."""
    return lambda page: sum(row["requests"] for row in page.get("usage", ())) == count


async def test_usage_is_counted_for_all_and_outlives_the_gateway(
    start_gateway_process: StartGatewayProcess, auth: Auth, tmp_path: Path
) -> None:
    usage = {"usage": {"prompt_tokens": 1000, "completion_tokens": 100}}
    async with ScriptedUpstream(json_reply(usage)) as upstream:
        config = {**model_config(upstream, auth=list(auth)), "auth": auth}
        wanted: dict[str, Any] = {}
        for start in (1, 2):
            gateway = await start_gateway_process(config, telemetry=telemetry(sample=0))
            for _ in range(3):
                await ask(gateway.port, chat(bearer(sub="ann")))
            found = await until(
                gateway,
                "/api/usage?by=day,tenant,route,model",
                counted(3 * start),
            )
            (wanted,) = found["usage"]
            assert (await told(gateway, "/api/traces"))["requests"] == [], "none was kept"
            await gateway.stop()
    assert wanted["cost"] == pytest.approx(0.018)
    del wanted["day"], wanted["cost"]
    assert wanted == {
        "tenant": "ann",
        "route": "main",
        "model": "m",
        "currency": "USD",
        "requests": 6,
        "errors": 0,
        "limited": 0,
        "counted": 6,
        "tokens_in": 6000,
        "tokens_out": 600,
    }


async def test_what_a_worker_has_at_its_end_is_not_lost(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}), telemetry=telemetry()
        )
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
        await gateway.stop()
    with sqlite3.connect(tmp_path / ".gateway" / "traces.db") as db:
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
        async with asyncio.timeout(20):
            while True:
                try:
                    page = (await admin(gateway, "GET", "/api/traces")).json()
                except (OSError, AssertionError, ValueError):
                    page = {}
                if len(page.get("requests", ())) == 10:
                    break
                await asyncio.sleep(0.05)


# -- O9: faults of the telemetry's -----------------------------------------------------------------


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
            gateways = {
                "none": await start_gateway_process(config, telemetry=telemetry()),
                "down": await start_gateway_process(config, telemetry=telemetry(otlp=dead)),
                "hanging": await start_gateway_process(config, telemetry=telemetry(otlp=hanging)),
            }
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


async def test_without_traces_there_is_nothing_to_ask_and_no_file(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url), telemetry={"log": {"format": "json"}, "traces": None}
        )
        assert (await ask(gateway.port, GET)).status == 200
        refused = await admin(gateway, "GET", "/api/traces")
        assert (refused.status, "telemetry.traces" in refused.json()["error"]) == (404, True)
        assert (await told(gateway, "/api/telemetry"))["store"] is None
        await gateway.stop()
    assert not (tmp_path / ".gateway").exists()


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


# -- X2: secrets -----------------------------------------------------------------------------------


async def test_x2_no_secret_of_a_request_is_in_a_trace_or_in_the_store(
    start_gateway_process: StartGatewayProcess, auth: Auth, tmp_path: Path, report: Report
) -> None:
    secret = f"sk-{CANARY}-0123456789"
    with http_collector() as received:
        async with ScriptedUpstream(json_reply({"said": CANARY, "id": secret})) as upstream:
            config = model_config(upstream, auth=list(auth))
            gateway = await start_gateway_process(
                {**config, "auth": auth}, telemetry=telemetry(otlp=received.url)
            )
            body = {"model": "m", "messages": [{"role": "user", "content": CANARY}]}
            nasty = [
                f"Cookie: session={CANARY}",
                f"X-Secret: {CANARY}",
                f"User-Agent: {CANARY}",
                f"Referer: https://a.test/?{CANARY}",
                f"tracestate: a={CANARY}",
                f"baggage: a={CANARY}",
                "Connection: close",
            ]
            good = bearer(sub="ann", jti=CANARY)
            for credential in (good, f"Authorization: Bearer {CANARY}", f"X-Api-Key: {secret}"):
                await ask(
                    gateway.port,
                    request(
                        "POST",
                        f"/v1/chat/completions?api_key={CANARY}&q={CANARY}",
                        headers=[credential, *nasty],
                        body=json.dumps(body).encode(),
                    ),
                )
            # In a path and a model's name there should be none; but people do put them there.
            await ask(gateway.port, request(target=f"/v1/{secret}/x", headers=[good, *nasty]))
            unknown = json.dumps({"model": secret}).encode()
            await ask(gateway.port, request("POST", headers=[good, *nasty], body=unknown))
            requests = await listed(gateway, 5)
            await asyncio.to_thread(received.wait, 10)
            pages = [json.dumps(requests)]
            for one in requests:
                pages.append(json.dumps(await told(gateway, f"/api/traces/{one['trace']}")))
            await gateway.stop()
    files = [path.read_bytes() for path in (tmp_path / ".gateway").iterdir()]
    everything = b"\0".join([bytes(received.raw), *files, *(page.encode() for page in pages)])
    assert len(received.raw) > 1000
    hits = everything.count(CANARY.encode()) + everything.count(good.split()[-1].encode())
    report("X2", "secrets in traces and in the local store", hits)
    assert hits == 0
    assert gateway.log.raw.count(secret.encode()) == 0


# -- the log ---------------------------------------------------------------------------------------


async def test_level_and_sampling_change_in_all_workers_and_in_those_to_come(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url, server={"workers": 2}), telemetry=telemetry(local=None)
        )
        wrong: tuple[Any, ...] = (
            {"level": "loud"},
            {"sample": 2},
            {"sample": "half"},
            {"sample": True},
            {"sampel": 1},
            [],
            "x",
            {"level": ["info"]},
        )
        for body in wrong:
            assert (await admin(gateway, "PUT", "/api/log", body)).status == 400, body
        assert await told(gateway, "/api/log") == {"level": "info", "sample": 1.0}
        changed = await admin(gateway, "PUT", "/api/log", {"sample": 0})
        assert changed.json() == {"level": "info", "sample": 0.0}
        await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
        missing = request(target="/nowhere", headers=["Connection: close"])
        await ask(gateway.port, missing)
        await gateway.log.wait_for(lambda line: line.get("status") == 404)
        assert [line for line in gateway.log.requests if line["status"] == 200] == []

        os.kill(gateway.pid, signal.SIGKILL)
        await gateway.log.wait_for(lambda line: line["event"] == "restarted")
        changed = await admin(gateway, "PUT", "/api/log", {"level": "debug", "sample": 1})
        assert changed.status == 200

        async def logged_by() -> set[int]:
            await asyncio.gather(*(ask(gateway.port, GET) for _ in range(20)))
            return {line["worker"] for line in gateway.log.requests if line["status"] == 200}

        async with asyncio.timeout(20):
            while await logged_by() != {0, 1}:
                pass


async def test_usage_is_told_as_csv_in_which_no_name_is_a_formula(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    reply = {"usage": {"prompt_tokens": 30, "completion_tokens": 70, "total_tokens": 100}}
    async with ScriptedUpstream(json_reply(reply)) as upstream:
        gateway = await start_gateway_process(
            {**model_config(upstream, auth=list(auth)), "auth": auth}, telemetry=telemetry()
        )
        await ask(gateway.port, chat(bearer(org="=1+1")))
        await until(gateway, "/api/usage?by=tenant", lambda found: bool(found.get("usage")))
        response = await admin(gateway, "GET", "/api/usage.csv?by=tenant,model")
        assert (await admin(gateway, "GET", "/api/usage.csv?by=hour")).status == 400
    assert response.value("content-type") == b"text/csv; charset=utf-8"
    assert response.value("content-disposition") == b'attachment; filename="usage.csv"'
    head, row = response.body.decode().splitlines()
    assert head.startswith("tenant,model,currency,requests,")
    assert row.startswith("'=1+1,m,USD,1,")


async def test_the_lines_of_a_request_are_told(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(simple_config(upstream.url, server={"workers": 2}))
        answer, _ = await asyncio.gather(ask(gateway.port, GET), ask(gateway.port, GET))
        identity = (answer.value("x-request-id") or b"").decode()
        found = await until(
            gateway, f"/api/logs?id={identity}", lambda found: bool(found.get("lines"))
        )
        (line,) = found["lines"]
        assert (line["event"], line["request_id"], line["status"]) == ("request", identity, 200)
        for wrong in ("", "?id=", "?id=short", "?id=%0d%0aevil-header"):
            assert (await admin(gateway, "GET", f"/api/logs{wrong}")).status == 400


async def test_prompts_and_answers_are_recorded_where_a_route_says_so_redacted_and_cut(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    words = "data: " + json.dumps({"choices": [{"delta": {"content": "To ann@example.com, "}}]})
    more = "data: " + json.dumps({"choices": [{"delta": {"content": "x" * 200}}]})
    events = [f"{words}\n\n".encode(), f"{more}\n\n".encode(), b"data: [DONE]\n\n"]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        config = model_config(upstream)
        config["routes"][0]["traces"] = {"content": True}
        quiet = {**config["routes"][0], "name": "quiet", "path": "/quiet/v1/", "traces": {}}
        config["routes"].append({**quiet, "strip": False})
        gateway = await start_gateway_process(
            config, telemetry=telemetry(content="100B", redact=["canary[0-9a-f]+"])
        )
        await ask(gateway.port, chat())
        (one,) = await listed(gateway, 1)
        page = await told(gateway, f"/api/traces/{one['trace']}")
        (call,) = [s for s in page["requests"][0]["spans"] if s["kind"] == "client"]
        asked = json.loads(call["attributes"]["gen_ai.input.messages"])
        answered = json.loads(call["attributes"]["gen_ai.output.messages"])
        assert asked == [{"role": "user", "parts": [{"type": "text", "content": "***"}]}]
        (part,) = answered[0]["parts"]
        assert part["content"] == "To ***, " + "x" * 92
        assert answered[0]["finish_reason"] == "stop"
        (root,) = [s for s in page["requests"][0]["spans"] if s["kind"] == "server"]
        assert root["attributes"]["gen_ai.input.messages"] == json.dumps(
            asked, separators=(",", ":")
        )
        assert part["truncated"]
        await ask(gateway.port, chat().replace(b"/v1/", b"/quiet/v1/", 1))
        other = (await listed(gateway, 2))[0]
        assert "gen_ai.input.messages" not in json.dumps(
            await told(gateway, f"/api/traces/{other['trace']}")
        )
        assert upstream.requests[0].value("accept-encoding") is None, "it is to be read"
