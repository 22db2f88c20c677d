"""`gateway init`: what backends say of themselves becomes a configuration that the gateway accepts.

The backends answer as the products do, field for field.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from aiohttp import web

from gateway.cli import main
from gateway.config import load_text
from gateway.demo import DemoBackend
from tests.support.gateway import StartGateway

Answers = Mapping[str, Any]
StartBackend = Callable[[Answers], Awaitable[str]]

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
LLAMA_CPP = {
    "models": [{"name": "qwen.gguf", "model": "qwen.gguf", "type": "model"}],
    "object": "list",
    "data": [
        {
            "id": "qwen.gguf",
            "object": "model",
            "created": 1764460800,
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 2, "n_vocab": 151936, "n_ctx_train": 40960},
        }
    ],
}
OLLAMA = {
    "/api/tags": {"models": [{"name": "qwen3:8b", "model": "qwen3:8b", "size": 5225388164}]},
    "/api/show": {"model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960}},
}
ANTHROPIC = {
    "data": [
        {
            "type": "model",
            "id": "claude-sonnet-4-5",
            "display_name": "Claude Sonnet 4.5",
            "created_at": "2025-09-29T00:00:00Z",
        }
    ],
    "has_more": False,
    "first_id": "claude-sonnet-4-5",
    "last_id": "claude-sonnet-4-5",
}


@pytest.fixture
async def start_backend() -> AsyncIterator[StartBackend]:
    """Starts a server that answers these paths with JSON, and 404 to others."""
    runners: list[web.AppRunner] = []

    async def start(answers: Answers) -> str:
        async def answer(request: web.Request) -> web.Response:
            found = answers.get(request.path)
            if found is None:
                return web.json_response({"error": "not found"}, status=404)
            if callable(found):
                response = found(request)
                assert isinstance(response, web.Response)
                return response
            return web.json_response(found)

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    yield start
    for runner in runners:
        await runner.cleanup()


async def init(*arguments: str) -> int:
    """The exit code of `gateway init`, which runs an event loop of its own."""
    return await asyncio.to_thread(main, ["init", *arguments])


async def written(tmp_path: Path, *urls: str, options: tuple[str, ...] = ()) -> dict[str, Any]:
    """The configuration that init writes for these backends, which the gateway accepts."""
    file = tmp_path / "config.yaml"
    upstreams = [part for url in urls for part in ("--upstream", url)]
    assert await init(*upstreams, "--output", str(file), *options) == 0
    document = yaml.safe_load(file.read_text())
    assert isinstance(document, dict)
    return document


async def test_a_vllm_server_is_described_with_its_context_size(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    url = await start_backend({"/v1/models": VLLM})
    document = await written(tmp_path, url)
    assert document["upstreams"] == {
        "vllm": {"dialect": "openai", "endpoints": [{"url": url}], "health": {"path": "/health"}}
    }
    assert document["models"] == {"meta-llama/Llama-3.1-8B-Instruct": {"upstream": "vllm"}}
    assert "# context: 131072 tokens" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize("suffix", ["/v1", "/v1/", "/"])
async def test_a_url_may_end_as_an_sdk_wants_it(
    start_backend: StartBackend, tmp_path: Path, suffix: str
) -> None:
    url = await start_backend({"/v1/models": VLLM})
    document = await written(tmp_path, url + suffix)
    assert document["upstreams"]["vllm"]["endpoints"] == [{"url": url}]


async def test_servers_with_the_same_models_are_endpoints_of_one_upstream(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    urls = [await start_backend({"/v1/models": VLLM}) for _ in range(2)]
    document = await written(tmp_path, *urls)
    assert document["upstreams"]["vllm"]["endpoints"] == [{"url": url} for url in urls]
    assert document["upstreams"]["vllm"]["balance"] == "prefix"


async def test_llama_cpp_tells_the_context_it_was_started_with(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    props = {"default_generation_settings": {"n_ctx": 4096}, "total_slots": 4}
    url = await start_backend({"/v1/models": LLAMA_CPP, "/props": props})
    document = await written(tmp_path, url)
    assert list(document["upstreams"]) == ["llama-cpp"]
    assert "# context: 4096 tokens" in (tmp_path / "config.yaml").read_text()


async def test_ollama_is_asked_in_its_own_dialect(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    url = await start_backend(OLLAMA | {"/v1/models": VLLM})
    document = await written(tmp_path, url)
    assert document["upstreams"]["ollama"]["dialect"] == "ollama"
    assert document["models"] == {"qwen3:8b": {"upstream": "ollama"}}
    assert {route["path"] for route in document["routes"]} == {"/v1/", "/v1/messages", "/api/"}
    assert "# context: 40960 tokens" in (tmp_path / "config.yaml").read_text()


async def test_anthropic_is_told_by_the_shape_of_its_listing(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    document = await written(tmp_path, await start_backend({"/v1/models": ANTHROPIC}))
    assert document["upstreams"]["anthropic"]["dialect"] == "anthropic"
    assert document["upstreams"]["anthropic"]["headers"] == {"anthropic-version": "2023-06-01"}


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


async def test_a_key_is_sent_from_the_environment_and_never_written(
    start_backend: StartBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def guarded(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer sk-secret":
            return web.json_response({"error": {"message": "no key"}}, status=401)
        return web.json_response(VLLM)

    monkeypatch.setenv("BACKEND_KEY", "sk-secret")
    url = await start_backend({"/v1/models": guarded})
    document = await written(tmp_path, url, options=("--key-env", "BACKEND_KEY"))
    assert document["upstreams"]["vllm"]["credentials"] == {"bearer": {"env": "BACKEND_KEY"}}
    assert "sk-secret" not in (tmp_path / "config.yaml").read_text()


async def test_a_backend_that_asks_for_a_key_is_named_with_the_remedy(
    start_backend: StartBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = await start_backend({"/v1/models": lambda _: web.json_response({}, status=401)})
    assert await init("--upstream", url, "--output", str(tmp_path / "c.yaml")) == 4
    assert f"{url}: it asks for a key (status 401): name the environment variable" in (
        capsys.readouterr().err
    )


async def test_every_backend_that_cannot_be_described_is_told_of(
    start_backend: StartBackend, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    web_page = await start_backend({})
    urls = ("http://127.0.0.1:1", web_page, "ftp://x")
    arguments = [part for url in urls for part in ("--upstream", url)]
    assert await init(*arguments, "--output", str(tmp_path / "c.yaml")) == 4
    errors = capsys.readouterr().err
    assert "http://127.0.0.1:1: cannot be reached: Connection refused\n" in errors
    assert f"{web_page}: it lists no models: status 404" in errors
    assert "ftp://x: not an endpoint" in errors
    assert not (tmp_path / "c.yaml").exists()


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
