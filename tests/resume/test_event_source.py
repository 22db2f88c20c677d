"""A browser's EventSource, its own reconnecting included."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.gateway import RunningGateway, StartGateway, simple_config
from tests.support.upstream import ScriptedUpstream, json_reply, stepped_stream

COUNT = 4
PATIENCE_S = 40.0
PAGE = """<!doctype html><script>
const met = {data: [], numbers: [], opened: 0};
const source = new EventSource("%s");
source.onopen = () => (met.opened += 1);
source.onmessage = (event) => {
  met.data.push(event.data);
  met.numbers.push(Number(event.lastEventId.split(".")[1]));
};
source.onerror = () => {
  if (source.readyState === EventSource.CLOSED)
    fetch("%s", {method: "POST", mode: "no-cors", body: JSON.stringify(met)});
};
</script>"""


@asynccontextmanager
async def page(folder: Path, source: str, report: str) -> AsyncIterator[None]:
    """Open in a browser a page that reads `source` to its end, and then says what it met."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next(filter(None, map(shutil.which, names)))
    file = folder / "page.html"
    file.write_text(PAGE % (source, report))
    process = await asyncio.create_subprocess_exec(
        *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
        *("--no-first-run", f"--user-data-dir={folder / 'profile'}", "--remote-debugging-port=0"),
        file.as_uri(),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


def close(gateway: RunningGateway) -> None:
    """Close the connections of those who read; what was written still arrives."""
    for connection in [*gateway.server.listener._connections]:
        if connection.transport is not None:
            connection.transport.close()


async def test_it_reconnects_goes_on_and_ends(start_gateway: StartGateway, tmp_path: Path) -> None:
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        ScriptedUpstream(json_reply({})) as reports,
    ):
        resume = {"on_disconnect": "grace", "grace": "60s"}
        gateway = await start_gateway(
            simple_config(upstream.url, cors={"origins": ["*"]}, resume=resume)
        )
        async with page(tmp_path, f"{gateway.url}/v1/events", reports.url):
            async with asyncio.timeout(PATIENCE_S):
                await upstream.request_seen.wait()
            for number in range(1, COUNT + 1):
                await upstream.release(b": noise\n\ndata: %d\n\n" % number)
                if number == 2:
                    close(gateway)
            await upstream.finish()
            async with asyncio.timeout(PATIENCE_S):
                await reports.request_seen.wait()
        met = json.loads(reports.requests[0].body)
    assert met["data"] == [str(number) for number in range(1, COUNT + 1)]
    assert met["numbers"] == [*range(1, COUNT + 1)]
    assert met["opened"] == 2
    assert len(upstream.requests) == 1
