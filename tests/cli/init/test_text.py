"""The configuration that `gateway init` writes: endpoints, names of models, routes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import load_text
from tests.support.commands import VLLM, StartBackend, written


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
