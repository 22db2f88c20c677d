"""The Ollama dialect: chat and generate as lines of JSON, tags, show, embed.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from gateway.demo.generation import Generation, Refusal
from gateway.demo.openai import MODELS, prompt_of, read_object, texts_of
from gateway.demo.text import count_tokens, embedding

_CREATED = "2026-01-01T00:00:00Z"
_DIMENSIONS = 64
_DETAILS = {
    "parent_model": "",
    "format": "gguf",
    "family": "demo",
    "families": ["demo"],
    "parameter_size": "0B",
    "quantization_level": "F16",
}


def routes() -> list[web.RouteDef]:
    """What it serves."""
    return [
        web.post("/api/chat", chat),
        web.post("/api/generate", generate),
        web.post("/api/embed", embed),
        web.post("/api/show", show),
        web.get("/api/tags", tags),
        web.get("/api/version", version),
    ]


def refusal(error: Refusal) -> web.Response:
    """An error as Ollama words it."""
    body = {"error": error.message}
    return web.json_response(body, status=error.status, headers=error.headers)


async def chat(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = prompt_of(body.get("messages"))
    return await _answer(
        request, body, prompt, lambda text: {"message": {"role": "assistant", "content": text}}
    )


async def generate(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise Refusal(400, "prompt is required")
    return await _answer(request, body, prompt, lambda text: {"response": text})


async def _answer(
    request: web.Request,
    body: dict[str, Any],
    prompt: str,
    shape: Callable[[str], dict[str, Any]],
) -> web.StreamResponse:
    options = body.get("options") or {}
    most = options.get("num_predict") if isinstance(options, dict) else options
    if most is not None and not (isinstance(most, int) and most):
        raise Refusal(400, "option 'num_predict' must be of type integer")
    if most is not None and most < 0:
        most = None  # without a limit
    generation = Generation(request, body["model"], prompt, most)
    await generation.begin()
    head = {"model": body["model"], "created_at": _CREATED}
    ending = {
        "done": True,
        "done_reason": "length" if generation.cut else "stop",
        "total_duration": 1,
        "load_duration": 1,
        "prompt_eval_count": generation.prompt_tokens,
        "prompt_eval_duration": 1,
        "eval_count": len(generation.tokens),
        "eval_duration": 1,
    }
    if body.get("stream") is False:
        return web.json_response(head | shape(await generation.whole()) | ending)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async for token in generation.stream():
        await response.write(orjson.dumps(head | shape(token) | {"done": False}) + b"\n")
    await response.write(orjson.dumps(head | shape("") | ending) + b"\n")
    return response


async def embed(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    texts = texts_of(body.get("input"))
    await Generation(request, body["model"], "", None).begin()
    return web.json_response(
        {
            "model": body["model"],
            "embeddings": [embedding(text, _DIMENSIONS) for text in texts],
            "total_duration": 1,
            "load_duration": 1,
            "prompt_eval_count": sum(count_tokens(text) for text in texts),
        }
    )


async def show(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    return web.json_response(
        {"modelfile": "", "parameters": "", "template": "", "details": _DETAILS, "model_info": {}}
    )


async def tags(request: web.Request) -> web.StreamResponse:
    models = [
        {
            "name": name,
            "model": name,
            "modified_at": _CREATED,
            "size": 1,
            "digest": "demo",
            "details": _DETAILS,
        }
        for name in MODELS
    ]
    return web.json_response({"models": models})


async def version(request: web.Request) -> web.StreamResponse:
    return web.json_response({"version": "0.0.0-demo"})
