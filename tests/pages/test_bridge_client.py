"""The client that docs/bridge.md shows, in Chromium, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.support.gateway import GatewayProcess
from tests.support.tokens import bearer

pytestmark = pytest.mark.asyncio(loop_scope="session")
PAGE = Path(__file__).parents[2] / "docs" / "bridge.md"
CLIENT, USE = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
TASK = """
async (token) => {
  let text = "";
  const messages = [{ role: "user", content: "Hello" }];
  %s
  const stalled = bridge.create("b", { model: "demo-stall", messages }, () => bridge.cancel("b"));
  const failed = bridge.create("c", { model: "nobody's", messages }, () => {});
  const cancelled = await stalled;
  const error = await failed.catch((error) => error);
  bridge.socket.close(1000);
  return [text, cancelled.type, error.code];
}
"""


async def test_the_client_of_the_documentation_works(
    gateway: GatewayProcess, chromium: Browser
) -> None:
    page = await chromium.new_page()
    await page.goto(f"http://127.0.0.1:{gateway.port}/v1/stream")  # an error, of the right origin
    await page.add_script_tag(content=CLIENT.replace("class Bridge", "window.Bridge = class"))
    use = USE.replace("wss://llm.example.com", f"ws://127.0.0.1:{gateway.port}")
    token = bearer(sub="reader").rpartition(" ")[2]
    text, ended, code = await page.evaluate(TASK % use.replace("llama-3", "demo"), token)
    await page.close()
    assert len(text.split()) > 3
    assert (ended, code) == ("cancelled", "model_not_found")
