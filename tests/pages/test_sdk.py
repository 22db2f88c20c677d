"""OpenAI's SDK in a page of another origin, with a route's default CORS headers."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser

from gateway.demo import DemoBackend
from tests.support.fork_server import ForkServer
from tests.support.gateway import GatewayProcess, simple_config
from tests.support.tokens import CORP, SECRET, SECRET_VARIABLE, bearer

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPENAI = Path(__file__).parents[1] / "node/node_modules/openai"
ASK = """async ([baseURL, apiKey]) => {
  const { default: OpenAI } = await import("/openai/index.mjs");
  const client = new OpenAI({ baseURL, apiKey, dangerouslyAllowBrowser: true, maxRetries: 0 });
  const { data, response, request_id } = await client.chat.completions.create(
    { model: "demo", stream: true, messages: [{ role: "user", content: "hi" }] },
    { idempotencyKey: "k" },
  ).withResponse();
  let text = "";
  for await (const chunk of data) text += chunk.choices[0]?.delta?.content ?? "";
  const refused = await new OpenAI({ baseURL, apiKey: "wrong", dangerouslyAllowBrowser: true })
    .models.list().then(() => "", (error) => `${error.status} ${error.message}`);
  return [text, request_id, response.headers.get("x-request-id"), refused];
}"""


async def _page(_: web.Request) -> web.Response:
    return web.Response(text="<!doctype html>", content_type="text/html")


async def test_openais_sdk_streams_from_a_page_of_another_origin(
    chromium: Browser, backend: DemoBackend, tmp_path: Path, fork_server: ForkServer
) -> None:
    app = web.Application()
    app.router.add_get("/", _page)
    app.router.add_static("/openai", OPENAI)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    page_origin = f"http://127.0.0.1:{runner.addresses[0][1]}"
    cors = {"origins": [page_origin]}
    config = {**simple_config(backend.url, auth=["corp"], cors=cors), "auth": CORP}
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(SECRET_VARIABLE, SECRET)
        gateway = GatewayProcess(config, {}, tmp_path / "gateway.yaml", fork_server=fork_server)
        await gateway.start()
    context = await chromium.new_context()
    try:
        page = await context.new_page()
        await page.goto(page_origin)
        told = [f"http://127.0.0.1:{gateway.port}/v1", bearer().rpartition(" ")[2]]
        text, request_id, header, refused = await page.evaluate(ASK, told)
    finally:
        await context.close()
        await gateway.stop()
        await runner.cleanup()
    assert text
    assert request_id == header
    assert header
    assert refused.startswith("401 ")
    assert "The credential is not of a kind that is accepted here" in refused
