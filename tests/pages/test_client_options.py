"""Options of `/client.js` that its Python sibling does not have, in Chromium."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser

from gateway.demo import DemoBackend
from tests.pages.test_client import BODY, CHAT, GRACE, event, gateway_of
from tests.support.gateway import RunningGateway, simple_config
from tests.support.upstream import ScriptedUpstream, sse_reply, stepped_stream

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_detached_reader_leaves_the_generation_and_reads_the_rest_later(
    chromium: Browser,
) -> None:
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        gateway_of(upstream) as gateway,
    ):
        page = await chromium.new_page()
        try:
            await page.goto(f"{gateway.url}/client.js")
            await page.evaluate(
                """async ([path, body, headers]) => {
                  const { stream, Detached } = await import("/client.js");
                  const controller = new AbortController();
                  window.seen = { texts: [] };
                  window.leave = () => controller.abort(new Detached());
                  window.done = (async () => {
                    for await (const { data, id } of stream(path, {
                      body, headers, signal: controller.signal,
                      onResponse: ({ headers }) => { seen.stream = headers.get("X-Stream-Id"); },
                    })) { seen.texts.push(data); seen.last = id; }
                  })().catch(({ constructor }) => { seen.ended = constructor.name; });
                  window.rest = async () => {
                    const texts = [];
                    for await (const { data } of stream(`/v1/streams/${seen.stream}`,
                        { lastEventId: seen.last })) texts.push(data);
                    return texts;
                  };
                }""",
                [CHAT, BODY, GRACE],
            )
            await upstream.release(event("one"))
            await page.wait_for_function("seen.texts.length === 1")
            await page.evaluate("leave()")
            await page.evaluate("done")
            await upstream.release(event("two") + event("[DONE]"))
            await upstream.finish()
            assert await page.evaluate("rest()") == ["two", "[DONE]"]
            seen: dict[str, Any] = await page.evaluate("seen")
        finally:
            await page.close()
    assert seen["texts"] == ["one"]
    assert seen["ended"] == "Detached"


async def test_stopping_while_the_head_is_on_its_way_cancels_the_generation(
    chromium: Browser,
) -> None:
    async with (
        ScriptedUpstream(stepped_stream()) as upstream,
        gateway_of(upstream) as gateway,
    ):
        page = await chromium.new_page()
        try:
            await page.goto(f"{gateway.url}/client.js")
            await page.evaluate(
                """async ([path, body, headers]) => {
                  const { stream } = await import("/client.js");
                  const controller = new AbortController();
                  const options = { body, headers, signal: controller.signal };
                  const reading = (async () => {
                    for await (const _ of stream(path, options));
                  })().catch(() => {});
                  setTimeout(() => controller.abort(), 1);
                  await reading;
                }""",
                [CHAT, BODY, GRACE],
            )
            line = await gateway.wait_for_log(
                lambda line: line["event"] == "request" and line.get("method") == "POST"
            )
        finally:
            await page.close()
    assert line["end"] in ("cancelled", "client_abort")


async def test_comments_are_told_apart_from_events(chromium: Browser) -> None:
    events = [b": beat\n\n", event("one"), b": beat\n\n", event("[DONE]")]
    async with ScriptedUpstream(sse_reply(events)) as upstream:
        config = simple_config(upstream.url, server={"client_js": True})
        gateway = RunningGateway(config, {})
        await gateway.start()
        page = await chromium.new_page()
        try:
            await page.goto(f"{gateway.url}/client.js")
            found = await page.evaluate("""async () => {
              const { stream } = await import("/client.js");
              const found = [];
              const onComment = (text) => found.push(`: ${text}`);
              for await (const { data } of stream("/v1/x", { onComment })) found.push(data);
              return found;
            }""")
        finally:
            await page.close()
            await gateway.stop()
    assert sorted(found) == [": beat", ": beat", "[DONE]", "one"]


async def test_forms_are_sent_and_json_lines_are_read(
    chromium: Browser, backend: DemoBackend
) -> None:
    config = simple_config(
        backend.url, server={"client_js": True}, path="/", upstream={"dialect": "ollama"}
    )
    config["routes"][0]["dialect"] = "ollama"
    config["upstreams"]["plain"] = {"endpoints": [{"url": backend.url}]}
    config["routes"].append(
        {"name": "audio", "path": "/v1/audio/", "auth": "anonymous", "upstream": "plain"}
    )
    gateway = RunningGateway(config, {})
    await gateway.start()
    page = await chromium.new_page()
    try:
        await page.goto(f"{gateway.url}/client.js")
        found = await page.evaluate("""async () => {
          const { stream } = await import("/client.js");
          const read = async (path, options) => {
            const events = [];
            for await (const event of stream(path, options)) events.push(event);
            return events.map((event) => [event.type, event.json()]);
          };
          const form = new FormData();
          form.set("file", new File(["RIFF"], "a.wav"));
          form.set("model", "demo");
          form.set("stream", "true");
          const body = { model: "demo", messages: [{ role: "user", content: "hi" }] };
          return [await read("/api/chat", { body, format: "lines" }),
            await read("/v1/audio/transcriptions", { body: form })];
        }""")
    finally:
        await page.close()
        await gateway.stop()
    lines, transcript = found
    assert {kind for kind, _ in lines} == {"line"}
    assert lines[-1][1]["done"]
    assert transcript[-1][0] == "transcript.text.done"
    assert transcript[-1][1]["text"] == "demo heard 4 bytes of a.wav."
