"""curl, as in the documentation."""

from __future__ import annotations

import asyncio
import json

from tests.sdk.conftest import ANSWER, PROMPT, Door

CHAT = {"model": "demo", "messages": [{"role": "user", "content": PROMPT}]}
STREAM = json.dumps({**CHAT, "stream": True})


async def curl(
    door: Door, path: str, *arguments: str, credential: str | None = None
) -> tuple[int, str]:
    """Its exit status, and what it printed."""
    trust = ["--cacert", str(door.ca_file)] if door.ca_file else []
    process = await asyncio.create_subprocess_exec(
        *("curl", "-q", "-sN", "--noproxy", "*", *trust),
        *("-H", credential or f"Authorization: Bearer {door.token}"),
        *(*arguments, door.url + path),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_chat_is_answered(door: Door) -> None:
    status, said = await curl(door, "/v1/chat/completions", "-d", json.dumps(CHAT))
    assert status == 0
    assert json.loads(said)["choices"][0]["message"]["content"] == ANSWER


async def test_a_stream_ends_with_the_backends_own_done(door: Door) -> None:
    status, said = await curl(door, "/v1/chat/completions", "-d", STREAM)
    assert status == 0
    events = said.strip().split("\n\n")
    assert events.pop() == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == ANSWER


async def test_a_token_in_x_api_key_is_accepted(door: Door) -> None:
    message = json.dumps({**CHAT, "model": "demo-claude", "max_tokens": 100})
    status, said = await curl(
        door, "/v1/messages", "-d", message, credential=f"x-api-key: {door.token}"
    )
    assert status == 0
    assert json.loads(said)["content"][0]["text"] == ANSWER


async def test_a_stream_that_breaks_off_is_a_failed_transfer(door: Door) -> None:
    status, said = await curl(
        door, "/v1/chat/completions", "-d", STREAM, "-H", "x-demo-fault: reset@2"
    )
    assert status in (18, 92)  # a transfer cut short; an HTTP/2 stream not closed cleanly
    assert '"code":"upstream_reset"' in said
    assert "[DONE]" not in said


async def test_a_wrong_token_is_401_in_json(door: Door) -> None:
    status, said = await curl(
        door, "/v1/models", "-w", "\n%{http_code}", credential="Authorization: Bearer x.y.z"
    )
    body, code = said.rsplit("\n", 1)
    assert (status, code) == (0, "401")
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
