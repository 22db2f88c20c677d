"""Gateways that record requests, and the requests that are in their trace store."""

from __future__ import annotations

import json
from typing import Any

from tests.support.admin import until
from tests.support.client import request
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.upstream import ScriptedUpstream

CANARY = "canary7f3a"
"""Text of every prompt that `chat` sends."""


def telemetry(**traces: Any) -> dict[str, Any]:
    """Return a section `telemetry` that samples every request."""
    return {"log": {"format": "json"}, "traces": {"sample": 1, **traces}}


def model_config(upstream: ScriptedUpstream, **more: Any) -> dict[str, Any]:
    """Return a configuration with one route and one model that has a price."""
    config = simple_config(upstream.url, **more)
    config["models"] = {"m": {"upstream": "main", "price": {"input": 2.0, "output": 10.0}}}
    config["routes"][0]["models"] = ["m"]
    return config


def chat(*lines: str) -> bytes:
    """Return a chat request with these header lines."""
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": CANARY}]}).encode()
    headers = ["Connection: close", *lines]
    return request("POST", "/v1/chat/completions", headers=headers, body=body)


async def listed(gateway: GatewayProcess, count: int, query: str = "") -> list[dict[str, Any]]:
    """Return the requests in the store, once there are so many."""
    page = await until(
        gateway,
        f"/api/traces?limit=500{query}",
        lambda page: len(page.get("requests", ())) >= count,
    )
    found: list[dict[str, Any]] = page["requests"]
    return found
