"""Many generations over one socket: what is said, by whom, and how it ends."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.support.bridge import bridge_client, bridged, texts
from tests.support.client import ask, request
from tests.support.exchange import EVENTS
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.refusal import assert_error
from tests.support.upstream import (
    ScriptedUpstream,
    json_reply,
    reply,
    raw_reply,
    sse_reply,
    stepped_stream,
)


def requests(gateway: RunningGateway) -> list[dict[str, Any]]:
    """The access lines of generations."""
    return [line for line in gateway.log.requests if "bridge" in line]


async def test_a_generation_is_said_event_by_event(start_gateway: StartGateway) -> None:
    async with ScriptedUpstream(sse_reply([*EVENTS, b"data: [DONE]\n\n"])) as upstream:
        gateway = await start_gateway(bridged(upstream.url))
        async with bridge_client(gateway.port) as client:
            await client.create("a", body={"model": "m", "messages": []})
            heard = await client.end_of("a")
        (asked,) = upstream.requests
        line = await gateway.wait_for_log(lambda line: "bridge" in line)
    assert [message["type"] for message in heard] == ["created", "event", "event", "done"]
    assert texts(heard) == [{"n": 1}, {"n": 2}]
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert json.loads(asked.body) == {"model": "m", "messages": [], "stream": True}
    assert line["request_id"] == heard[0]["request_id"]
    assert (line["route"], line["status"], line["end"]) == ("main", 200, "complete")
