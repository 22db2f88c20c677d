"""The page Upstreams: models that backends list, and backends that start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.support.browser import Opened, Screen
from tests.support.client import RawClient, request
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess
from tests.support.listing_backend import ListingBackend, answer, discovering, vllm_list

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_the_models_of_a_backend_are_shown_and_listed_by_a_button(
    chromium: Browser, tmp_path: Path, fork_server: ForkServer
) -> None:
    async with ListingBackend(vllm_list("llama", "secret")) as backend:
        settings = {"discover_models": {"hide": ["secret"], "every": "1h"}, "wake": {}}
        config = discovering(("vllm", backend.url, settings), models=["*"])
        file = tmp_path / "gateway.yaml"
        gateway = GatewayProcess(config, {}, file, fork_server=fork_server)
        await gateway.start()
        try:
            opened = await Opened.start(chromium, gateway, "/upstreams", Screen())
            page = opened.page
            models = page.get_by_role("region", name="vllm").locator("details")
            await expect(models).to_contain_text("1 models discovered")
            await models.locator("summary").click()
            await expect(models).to_contain_text("llama")
            await expect(models).to_contain_text("1 hidden")
            assert await opened.axe() == []
            backend.shows(vllm_list("llama", "qwen"))
            await models.get_by_role("button", name="List now").click()
            await expect(models).to_contain_text("qwen")
            backend.answers["llama"] = answer({}, "503 Service Unavailable", "Retry-After: 1")
            async with RawClient(gateway.port) as client:
                body = json.dumps({"model": "llama", "messages": []}).encode()
                await client.send(request("POST", "/v1/chat/completions", body=body))
                card = page.get_by_role("region", name="vllm", exact=True)
                await expect(card).to_contain_text("starting for")
            await opened.close()
        finally:
            await gateway.stop()
