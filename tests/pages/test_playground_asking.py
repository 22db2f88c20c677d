"""What the playground asks, in Chromium: its fields, APIs, comparison, pictures, programs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.pages.test_playground import address, delta
from tests.support.browser import OpenPage, Screen
from tests.support.gateway import GatewayProcess
from tests.support.pages import wide
from tests.support.tokens import bearer
from tests.support.upstream import ScriptedUpstream

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLIPBOARD = ["clipboard-read", "clipboard-write"]


async def complete(page: Page) -> None:
    """Wait until the answer is complete."""
    await expect(page.locator("main").get_by_role("status")).to_contain_text("complete")


async def copied(page: Page, language: str) -> str:
    """Copy the program in a language, and return it."""
    program = page.locator("details", has_text="The same as a program")
    await program.get_by_role("button", name=language, exact=True).click()
    await program.get_by_role("button", name=re.compile(f"Copy as {language}")).click()
    await expect(program.get_by_role("button", name="Copied")).to_be_visible()
    text: str = await page.evaluate("navigator.clipboard.readText()")
    return text


async def run(*command: str, folder: Path) -> str:
    """Run a program with the token of a caller, and return its output."""
    token = bearer(sub="player").rpartition(" ")[2]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "TOKEN": token},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


async def test_the_system_prompt_and_the_parameters_are_sent(
    gateway: GatewayProcess, stepped: ScriptedUpstream, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    opened.expected = ("Failed to load resource",)  # it lists no models
    page = opened.page
    await page.locator("[name=route]").select_option("stepped")
    await page.locator("input[name=model]").fill("any")
    await page.locator("[name=system]").fill("Be brief.")
    await page.locator("[name=prompt]").fill("Why?")
    await page.get_by_text("Parameters", exact=True).click()
    await page.locator("[name=temperature]").fill("0.2")
    await page.locator("[name=max_tokens]").fill("50")
    await page.locator("[name=extra]").fill('{"seed": 7}')
    assert await opened.axe() == []
    await page.get_by_role("button", name="Send").click()
    await stepped.release(delta("Because.") + b"data: [DONE]\n\n")
    await stepped.finish()
    await complete(page)
    body: dict[str, Any] = json.loads(stepped.requests[-1].body)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
    ]
    assert (body["temperature"], body["max_tokens"], body["seed"]) == (0.2, 50, 7)
    assert "top_p" not in body
    await page.locator("[name=extra]").fill("{seed")
    await page.get_by_role("button", name="Send").click()
    await expect(page.get_by_role("alert")).to_contain_text("no JSON object")


async def test_the_same_question_is_asked_in_another_dialect(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.locator("[name=prompt]").fill("Why not?")
    await page.get_by_text("Events as they came").click()
    for api, words in (
        ("responses", "response.output_text.delta"),
        ("messages", "content_block_delta"),
    ):
        await page.locator("[name=api]").select_option(api)
        await expect(page.locator("[name=prompt]")).to_have_value("Why not?")
        await expect(page.locator("[name=model]")).to_have_value("demo")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".raw pre")).to_contain_text(words)
        await complete(page)
        await expect(page.get_by_role("log")).to_contain_text(re.compile(r"\w+ \w+ \w+"))


async def test_two_models_answer_side_by_side(gateway: GatewayProcess, open_page: OpenPage) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.get_by_label("Compare with another").check()
    await page.locator("[name=model-2]").select_option("demo-stall")
    await page.get_by_role("button", name="Send").click()
    first = page.get_by_role("region", name="Answer of demo", exact=True)
    second = page.get_by_role("region", name="Answer of demo-stall")
    await expect(first.get_by_role("log")).to_contain_text(re.compile(r"\w+ \w+ \w+"))
    await expect(second.get_by_role("log")).to_contain_text(re.compile(r"\w+"))
    status = page.locator("main").get_by_role("status")
    await expect(status).to_contain_text(re.compile("1. ● complete.*2. ● streaming"))
    left, right = await first.bounding_box(), await second.bounding_box()
    assert left is not None
    assert right is not None
    assert (left["y"], left["x"] < right["x"]) == (right["y"], True)
    assert await opened.axe() == []
    await page.get_by_role("button", name="Stop").click()
    await expect(status).to_contain_text(re.compile("1. ● complete.*2. ○ stopped"))
    await page.set_viewport_size({"width": 390, "height": 800})
    assert await wide(page) == 0


async def test_a_picture_comes_as_previews_and_then_whole(
    gateway: GatewayProcess, open_page: OpenPage
) -> None:
    opened = await open_page(gateway, address(), Screen(390, "dark"))
    page = opened.page
    await page.locator("[name=api]").select_option("image")
    await page.locator("[name=model]").select_option("demo-image")
    await page.locator("[name=prompt]").fill("a boat at dawn")
    await page.evaluate("""() => {
      window.seen = new Set();
      const changes = { subtree: true, childList: true, characterData: true };
      new MutationObserver(() => {
        const words = document.querySelector(".drawn figcaption")?.textContent;
        if (words) window.seen.add(words.split(",")[0]);
      }).observe(document.getElementById("main"), changes);
    }""")
    await page.get_by_role("button", name="Send").click()
    await complete(page)
    picture = page.get_by_role("img", name=re.compile("^Picture, finished, 1024 . 1024$"))
    await expect(picture).to_be_visible()
    seen = await page.evaluate("[...window.seen]")
    assert seen[-1] == "finished"
    assert any(one.startswith("preview") for one in seen)
    colours = await picture.evaluate("""(canvas) => new Set(
      canvas.getContext("2d").getImageData(0, 0, 1024, 64).data).size""")
    assert colours > 2
    assert await opened.axe() == []
    assert await wide(page) == 0


async def test_a_transcript_grows(gateway: GatewayProcess, open_page: OpenPage) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.locator("[name=api]").select_option("transcript")
    await page.locator("[name=model]").select_option("demo-whisper")
    await expect(page.get_by_role("button", name="Send")).to_be_disabled()
    speech = {"name": "speech.wav", "mimeType": "audio/wav", "buffer": b"RIFF" * 100}
    await page.locator("[name=file]").set_input_files(speech)  # type: ignore[arg-type]
    await page.get_by_role("button", name="Send").click()
    await complete(page)
    text = "demo-whisper heard 400 bytes of speech.wav."
    await expect(page.get_by_role("log")).to_have_text(text)
    await page.get_by_text("Events as they came").click()
    events = page.locator(".raw pre")
    await expect(events).to_contain_text('"delta":" heard"')
    await expect(events).to_contain_text("transcript.text.done")
    assert await opened.axe() == []


async def test_the_question_is_copied_as_programs_that_run(
    gateway: GatewayProcess, open_page: OpenPage, tmp_path: Path
) -> None:
    opened = await open_page(gateway, address())
    page = opened.page
    await page.context.grant_permissions(CLIPBOARD)
    await page.locator("[name=prompt]").fill('It\'s a "test"?')
    await page.locator("[name=system]").fill("Be brief.")
    await page.get_by_role("button", name="Send").click()
    await complete(page)
    answer = await page.get_by_role("log").inner_text()
    await page.get_by_text("The same as a program").click()
    assert await opened.axe() == []
    token = bearer(sub="player").rpartition(" ")[2].split(".")[0]
    curl, python, javascript = [
        await copied(page, language) for language in ("curl", "Python", "JavaScript")
    ]
    assert not any(token in text for text in (curl, python, javascript))
    first = answer.split()[0]
    # Modules are found from the file that imports them.
    (tmp_path / "node_modules").symlink_to(Path(__file__).parents[1] / "node/node_modules")
    (tmp_path / "ask.mjs").write_text(javascript)
    by_curl, *by_sdk = await asyncio.gather(
        run("sh", "-c", curl, folder=tmp_path),
        run(sys.executable, "-c", python, folder=tmp_path),
        run("node", "ask.mjs", folder=tmp_path),
    )
    assert first in by_curl
    assert by_sdk == [answer, answer]
