"""`gateway init`: what backends say of themselves becomes a configuration that the gateway accepts.

The backends answer as the products do, field for field.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.demo import DemoBackend
from tests.support.commands import VLLM, StartBackend, init, written
from tests.support.gateway import StartGateway


async def test_a_file_is_not_overwritten_unasked(
    start_backend: StartBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await start_backend({"/v1/models": VLLM})
    file = tmp_path / "config.yaml"
    file.write_text("mine")
    assert await init("--upstream", url, "--output", str(file)) == 2
    assert "--force" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert await init("--upstream", url, "--output", str(file), "--force") == 0
    assert file.read_text() != "mine"


async def test_without_a_terminal_a_backend_has_to_be_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert await init("--output", str(tmp_path / "c.yaml")) == 2
    assert "gateway init --upstream http://HOST:PORT" in capsys.readouterr().err


async def test_the_written_gateway_answers(
    start_gateway: StartGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    try:
        document = await written(tmp_path, backend.url, options=("--anonymous",))
        assert f"gateway serve --config {tmp_path}/config.yaml" in capsys.readouterr().out
        document["server"] = {}
        gateway = await start_gateway(document)
        body = {"model": "demo", "messages": [{"role": "user", "content": "Hello"}]}
        async with httpx.AsyncClient(base_url=gateway.url, trust_env=False) as http:
            answer = await http.post("/v1/chat/completions", json=body)
            listed = await http.get("/v1/models")
        assert answer.json()["choices"][0]["message"]["content"]
        assert "demo" in {model["id"] for model in listed.json()["data"]}
    finally:
        await backend.stop()
