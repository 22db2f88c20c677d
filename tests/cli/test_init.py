"""`gateway init`: what backends say of themselves becomes a configuration that the gateway accepts.

The backends answer as the products do, field for field.
"""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from gateway.config import load_text
from gateway.demo import DemoBackend
from tests.support.commands import StartBackend, init, written
from tests.support.gateway import StartGateway

VLLM = {
    "object": "list",
    "data": [
        {
            "id": "meta-llama/Llama-3.1-8B-Instruct",
            "object": "model",
            "created": 1764460800,
            "owned_by": "vllm",
            "root": "meta-llama/Llama-3.1-8B-Instruct",
            "parent": None,
            "max_model_len": 131072,
            "permission": [],
        }
    ],
}


async def test_servers_with_the_same_models_are_endpoints_of_one_upstream(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    urls = [await start_backend({"/v1/models": VLLM}) for _ in range(2)]
    document = await written(tmp_path, *urls)
    assert document["upstreams"]["vllm"]["endpoints"] == [{"url": url} for url in urls]
    assert document["upstreams"]["vllm"]["balance"] == "prefix"


async def test_two_backends_with_a_model_of_one_name_keep_both(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    other = {"object": "list", "data": [*VLLM["data"], {"id": "own", "owned_by": "vllm"}]}
    urls = [await start_backend({"/v1/models": one}) for one in (VLLM, other)]
    document = await written(tmp_path, *urls)
    name = "meta-llama/Llama-3.1-8B-Instruct"
    assert document["models"] == {
        name: {"upstream": "vllm"},
        f"vllm-2/{name}": {"upstream": "vllm-2", "model": name},
        "own": {"upstream": "vllm-2"},
    }


async def test_an_api_that_is_not_below_v1_gets_a_route_that_takes_the_path_off(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    url = await start_backend({"/api/paas/v4/models": VLLM})
    document = await written(tmp_path, f"{url}/api/paas/v4")
    [route] = document["routes"]
    assert route["path"] == "/vllm/v1/"
    assert route["strip"] is True
    assert document["upstreams"]["vllm"]["endpoints"] == [{"url": f"{url}/api/paas/v4"}]


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


@pytest.mark.parametrize("name", ["no", "null", "1e5", "\U0001f600 [x], {y: z}", 'a"b', "${HOME}x"])
async def test_a_models_name_is_kept_as_it_is_or_left_out(
    start_backend: StartBackend, tmp_path: Path, name: str
) -> None:
    entries = [{"id": "plain", "owned_by": "vllm"}, {"id": name, "owned_by": "vllm"}]
    url = await start_backend({"/v1/models": {"object": "list", "data": entries}})
    document = await written(tmp_path, url)
    load_text((tmp_path / "config.yaml").read_text())
    assert set(document["models"]) == ({"plain"} if "${" in name else {"plain", name})


async def test_a_long_listing_is_cut_and_counted(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    entries = [{"id": f"m{number}", "owned_by": "vllm"} for number in range(25)]
    url = await start_backend({"/v1/models": {"object": "list", "data": entries}})
    assert len((await written(tmp_path, url))["models"]) == 20
    assert "# vllm lists 5 more models." in (tmp_path / "config.yaml").read_text()
    document = await written(tmp_path, url, options=("--model", "m24", "--force"))
    assert list(document["models"]) == ["m24"]


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
