"""examples/one-origin: nginx serves pages and API, and each page survives a lost connection.

The pages run in Chromium, over HTTP/2, through the shipped nginx configuration.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import yaml
from playwright.async_api import Browser, Page, Route, expect

from gateway.cli.token import mint
from gateway.config.models import JwtProviderSettings
from tests.support.gateway import RunningGateway
from tests.support.link import Link
from tests.support.nginx import Nginx
from tests.support.upstream import ScriptedUpstream, stepped_stream

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples/one-origin"
MODULES = ROOT / "tests/node/node_modules"
PATIENCE_MS = 15_000
WATCH = """
Math.random = () => 0;  // no jitter
window.violations = [];
document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI }) =>
  window.violations.push(`${violatedDirective}: ${blockedURI}`));
"""


def event(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


DONE = b"data: [DONE]\n\n"


class Site:
    """The example, as it runs, and the network in front of it."""

    upstream: ScriptedUpstream
    """Backend of the test that runs."""

    def __init__(self, gateway: RunningGateway, link: Link, backend: Link) -> None:
        self.link = link
        self.backend = backend
        """Link to the backend."""
        self.url = f"https://localhost:{link.port}"
        self.gateway_url = gateway.url
        provider = gateway.config.auth["users"]
        assert isinstance(provider, JwtProviderSettings)
        self.token = mint(provider, 600, subject="ann")


@pytest.fixture(scope="session")
def www() -> Iterator[Path]:
    """The folder of the pages, with React's bundled as the page says."""
    # nginx's workers may be another user, who may not enter the folders of pytest.
    with tempfile.TemporaryDirectory(prefix="one-origin-") as folder:
        Path(folder).chmod(0o755)
        www = Path(folder) / "www"
        shutil.copytree(FOLDER / "www", www)
        _bundle(www)
        yield www


def _bundle(www: Path) -> None:
    said = (www / "react.js").read_text()
    [command] = re.findall(r"^//   npx (esbuild .*)$", said, re.MULTILINE)
    subprocess.run(
        [MODULES / ".bin/esbuild", *command.split()[1:], "--log-level=warning"],
        cwd=www,
        env={**os.environ, "NODE_PATH": str(MODULES)},
        check=True,
    )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory, www: Path) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    folder.chmod(0o755)
    document = yaml.safe_load((FOLDER / "gateway.yaml").read_text())
    async with Link(0) as backend, Link(0) as link:
        document["upstreams"]["demo"]["endpoints"] = [{"url": backend.url}]
        document["auth"]["users"]["secret"]["file"] = str(folder / "secret")
        # Pages are at another port than 443 here.
        document["routes"][-1]["websocket"] = {"origins": [f"https://localhost:{link.port}"]}
        document |= {"demo": None}
        del document["server"]["listen"]
        gateway = RunningGateway(document, {})
        await gateway.start()
        locations = (FOLDER / "locations.conf").read_text().replace("/srv/www", str(www))
        async with Nginx(folder / "nginx", gateway.port, site={"locations": locations}) as nginx:
            link.target_port = nginx.port
            yield Site(gateway, link, backend)
        assert await gateway.stop() == []


@pytest_asyncio.fixture(loop_scope="session")
async def site(running: Site) -> AsyncIterator[Site]:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        running.upstream = upstream
        running.backend.target_port = upstream.port
        yield running
        running.backend.cut()


Open = Callable[[str], Awaitable[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(chromium: Browser, site: Site) -> AsyncIterator[Open]:
    """Opens a page with a token. In the end, none may have failed or broken its policy."""
    context = await chromium.new_context(ignore_https_errors=True)
    context.set_default_timeout(PATIENCE_MS)
    await context.add_init_script(WATCH)
    faults: list[str] = []

    async def start(name: str) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        await page.goto(f"{site.url}/{name}#token={site.token}")
        return page

    yield start
    for page in context.pages:
        faults += await page.evaluate("window.violations")
    await context.close()
    assert faults == []


async def test_a_page_and_the_api_have_one_origin(site: Site, open_page: Open) -> None:
    page = await open_page("")
    await page.get_by_text("fetch that reconnects").click()
    await expect(page).to_have_title("fetch that reconnects")
    async with httpx.AsyncClient(base_url=site.url, verify=False, trust_env=False) as http:
        script = await http.get("/client.js")
        refused = await http.get("/v1/models")
        static = await http.get("/style.css")
    assert script.headers["content-type"].startswith("text/javascript")
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
    assert static.headers["strict-transport-security"]
    assert static.headers["content-type"] == "text/css"


@pytest.mark.parametrize("name", ["eventsource.html", "fetch.html", "react.html"])
async def test_a_page_goes_on_after_its_connection_broke(
    site: Site, open_page: Open, name: str
) -> None:
    page = await open_page(name)
    state, answer = page.locator("#state"), page.locator("#answer")
    await page.get_by_role("button", name="Send").click()
    await site.upstream.release(event("Good"))
    await expect(answer).to_have_text("Good")
    site.link.is_up = False
    site.link.cut()
    await site.upstream.release(event(" morning"))
    await page.context.set_offline(True)
    await expect(state).to_have_text("offline")
    site.link.is_up = True
    await page.context.set_offline(False)
    await expect(answer).to_have_text("Good morning")
    await site.upstream.release(DONE)
    await site.upstream.finish()
    await expect(state).to_have_text("done")


@pytest.mark.parametrize("name", ["eventsource.html", "fetch.html", "react.html"])
async def test_stopping_in_a_page_stops_the_model(site: Site, open_page: Open, name: str) -> None:
    page = await open_page(name)
    await page.get_by_role("button", name="Send").click()
    await site.upstream.release(event("Good"))
    await expect(page.locator("#answer")).to_have_text("Good")
    await page.locator("#stop").click()
    await expect(page.locator("#state")).to_have_text("stopped")
    await site.upstream.connections[-1].wait_client_gone(5)


async def test_three_answers_go_on_over_a_new_socket(site: Site, open_page: Open) -> None:
    page = await open_page("socket.html")
    await page.get_by_role("button", name="Ask three times").click()
    answers = page.locator(".answer")
    # Each event goes to the generation that waits longest, so all three have to wait.
    await site.upstream.wait_requests(3)
    for _ in range(3):
        await site.upstream.release(event("Good"))
    await expect(answers).to_have_text(["Good"] * 3)
    site.link.cut()
    for _ in range(3):
        await site.upstream.release(event(" morning"))
    await expect(answers).to_have_text(["Good morning"] * 3)
    for _ in range(3):
        await site.upstream.release(DONE)
        await site.upstream.finish()
    await expect(page.locator("#state")).to_have_text("done")


OPEN_SOURCES = """async ([count, wait]) => {
  const { chat, headers, ticket } = await import("/session.js");
  const response = await fetch("/v1/chat/completions", {
    method: "POST", headers: headers(), body: JSON.stringify(chat("Hello")),
  });
  const id = response.headers.get("X-Stream-Id");
  await response.body.cancel();
  const tickets = [];
  for (let number = 0; number < count; number += 1) tickets.push(await ticket());
  const open = (ticket) => {
    const source = new EventSource(`/v1/streams/${id}?ticket=${ticket}`);
    const heard = new Promise((resolve) => { source.onmessage = resolve; });
    return { source, heard };
  };
  const sources = tickets.slice(0, -1).map(open);
  await Promise.all(sources.map(({ heard }) => heard));
  const last = open(tickets.at(-1));
  const later = new Promise((resolve) => { setTimeout(resolve, wait, "waits"); });
  const first = await Promise.race([last.heard.then(() => "open"), later]);
  sources[0].source.close();
  await last.heard;
  return first;
}"""


async def sources_in(page: Page, site: Site, *, count: int, wait_ms: int) -> str:
    """Open event sources, and tell whether the last one opens beside the others or waits."""
    found = asyncio.create_task(page.evaluate(OPEN_SOURCES, [count, wait_ms]))
    await site.upstream.release(event("Good"))
    try:
        return str(await found)
    finally:
        await site.upstream.finish()


async def test_twelve_event_sources_are_open_at_once_over_http2(
    site: Site, open_page: Open
) -> None:
    page = await open_page("eventsource.html")
    assert await sources_in(page, site, count=12, wait_ms=PATIENCE_MS) == "open"


async def test_the_seventh_event_source_waits_over_http1(site: Site, chromium: Browser) -> None:
    """The limit of browsers that docs/nginx.md describes: six connections to an origin."""

    async def beside(route: Route) -> None:
        script = (FOLDER / "www/session.js").read_text()
        is_script = route.request.url.endswith(".js")
        kind = "text/javascript" if is_script else "text/html"
        await route.fulfill(body=script if is_script else "", content_type=kind)

    context = await chromium.new_context()
    page = await context.new_page()
    await page.route("**/page", beside)
    await page.route("**/session.js", beside)
    await page.goto(f"{site.gateway_url}/page#token={site.token}")
    assert await sources_in(page, site, count=7, wait_ms=300) == "waits"
    await context.close()
