"""curl, as in the documentation."""

from __future__ import annotations

import asyncio
import json

from tests.sdk.conftest import Door

STREAM = json.dumps(
    {"model": "demo", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
)


async def curl(door: Door, path: str, *arguments: str, token: str | None = None) -> tuple[int, str]:
    """Its exit status, and what it printed."""
    trust = ["--cacert", str(door.ca_file)] if door.ca_file else []
    process = await asyncio.create_subprocess_exec(
        *("curl", "-sN", "--noproxy", "*", *trust),
        *("-H", f"Authorization: Bearer {token or door.token}"),
        *(*arguments, door.url + path),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_stream_ends_with_the_backends_own_done(door: Door) -> None:
    status, said = await curl(door, "/v1/chat/completions", "-d", STREAM)
    assert status == 0
    events = said.strip().split("\n\n")
    assert len(events) > 3
    assert events[-1] == "data: [DONE]"


async def test_a_stream_that_breaks_off_is_a_failed_transfer(door: Door) -> None:
    status, said = await curl(
        door, "/v1/chat/completions", "-d", STREAM, "-H", "x-demo-fault: reset@2"
    )
    assert status in (18, 92)  # a transfer cut short; an HTTP/2 stream not closed cleanly
    assert '"code":"upstream_reset"' in said
    assert "[DONE]" not in said


async def test_a_wrong_token_is_401_in_json(door: Door) -> None:
    status, said = await curl(door, "/v1/models", "-w", "\n%{http_code}", token="x.y.z")
    body, code = said.rsplit("\n", 1)
    assert (status, code) == (0, "401")
    assert json.loads(body)["error"]["code"] == "invalid_api_key"
