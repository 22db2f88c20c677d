"""Configurations of examples/, served in front of the demo backend.

The backend is the demo one under each upstream's own base path, and shows what it was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml
from aiohttp import web

from gateway.cli import main
from gateway.demo import backend
from tests.support.gateway import StartGateway, config_text

EXAMPLES = Path(__file__).parents[2] / "examples"
SECRETS = {
    "JWT_SECRET": "a-secret-of-thirty-two-characters-or-more",
    "OPENAI_API_KEY": "sk-openai",
    "AZURE_OPENAI_API_KEY": "azure-key",
    "ANTHROPIC_API_KEY": "sk-ant",
}
HELLO = [{"role": "user", "content": "Hello"}]


class Backend:
    """The demo backend below a base path. It keeps the requests it was sent."""

    def __init__(self, base: str) -> None:
        self.asked: list[web.BaseRequest] = []
        self.refuses = False
        """Answer 503 to everything."""
        self._base = base
        application = backend.build(pace_s=0.0)
        application.middlewares.insert(0, self._keep)
        if base:
            outer = web.Application()
            outer.add_subapp(base, application)
            application = outer
        self._runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1
        )

    @web.middleware
    async def _keep(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request)
        if self.refuses:
            raise web.HTTPServiceUnavailable
        response: web.StreamResponse = await handler(request)
        return response

    async def start(self) -> str:
        """Listen; return the endpoint's URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}{self._base}"

    async def stop(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()


class Example:
    """Example file, served by a gateway in front of backends of the test."""

    def __init__(self, start: StartGateway, file: Path, backends: dict[str, Backend]) -> None:
        self._start = start
        self.url = ""
        self.file = file
        """The configuration as it is served, for the command line."""
        self.backends = backends

    async def serve(self) -> None:
        """Start the gateway."""
        self.url = (await self._start(self.file.read_text())).url

    async def command(self, *arguments: str) -> str:
        """Return what `gateway ARGUMENTS --config FILE` prints."""
        return await asyncio.to_thread(_printed, [*arguments, "--config", str(self.file)])

    async def chat(self, model: str, credential: str | None = None) -> str:
        """The text of a streamed answer of OpenAI's API."""
        headers = {"Authorization": f"Bearer {credential}"} if credential else {}
        body = {"model": model, "stream": True, "messages": HELLO}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False) as http:
            answer = await http.post("/v1/chat/completions", json=body)
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"].startswith("text/event-stream")
        events = re.findall(r"^data: (\{.+)$", answer.text, re.MULTILINE)
        assert "data: [DONE]" in answer.text
        choices = [choice for event in events for choice in json.loads(event)["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)


def _printed(arguments: list[str]) -> str:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main(arguments) == 0
    return out.getvalue().strip()


class Prepare:
    """Makes an example ready to serve, by its name."""

    def __init__(self, start_gateway: StartGateway, folder: Path) -> None:
        self._start = start_gateway
        self._folder = folder
        self.running: list[Backend] = []

    async def __call__(self, name: str, **sections: Any) -> Example:
        document = yaml.safe_load((EXAMPLES / name).read_text())
        backends = {}
        for upstream, options in document["upstreams"].items():
            base = urlsplit(options["endpoints"][0]["url"]).path
            backends[upstream] = Backend(base)
            self.running.append(backends[upstream])
            options["endpoints"] = [{"url": await backends[upstream].start()}]
        document |= {"server": {}, "demo": None}
        file = self._folder / "config.yaml"
        file.write_text(config_text(document, sections))
        return Example(self._start, file, backends)


def sent(backend: Backend) -> web.BaseRequest:
    """The one generation it was asked for."""
    [request] = (one for one in backend.asked if one.method == "POST")
    return request
