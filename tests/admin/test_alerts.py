"""Alerts of a running gateway: each event is sent once, whatever the number of workers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.admin import admin, told
from tests.support.client import ask
from tests.support.gateway import StartGatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply
from tests.support.waiting import eventually

GET = b"GET /v1/x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CHAT = b'{"model": "m", "messages": [{"role": "user", "content": "Hello"}]}'


def events(receiver: ScriptedUpstream) -> list[tuple[str, str, str]]:
    found = [json.loads(one.body) for one in receiver.requests]
    return [(one["kind"], one["state"], one["subject"]) for one in found]


async def test_an_upstream_that_goes_down_and_comes_back_is_told_once(
    start_gateway_process: StartGatewayProcess,
) -> None:
    async with (
        ScriptedUpstream(json_reply({})) as receiver,
        ScriptedUpstream(json_reply({}, status="503 down")) as upstream,
    ):
        health = {"path": "/health", "interval": "100ms", "healthy": 1, "unhealthy": 1}
        config = simple_config(upstream.url, server={"workers": 2}, upstream={"health": health})
        alerts = {"ops": {"url": receiver.url + "/hook", "events": ["upstream_down"]}}
        gateway = await start_gateway_process({**config, "alerts": alerts})
        await eventually(lambda: len(receiver.requests) == 1, patience_s=10)
        upstream.script = json_reply({})
        await eventually(lambda: len(receiver.requests) == 2, patience_s=10)
        metrics = (await admin(gateway, "GET", "/metrics")).body.decode()
        shown = await told(gateway, "/api/config")
    assert events(receiver) == [
        ("upstream_down", "firing", "upstream main"),
        ("upstream_down", "resolved", "upstream main"),
    ]
    assert 'gateway_alerts_total{alert="ops",outcome="sent"} 2' in metrics
    assert shown["config"]["alerts"]["ops"]["url"].endswith("/***")
    await gateway.log.wait_for(
        lambda line: line["event"] == "alert" and line["state"] == "resolved"
    )


async def test_a_budget_is_told_at_its_soft_limit_and_when_it_is_used_up(
    start_gateway_process: StartGatewayProcess, tmp_path: Path
) -> None:
    def used(tokens: int) -> dict[str, Any]:
        usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
        return {"id": "x", "object": "chat.completion", "choices": [], "usage": usage}

    async with (
        ScriptedUpstream(json_reply({})) as receiver,
        ScriptedUpstream(json_reply(used(900))) as upstream,
    ):
        config = simple_config(upstream.url, server={"workers": 2}, limits=["small"])
        config["limits"] = {"small": {"key": "ip", "budget": "1000 tokens/month"}}
        config["store"] = {"url": f"sqlite://{tmp_path}/store.db"}
        config["models"] = {"m": {"upstream": "main"}}
        del config["routes"][0]["upstream"]
        config["routes"][0]["models"] = ["m"]
        alerts = {"money": {"url": receiver.url + "/hook"}}
        gateway = await start_gateway_process({**config, "alerts": alerts})
        head = [
            *("POST /v1/chat/completions HTTP/1.1", "Host: localhost", "Connection: close"),
            *("Content-Type: application/json", f"Content-Length: {len(CHAT)}", "", ""),
        ]
        post = "\r\n".join(head).encode() + CHAT
        assert (await ask(gateway.port, post)).status == 200
        await eventually(lambda: len(receiver.requests) == 1, patience_s=10)
        await ask(gateway.port, post)
        await eventually(lambda: len(receiver.requests) == 2, patience_s=10)
    subject = "small of 127.0.0.1"
    assert events(receiver) == [
        ("budget_soft", "firing", subject),
        ("budget_exhausted", "firing", subject),
    ]
