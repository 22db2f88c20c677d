"""A WebSocket of a real browser: by a ticket, compressed, and only from pages that may."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.support.browser import browser_at
from tests.support.client import ask, request
from tests.support.figures import Report
from tests.support.gateway import RunningGateway, StartGateway
from tests.support.tokens import Auth, bearer
from tests.support.upstream import ScriptedUpstream, UpstreamConnection
from tests.support.websocket import config, echo

_PATIENCE_S = 40.0
_SCRIPT = """
<script>
const {url, elsewhere, tickets} = TOLD;
const visit = (ticket, messages) => new Promise(done => {
  const told = {said: []};
  const socket = new WebSocket(url + ticket, ["realtime", "openai-insecure-api-key.sk-secret"]);
  socket.onopen = () => {
    told.extensions = socket.extensions;
    messages.forEach(message => socket.send(message));
  };
  socket.onmessage = event => {
    told.said.push(event.data);
    if (told.said.length == messages.length) socket.close(4001, "thänks");
  };
  socket.onclose = event => {
    told.code = event.code; told.reason = event.reason; told.clean = event.wasClean;
    done(told);
  };
});
(async () => {
  const long = "wörld ".repeat(30000);
  const told = await visit(tickets[0], ["héllo", long]);
  told.said = told.said.map(text => text == long ? "long" : text);
  const again = await visit(tickets[0], ["never"]);
  await fetch("/told/" + location.hostname, {
    method: "POST", body: JSON.stringify({told, again})
  });
  if (elsewhere) location = elsewhere;
})();
</script>
"""


async def echo_as_realtime(connection: UpstreamConnection) -> None:
    # Browsers fail a connection whose upstream chooses none of what they offer.
    await echo(connection, "Sec-WebSocket-Protocol: realtime")


async def ticket(gateway: RunningGateway) -> str:
    raw = request("POST", "/auth/ticket", headers=[bearer(sub="ann")], body=b"")
    return str((await ask(gateway.port, raw, "POST")).json()["ticket"])


async def test_w9_a_browser_talks_from_the_page_that_may_and_from_no_other(
    start_gateway: StartGateway,
    aiohttp_server: AiohttpServer,
    auth: Auth,
    tmp_path: Path,
    report: Report,
) -> None:
    told: dict[str, Any] = {}
    heard = asyncio.Event()

    async def page(asked: web.Request) -> web.Response:
        here = "localhost" if asked.host.startswith("localhost") else "127.0.0.1"
        elsewhere = None if here == "localhost" else f"http://localhost:{asked.url.port}/"
        values = {
            "url": f"ws://127.0.0.1:{gateway.port}/v1/realtime?ticket=",
            "elsewhere": elsewhere,
            "tickets": [await ticket(gateway)],
        }
        text = _SCRIPT.replace("TOLD", orjson.dumps(values).decode())
        return web.Response(text=text, content_type="text/html", charset="utf-8")

    async def tell(asked: web.Request) -> web.Response:
        told[asked.match_info["who"]] = json.loads(await asked.text())
        if len(told) == 2:
            heard.set()
        return web.Response()

    application = web.Application()
    application.add_routes([web.get("/", page), web.post("/told/{who}", tell)])
    port = (await aiohttp_server(application)).port
    async with ScriptedUpstream(echo_as_realtime) as upstream:
        document = config(upstream.url, deflate=True, origins=[f"http://127.0.0.1:{port}"])
        document["auth"] = {**auth, "door": {"type": "ticket"}}
        document["routes"][0]["auth"] = ["door"]
        document["routes"].append(
            {
                "name": "tickets",
                "path": "/auth/ticket",
                "methods": ["POST"],
                "auth": ["corp"],
                "issues": "door",
            }
        )
        gateway = await start_gateway(document)
        async with browser_at(f"http://127.0.0.1:{port}/", tmp_path / "profile"):
            async with asyncio.timeout(_PATIENCE_S):
                await heard.wait()
    served, foreign = told["127.0.0.1"], told["localhost"]
    report("W9", "in Chromium, the page that may: close code", served["told"]["code"])
    report("W9", "in Chromium, another page: close code", foreign["told"]["code"])
    assert served["told"] == {
        "said": ["héllo", "long"],
        "extensions": "permessage-deflate; server_max_window_bits=12; client_max_window_bits=12",
        "code": 4001,
        "reason": "thänks",
        "clean": True,
    }
    assert served["again"]["code"] == 1006  # a ticket enters once
    assert foreign["told"] == {"said": [], "code": 1006, "reason": "", "clean": False}
    assert len(upstream.requests) == 1
    assert upstream.requests[0].values("sec-websocket-protocol") == [b"realtime"]
    errors = {line.get("error") for line in gateway.log.requests}
    assert {"invalid_api_key", "origin_not_allowed"} <= errors
