"""`gateway demo`: the demo backend alone."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from tests.support.commands import call, taken_address
from tests.support.fork_server import ForkServer


async def test_demo_serves_the_backend_alone(fork_server: ForkServer) -> None:
    process = await fork_server.start(("demo", "--listen", "127.0.0.1:0", "--pace", "1ms"))
    try:
        async with asyncio.timeout(20):
            url = (await process.stdout.readline()).decode().split()[-1]
            async with httpx.AsyncClient(trust_env=False) as client:
                models = (await client.get(url + "/v1/models")).json()
                messages = [{"role": "user", "content": "Hello"}]
                asked = {"model": "demo", "messages": messages}
                answer = (await client.post(url + "/v1/chat/completions", json=asked)).json()
    finally:
        process.send_signal(signal.SIGINT)
        errors = await process.stderr.read()
        code = await process.wait()
    assert "demo" in [model["id"] for model in models["data"]]
    assert answer["choices"][0]["message"]["content"]
    assert (code, errors) == (0, b"")


def test_a_demo_backend_whose_address_is_taken_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with taken_address() as address:
        said = call(capsys, "demo", "--listen", address)
    assert (said.code, said.out) == (3, "")
    assert said.err.startswith(f"gateway: cannot listen on {address}: Address already in use. ")


@pytest.mark.parametrize("listen", ["x", "127.0.0.1:99999", "127.0.0.1:\u0661"])
def test_a_demo_address_that_is_none_is_a_usage_error(
    capsys: pytest.CaptureFixture[str], listen: str
) -> None:
    said = call(capsys, "demo", "--listen", listen)
    assert said.code == 2
    assert "write HOST:PORT" in said.err
