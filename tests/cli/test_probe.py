"""Backends are recognised by what they answer, or it is said why they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web

from gateway.demo import DemoBackend
from tests.support.commands import VLLM, StartBackend, init, written

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
    own = {"object": "list", "data": [{"id": "qwen3:8b", "object": "model", "owned_by": "library"}]}
    url = await start_backend(OLLAMA | {"/v1/models": own})
    document = await written(tmp_path, url)
    assert document["upstreams"]["ollama"]["dialect"] == "ollama"
    assert document["models"] == {"qwen3:8b": {"upstream": "ollama"}}
    assert {route["path"] for route in document["routes"]} == {"/v1/", "/v1/messages", "/api/"}
    assert "# context: 40960 tokens" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("owner", "name"), [("llamacpp", "llama-cpp"), ("koboldcpp", "koboldcpp"), ("vllm", "vllm")]
)
async def test_a_product_that_also_answers_ollamas_paths_is_not_taken_for_ollama(
    start_backend: StartBackend, tmp_path: Path, owner: str, name: str
) -> None:
    listed = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": owner}]}
    document = await written(tmp_path, await start_backend(OLLAMA | {"/v1/models": listed}))
    assert document["upstreams"][name]["dialect"] == "openai"
    assert document["models"] == {"m": {"upstream": name}}


async def test_the_demo_backend_says_that_it_is_one(tmp_path: Path) -> None:
    backend = DemoBackend(pace_s=0.0)
    await backend.start()
    try:
        document = await written(tmp_path, backend.url)
    finally:
        await backend.stop()
    assert document["upstreams"]["demo-backend"]["dialect"] == "openai"


async def test_anthropic_is_told_by_the_shape_of_its_listing(
    start_backend: StartBackend, tmp_path: Path
) -> None:
    document = await written(tmp_path, await start_backend({"/v1/models": ANTHROPIC}))
    assert document["upstreams"]["anthropic"]["dialect"] == "anthropic"
    assert document["upstreams"]["anthropic"]["headers"] == {"anthropic-version": "2023-06-01"}


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
