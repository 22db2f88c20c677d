"""Traces of a whole gateway: kept locally, sent to a collector, asked for; O9 and X2."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.admin import admin, told, until
from tests.support.client import ask, request
from tests.support.figures import Report
from tests.support.gateway import GatewayProcess, StartGatewayProcess, simple_config
from tests.support.otlp import http_collector
from tests.support.tokens import Auth, bearer
from tests.support.traces import CANARY, chat, listed, model_config, telemetry
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
    raw_reply,
    reply,
    reply_then_reset,
    sse_reply,
)
from tests.support.waiting import asked_until

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


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
        (one,) = await listed(gateway, 1, "&id=theirs&status=5xx&kept=error&error=upstream_reset")
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
        "silent": ("long",),
        "eror": ("overloaded",),
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
    for name, value in {"status": "6xx", "state": "odd", "silent": "long", "end": "x"}.items():
        refused = await admin(gateway, "GET", f"/api/requests?{name}={value}")
        assert (refused.status, refused.json()["error"].split(":")[0]) == (400, name)
    good = "since=2026-01-01T00:00:00Z&until=1e10&slower=1s&limit=1&end=complete&kept=slow"
    assert (await told(gateway, f"/api/traces?{good}&error=x&silent=1s"))["requests"] == []


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
    del wanted["day"], wanted["cost"], wanted["last"]
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
        "cached": 0,
    }


# -- O9: faults of the telemetry's -----------------------------------------------------------------


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


async def test_the_line_of_a_record_is_the_line_that_was_logged(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    words = b'{"error": {"message": "CUDA out of memory"}}'
    answers = [reply(b"{}"), *[reply(words, status="500 Internal Server Error")] * 3]
    following = iter(answers)
    async with ScriptedUpstream(raw_reply(lambda _: next(following))) as upstream:
        config = model_config(upstream, auth=list(auth), limits=["three"])
        config["limits"] = {"three": {"key": "subject", "requests": "3/day"}}
        gateway = await start_gateway_process({**config, "auth": auth}, telemetry=telemetry())
        for claims in ({}, {}, {}, {"aud": "billing"}, {"sub": "ben", "org": "acme"}):
            await ask(gateway.port, chat(bearer(**{"sub": "ann", **claims})))
        kept = await listed(gateway, 5)
        for one in kept:
            page = await told(gateway, f"/api/traces/{one['request_id']}")
            found = await told(gateway, f"/api/logs?id={one['request_id']}")
            (logged,) = found["lines"]
            line = page["requests"][0]["line"]
            assert line.keys() == logged.keys() - {"worker"}
            same = line.keys() - {"time", "duration_ms"}
            assert {name: line[name] for name in same} == {name: logged[name] for name in same}
            assert line["duration_ms"] == pytest.approx(logged["duration_ms"], abs=50)
        unknown = chat(bearer(sub="ben")).replace(b'"model": "m"', b'"model": "x"')
        await ask(gateway.port, unknown)
        (one,) = await listed(gateway, 1, "&model=x")
        assert one["verdict"]["text"] == (
            "The route does not serve model 'x', or not to this caller."
        )
        names = (await told(gateway, "/api/telemetry"))["names"]
        assert names["models"] == ["m"], "clients do not fill the list with names"
    assert {one["status"] for one in kept} == {200, 401, 500}


async def test_a_request_that_was_not_kept_is_judged_by_its_log_line(
    start_gateway_process: StartGatewayProcess, auth: Auth
) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        config = {**model_config(upstream, auth=list(auth)), "auth": auth}
        gateway = await start_gateway_process(config, telemetry=telemetry(sample=0))
        refused = await ask(gateway.port, chat(bearer(aud="billing")))
        identity = (refused.value("x-request-id") or b"").decode()
        assert b"billing" not in refused.body, "the caller is not told what its token holds"
        assert b"llm" not in refused.body
        found = await until(
            gateway, f"/api/logs?id={identity}", lambda found: bool(found.get("lines"))
        )
        assert (await admin(gateway, "GET", f"/api/traces/{identity}")).status == 404
        nothing = await told(gateway, "/api/logs?id=of-nobody-at-all")
    assert found["verdict"]["text"] == (
        "The token's `aud` is 'billing', expected 'llm' (provider 'corp')."
    )
    assert nothing == {"lines": [], "verdict": None}


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


async def test_recorded_prompts_are_for_admins_only(
    start_gateway_process: StartGatewayProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_TOKEN", "all-77de")
    tokens = {
        role: {"sha256": hashlib.sha256(role.encode()).hexdigest(), "role": role}
        for role in ("viewer", "operator")
    }
    section = {"listen": "127.0.0.1:0", "token": {"env": "ADMIN_TOKEN"}, "tokens": tokens}
    async with ScriptedUpstream(json_reply({"choices": []})) as upstream:
        config = model_config(upstream)
        config["routes"][0]["traces"] = {"content": True}
        gateway = await start_gateway_process(
            config, telemetry=telemetry(content="100B"), admin=section
        )
        await ask(gateway.port, chat())

        async def shown(path: str, token: str) -> str:
            response = await admin(gateway, "GET", path, None, f"Authorization: Bearer {token}")
            return response.body.decode()

        async def listed_requests() -> Any:
            return json.loads(await shown("/api/traces", "all-77de"))["requests"]

        [one] = await asked_until(listed_requests, bool, patience_s=20.0)
        path = f"/api/traces/{one['request_id']}"
        kept = await shown(path, "all-77de")
        assert CANARY in kept
        assert "gen_ai.input.messages" in kept
        for role in tokens:
            found = await shown(path, role)
            assert "spans" in found
            assert CANARY not in found
            assert "gen_ai.input.messages" not in found


async def test_usage_is_told_as_json_lines(start_gateway_process: StartGatewayProcess) -> None:
    async with ScriptedUpstream(json_reply({})) as upstream:
        gateway = await start_gateway_process(
            simple_config(upstream.url), telemetry={"traces": {"local": "traces.db"}}
        )
        await ask(gateway.port, request("POST", body=b"{}"))
        await until(gateway, "/api/usage", lambda found: bool(found.get("usage")))
        response = await admin(gateway, "GET", "/api/usage.jsonl?by=route,team,tag")
        assert (await admin(gateway, "GET", "/api/usage.jsonl?by=hour")).status == 400
        other = await admin(gateway, "GET", "/api/usage.jsonl?team=unknown")
    [row] = [json.loads(line) for line in response.body.splitlines()]
    assert (row["route"], row["team"], row["tag"], row["requests"]) == ("main", "", "", 1)
    assert other.body == b""
    assert response.value("content-disposition") == b'attachment; filename="usage.jsonl"'
