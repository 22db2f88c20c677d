"""Pages in a real Chromium, which is watched: forbidden actions of a page fail the test."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Request

from tests.support.gateway import GatewayProcess

AXE = Path(__file__).parents[1] / "node/node_modules/axe-core/axe.min.js"
CHROMIUM_OPTIONS = [
    # Containers run as root, and have no sandbox of Chromium's.
    "--no-sandbox",
    # Headless Chromium has the whole window of a desktop. Its address bar is a page of its own,
    # which costs more CPU time than a page of the gateway. The option replaces Playwright's list;
    # the second line is what matters of that.
    "--disable-features=WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess,"
    "HttpsUpgrades,MediaRouter,OptimizationHints,PaintHolding,PreconnectToSearch",
]
_PATIENCE_MS = 30_000
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`));
"""


def browser_program() -> str:
    """Return the path of a Chromium. The headless shell takes a quarter less CPU time than one with
    windows.
    """
    names = ("chromium-headless-shell", "chromium", "google-chrome", "chromium-browser")
    return next(found for name in names if (found := shutil.which(name)))


@asynccontextmanager
async def browser_at(url: str, profile: Path, *options: str) -> AsyncIterator[None]:
    """Show a page in a browser of its own, which runs until the end of the block. For tests whose
    event loop is not that of the shared browser.
    """
    process = await asyncio.create_subprocess_exec(
        *(browser_program(), *CHROMIUM_OPTIONS, "--headless", "--no-first-run"),
        # Without a port for a debugger, the headless shell ends when the page is loaded.
        *("--remote-debugging-port=0", f"--user-data-dir={profile}", *options, url),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        # The program may be a shell script, which does not pass on a signal to the browser.
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@dataclass(frozen=True, slots=True)
class Screen:
    """Screen size and color scheme for a page."""

    width: int = 1280
    scheme: Literal["light", "dark"] = "light"
    height: int = 800


class Opened:
    """Open page in its own browser profile."""

    def __init__(self, context: BrowserContext, page: Page, origin: str) -> None:
        self.page = page
        self.origin = origin
        self.faults: list[str] = []
        self.expected: tuple[str, ...] = ()
        """Console messages that are allowed."""
        self.others: tuple[str, ...] = ()
        """Origins that the page may ask, besides its own."""
        self._context = context

    @classmethod
    async def start(
        cls, browser: Browser, gateway: GatewayProcess, path: str, screen: Screen
    ) -> Self:
        """Open a path of the admin listener. Return when its view is complete."""
        context = await browser.new_context(
            viewport={"width": screen.width, "height": screen.height},
            color_scheme=screen.scheme,
            reduced_motion="reduce",
        )
        context.set_default_timeout(_PATIENCE_MS)
        await context.add_init_script(_WATCH)
        page = await context.new_page()
        opened = cls(context, page, f"http://127.0.0.1:{gateway.admin_port}")
        page.on("console", opened.heard)
        page.on("pageerror", lambda error: opened.faults.append(f"uncaught: {error}"))
        page.on("request", opened.asked)
        await page.goto(opened.origin + path)
        await opened.settled()
        return opened

    async def settled(self) -> None:
        """Wait until the view has its data, or asks for the token."""
        ready = "main[data-view]:not(:has([aria-busy=true]:not(.text))), dialog[open]"
        await self.page.locator(ready).first.wait_for()

    async def close(self) -> list[str]:
        """Close the page. Return its faults."""
        violations = await self.page.evaluate("window.violations")
        await self._context.close()
        return self.faults + [f"policy: {one}" for one in violations]

    async def axe(self) -> list[str]:
        """Return the accessibility violations found by axe, one line each."""
        # The debugger evaluates axe, so the page's content security policy does not block it.
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        found: list[dict[str, Any]] = await self.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((found) => found.violations)"
        )
        return [
            f"{one['id']}: {one['help']}: {json.dumps([node['html'] for node in one['nodes']][:3])}"
            for one in found
        ]

    def heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith(self.expected):
            self.faults.append(f"console: {message.text}")

    def asked(self, request: Request) -> None:
        own = (f"{self.origin}/", "blob:", "data:", *(f"{one}/" for one in self.others))
        if not request.url.startswith(own):
            self.faults.append(f"asked {request.url}")


class OpenPage(Protocol):
    """Type of the fixture `open_page`."""

    def __call__(
        self, gateway: GatewayProcess, path: str, screen: Screen = ...
    ) -> Awaitable[Opened]:
        """Open a path of a gateway's admin listener."""
