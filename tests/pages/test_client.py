"""The clients that reconnect, over sockets: `/client.js` in Chromium, and the one in Python."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import itertools
import json
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Route

from examples import gateway_client
from gateway.browser.script import FILE
from tests.support.gateway import RunningGateway, simple_config
from tests.support.link import Link
from tests.support.upstream import (
    STREAM_HEAD,
    Request,
    ScriptedUpstream,
    chunk,
    raw_reply,
    stepped_stream,
)
from tests.support.waiting import SLACK_S

pytestmark = pytest.mark.asyncio(loop_scope="session")

ROOT = Path(__file__).parents[2]
CHAT = "/v1/chat/completions"
BODY = {"model": "m", "stream": True, "messages": []}
GRACE = {"X-On-Disconnect": "grace=1m"}
PATIENCE_S = 15.0
RUN = """async ([path, { script, body, headers, ...options }]) => {
  const { stream } = await import(script ?? "/client.js");
  Math.random = () => 0;  // no jitter
  const controller = new AbortController();
  window.run = { texts: [], states: [], outcome: null, stop: () => controller.abort() };
  const count = () => ({ ...headers, "X-Asked": String((window.asked = (window.asked ?? 0) + 1)) });
  (async () => {
    for await (const event of stream(path, { body, headers: count, signal: controller.signal,
        onState: (state) => run.states.push(state), ...options })) run.texts.push(event.data);
  })().then(
    () => { run.outcome = { name: null }; },
    ({ name, code, status }) => { run.outcome = { name, code, status }; });
}"""
BESIDE = "/beside.js"
"""Path of the script for servers that do not serve it."""
Outcome = dict[str, Any]


class Reader(Protocol):
    """Client under test, while it reads one stream."""

    async def texts(self, count: int) -> list[str]:
        """Return the data of all events once there are so many."""

    async def outcome(self) -> Outcome:
        """Return the error that ended the stream, by `name` and `code`, once it has ended."""

    async def stop(self) -> None:
        """End reading, as its user does."""


class InPage:
    """A stream that a page reads."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def texts(self, count: int) -> list[str]:
        await self.page.wait_for_function("(count) => run.texts.length >= count", arg=count)
        found: list[str] = await self.page.evaluate("run.texts")
        return found

    async def outcome(self) -> Outcome:
        await self.page.wait_for_function("run.outcome !== null")
        found: Outcome = await self.page.evaluate("run.outcome")
        return found

    async def stop(self) -> None:
        await self.page.evaluate("run.stop()")

    async def state(self, name: str) -> None:
        """Wait until the client is in this state."""
        await self.page.wait_for_function("(name) => run.states.at(-1) === name", arg=name)


class InTask:
    """A stream that a task reads."""

    def __init__(self, url: str, path: str, body: object, headers: Any, options: Any) -> None:
        self._texts: list[str] = []
        self._changed = asyncio.Condition()
        self._asked = 0
        self._headers = headers
        self._task = asyncio.create_task(self._read(url, path, body, options))

    async def _read(self, url: str, path: str, body: object, options: Any) -> Outcome:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            events = gateway_client.stream(http, path, json=body, headers=self._count, **options)
            try:
                async with contextlib.aclosing(events):
                    async for event in events:
                        self._texts.append(event.data)
                        async with self._changed:
                            self._changed.notify_all()
            except gateway_client.StreamError as error:
                return {
                    "name": type(error).__name__,
                    "code": error.code,
                    "status": error.status,
                }
        return {"name": None}

    def _count(self) -> dict[str, str]:
        self._asked += 1
        return {**self._headers, "X-Asked": str(self._asked)}

    async def texts(self, count: int) -> list[str]:
        async with asyncio.timeout(PATIENCE_S), self._changed:
            await self._changed.wait_for(lambda: len(self._texts) >= count)
        return self._texts

    async def outcome(self) -> Outcome:
        async with asyncio.timeout(PATIENCE_S):
            return await asyncio.shield(self._task)

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task


Read = Callable[..., Awaitable[Reader]]


async def _beside(route: Route) -> None:
    """Serve the page and the script beside the API, for servers that serve neither."""
    is_script = route.request.url.endswith(BESIDE)
    kind = "text/javascript" if is_script else "text/html"
    body = FILE.read_text() if is_script else "<!doctype html>"
    await route.fulfill(body=body, content_type=kind)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def page(chromium: Browser) -> AsyncIterator[Page]:
    context = await chromium.new_context()
    context.set_default_timeout(PATIENCE_S * 1000)
    page = await context.new_page()
    await page.route("**/page", _beside)
    await page.route(f"**{BESIDE}", _beside)
    yield page
    await context.close()


async def read_in(page: Page, url: str, path: str, **asked: Any) -> InPage:
    """Read a stream in a page of the same origin."""
    await page.goto(f"{url}/page")
    await page.evaluate(RUN, [path, asked])
    return InPage(page)


@pytest_asyncio.fixture(loop_scope="session", params=["javascript", "python"])
async def read(
    request: pytest.FixtureRequest, page: Page, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Read]:
    """Begins to read a stream with one of the clients."""
    tasks: list[InTask] = []

    async def begin(url: str, path: str, **asked: Any) -> Reader:
        if request.param == "javascript":
            return await read_in(page, url, path, **asked)
        body, headers = asked.pop("body", None), asked.pop("headers", {})
        asked.pop("script", None)
        tasks.append(InTask(url, path, body, headers, asked))
        return tasks[-1]

    monkeypatch.setattr(random, "uniform", lambda _low, _high: 0.0)
    yield begin
    for task in tasks:
        await task.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(stepped_stream()) as upstream:
        yield upstream


@contextlib.asynccontextmanager
async def gateway_of(upstream: ScriptedUpstream, **route: Any) -> AsyncIterator[RunningGateway]:
    """Run a gateway, and a link to it."""
    route = {"resume": {}, **route}
    gateway = RunningGateway(simple_config(upstream.url, server={"client_js": True}, **route), {})
    await gateway.start()
    yield gateway
    await gateway.stop()


@pytest_asyncio.fixture(loop_scope="session")
async def link(upstream: ScriptedUpstream) -> AsyncIterator[Link]:
    async with gateway_of(upstream) as gateway, Link(gateway.port) as link:
        yield link


def event(text: str) -> bytes:
    return b"data: %b\n\n" % text.encode()


# -- over a gateway ------------------------------------------------------------------------------


async def test_no_event_is_lost_or_repeated_when_the_connection_breaks(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
    await upstream.release(event("one"))
    assert await reader.texts(1) == ["one"]
    for text in ("two", "three"):
        link.is_up = False
        link.cut()
        await upstream.release(event(text))
        link.is_up = True
    await reader.texts(3)
    await upstream.release(event("[DONE]"))
    await upstream.finish()
    assert await reader.outcome() == {"name": None}
    assert await reader.texts(4) == ["one", "two", "three", "[DONE]"]
    assert len(upstream.requests) == 1


async def test_a_stream_that_breaks_before_its_first_event_is_found_again(
    page: Page, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read_in(page, link.url, CHAT, body=BODY, headers=GRACE)
    await reader.state("open")
    link.cut()
    await upstream.release(event("one"))
    await upstream.finish()
    assert await reader.outcome() == {"name": None}
    assert await reader.texts(1) == ["one"]
    assert len(upstream.requests) == 1


async def test_a_stream_with_a_longest_duration_is_continued_after_it(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    async with gateway_of(upstream, max_stream="300ms") as gateway:
        link.target_port = gateway.port
        reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
        await upstream.release(event("one"))
        await link.saw(b"stream_expired")
        await upstream.release(event("two"))
        await upstream.finish()
        assert await reader.outcome() == {"name": None}
        assert await reader.texts(2) == ["one", "two"]


async def test_a_gateway_that_restarted_without_the_stream_says_that_it_is_lost(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
    await upstream.release(event("one"))
    await reader.texts(1)
    async with gateway_of(upstream) as other:
        link.target_port = other.port
        link.cut()
        outcome = await reader.outcome()
    assert outcome == {"name": "StreamLost", "code": "stream_not_found", "status": 404}
    await upstream.finish()


async def test_events_that_are_no_longer_kept_end_the_stream_with_an_error(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    async with gateway_of(upstream, resume={"max_bytes": "512KiB"}) as gateway:
        link.target_port = gateway.port
        reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
        await upstream.release(event("one"))
        await reader.texts(1)
        link.is_up = False
        link.cut()
        for _ in range(4):
            await upstream.release(event("x" * 300_000))
        link.is_up = True
        outcome = await reader.outcome()
        assert (outcome["name"], outcome["code"]) == ("StreamLost", "stream_trimmed")
        await upstream.finish()


async def test_a_generation_is_not_asked_for_twice_where_the_route_keeps_no_streams(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    async with gateway_of(upstream, resume=None) as gateway:
        link.target_port = gateway.port
        reader = await read(link.url, CHAT, body=BODY)
        await upstream.release(event("one"))
        await reader.texts(1)
        link.cut()
        outcome = await reader.outcome()
    assert (outcome["name"], outcome["code"]) == ("StreamLost", "connection_lost")
    assert len(upstream.requests) == 1


async def test_stopping_cancels_the_generation_that_may_go_on_without_a_reader(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
    await upstream.release(event("one"))
    await reader.texts(1)
    await reader.stop()
    await upstream.connections[-1].wait_client_gone(5)


async def test_an_error_of_the_stream_ends_it(
    read: Read, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read(link.url, CHAT, body=BODY, headers=GRACE)
    await upstream.release(event("one"))
    await reader.texts(1)
    upstream.connections[-1].reset()
    outcome = await reader.outcome()
    assert (outcome["name"], outcome["code"]) == ("StreamError", "upstream_reset")


async def test_a_page_that_was_offline_continues_when_the_network_is_back(
    page: Page, link: Link, upstream: ScriptedUpstream
) -> None:
    reader = await read_in(page, link.url, CHAT, body=BODY, headers=GRACE)
    await upstream.release(event("one"))
    await reader.texts(1)
    await page.context.set_offline(True)
    await reader.state("offline")
    await upstream.release(event("two"))
    await page.context.set_offline(False)
    assert await reader.texts(2) == ["one", "two"]
    await upstream.finish()
    assert await reader.outcome() == {"name": None}


async def test_the_examples_of_the_documentation_run(
    page: Page, link: Link, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    section = (ROOT / "docs/resume.md").read_text().partition("## Clients that reconnect")[2]
    [script] = re.findall(r"```js\n(.*?)```", section, re.DOTALL)[:1]
    [program] = re.findall(r"```python\n(.*?)```", section, re.DOTALL)

    def delta(text: str) -> bytes:
        return event(json.dumps({"choices": [{"delta": {"content": text}}]}))

    async def answer(text: str) -> None:
        await upstream.release(delta(text))
        await link.end_after(text.encode())
        await upstream.release(delta("!"))
        await upstream.release(event("[DONE]"))
        await upstream.finish()

    await page.goto(f"{link.url}/page")
    script = f'const token = "t";\n{script}\nwindow.said = text;'
    asking = page.add_script_tag(type="module", content=script)
    await asyncio.gather(asking, answer("Good day"))
    await page.wait_for_function("window.said === 'Good day!'")
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    names: dict[str, Any] = {"token": "t"}
    program = program.replace("https://llm.example", link.url)
    code = compile(program, "resume.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    await asyncio.gather(eval(code, names), answer("Good morning"))  # noqa: S307
    assert names["text"] == "Good morning!"


# -- answers of other servers, and waits ---------------------------------------------------------


def replies(*answers: bytes) -> Callable[[Request], bytes]:
    """Answer requests for streams in this order, then with 204."""
    left = list(answers)
    return lambda _: left.pop(0) if left else b"HTTP/1.1 204 No Content\r\n\r\n"


def stream_of(*events: bytes, ended: bool = True) -> bytes:
    return STREAM_HEAD + b"".join(map(chunk, events)) + (b"0\r\n\r\n" if ended else b"")


def refusal(status: int, code: str, *headers: str) -> bytes:
    body = json.dumps({"error": {"code": code, "message": "Later."}}).encode()
    lines = [f"HTTP/1.1 {status} No", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def test_a_feed_is_followed_from_its_last_event_until_it_has_no_more(read: Read) -> None:
    first, second = b"id: 7\nevent: a\ndata: 1\n\n", b"data: 2\n\n"
    async with ScriptedUpstream(raw_reply(replies(stream_of(first), stream_of(second)))) as server:
        reader = await read(server.url, "/feed", script=BESIDE, follow=True)
        assert await reader.outcome() == {"name": None}
        assert await reader.texts(2) == ["1", "2"]
        ids = [one.value("last-event-id") for one in server.requests]
        assert ids == [None, b"7", b"7"]


async def test_a_busy_server_is_asked_again_when_it_says(read: Read) -> None:
    times: list[float] = []
    answers = replies(
        refusal(429, "rate_limited", "Retry-After: 1"), stream_of(b"retry: 300\n\n"), stream_of()
    )

    def answer(seen: Request) -> bytes:
        times.append(asyncio.get_running_loop().time())
        return answers(seen)

    async with ScriptedUpstream(raw_reply(answer)) as server:
        reader = await read(server.url, "/feed", script=BESIDE, follow=True)
        assert await reader.outcome() == {"name": None}
        waits = [later - sooner for sooner, later in itertools.pairwise(times)]
        assert 0.99 <= waits[0] < 1.0 + SLACK_S
        # The shorter one: a busy machine may lengthen the other.
        assert 0.29 <= min(waits[1:]) < 0.9
        assert [one.value("x-asked") for one in server.requests] == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize(
    "answer",
    [
        refusal(403, "forbidden"),
        refusal(429, "budget_exhausted", "Retry-After: 86400"),
        refusal(503, "overloaded", "X-Should-Retry: false"),
    ],
    ids=["not-busy", "longer-than-a-client-waits", "not-to-be-retried"],
)
async def test_other_refusals_end_it_at_once(read: Read, answer: bytes) -> None:
    async with ScriptedUpstream(raw_reply(answer)) as server:
        outcome = await (await read(server.url, "/feed", script=BESIDE)).outcome()
        assert outcome["name"] == "Refused"
        assert str(outcome["status"]).encode() in answer
        assert outcome["code"].encode() in answer
        assert len(server.requests) == 1


async def test_an_expired_credential_is_replaced_and_the_stream_continues(read: Read) -> None:
    expired = b'data: {"error": {"code": "credential_expired"}}\n\n'
    one, two = b"id: 1\ndata: 1\n\n", b"id: 2\ndata: 2\n\n"
    answers = replies(stream_of(one, expired), stream_of(two))
    async with ScriptedUpstream(raw_reply(answers)) as server:
        reader = await read(server.url, "/feed", script=BESIDE)
        assert await reader.outcome() == {"name": None}
        assert await reader.texts(2) == ["1", "2"]
        assert [one.value("x-asked") for one in server.requests] == [b"1", b"2"]


async def test_a_server_that_cannot_be_reached_ends_it_after_all_retries(
    read: Read, link: Link
) -> None:
    link.is_up = False
    outcome = await (await read(link.url, "/feed", script=BESIDE, retries=3)).outcome()
    assert (outcome["name"], outcome["code"]) == ("StreamLost", "unreachable")


DELAYS = """async () => {
  const { stream } = await import("/client.js");
  const delays = [], wait = window.setTimeout;
  Math.random = () => 1;
  window.fetch = async () => { throw new TypeError("no network"); };
  window.setTimeout = (call, ms) => { delays.push(ms); return wait(call, 0); };
  try { for await (const _ of stream("/feed", { retries: 6 })); } catch { return delays; }
}"""


async def test_waits_grow_from_1_s_to_8_s(
    page: Page, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    await page.goto(f"{link.url}/page")
    assert await page.evaluate(DELAYS) == [1000, 2000, 4000, 8000, 8000, 8000]
    ranges: list[tuple[float, float]] = []

    def lowest(low: float, high: float) -> float:
        ranges.append((low, high))
        return low

    monkeypatch.setattr(random, "uniform", lowest)
    link.is_up = False
    reader = InTask(link.url, "/feed", None, {}, {"retries": 6})
    assert (await reader.outcome())["code"] == "unreachable"
    assert ranges == [(0, longest) for longest in (1, 2, 4, 8, 8, 8)]
