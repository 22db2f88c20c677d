"""Ollama dialect: chat and generate as JSON lines, tags, ps, show, embed.

https://github.com/ollama/ollama/blob/main/docs/api.md
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
from aiohttp import web

from gateway.demo.generation import DemoError, DemoGeneration
from gateway.demo.openai import MODELS, prompt_of, read_object, texts_of
from gateway.demo.structured import ANY_OBJECT, structured
from gateway.demo.text import count_tokens, embedding
from gateway.demo.tools import DemoToolCall, DemoToolChoice, called, objects, tool_of

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
    """Return the routes of this dialect."""
    return [
        web.post("/api/chat", chat),
        web.post("/api/generate", generate),
        web.post("/api/embed", embed),
        web.post("/api/embeddings", old_embed),
        web.post("/api/show", show),
        web.get("/api/ps", ps),
        web.get("/api/tags", tags),
        web.get("/api/version", version),
    ]


def refusal(error: DemoError) -> web.Response:
    """Return an error in Ollama's format."""
    body = {"error": error.message}
    return web.json_response(body, status=error.status, headers=error.headers)


async def chat(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = prompt_of(body.get("messages"))
    last = body["messages"][-1:]
    tools = [tool_of(tool.get("function")) for tool in objects(body.get("tools"))]
    answered = last[0].get("role") == "tool"
    call = called(tools, DemoToolChoice(), prompt_of(last), prompt, answered=answered)
    return await _answer(
        request,
        body,
        prompt,
        lambda text: {"message": {"role": "assistant", "content": text}},
        call,
    )


async def generate(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise DemoError(400, "prompt is required")
    return await _answer(request, body, prompt, lambda text: {"response": text})


async def _answer(
    request: web.Request,
    body: dict[str, Any],
    prompt: str,
    shape: Callable[[str], dict[str, Any]],
    call: DemoToolCall | None = None,
) -> web.StreamResponse:
    options = body.get("options") or {}
    most = options.get("num_predict") if isinstance(options, dict) else options
    if most is not None and not (isinstance(most, int) and most):
        raise DemoError(400, "option 'num_predict' must be of type integer")
    if most is not None and most < 0:
        most = None  # no limit
    tokens = call.tokens if call is not None else _formatted(body, prompt)
    generation = DemoGeneration(request, body["model"], prompt, most, tokens=tokens)
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
        text = await generation.whole()
        return web.json_response(
            head | (shape(text) if call is None else _call_message(call)) | ending
        )
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)
    async for token in generation.stream():
        if call is None:
            await response.write(orjson.dumps(head | shape(token) | {"done": False}) + b"\n")
    if call is not None:  # Ollama sends a call in one line
        await response.write(orjson.dumps(head | _call_message(call) | {"done": False}) + b"\n")
    await response.write(orjson.dumps(head | shape("") | ending) + b"\n")
    return response


def _call_message(call: DemoToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"message": {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}}


def _formatted(body: dict[str, Any], prompt: str) -> list[str] | None:
    """Return the tokens of a structured answer; None if `format` does not request one."""
    asked = body.get("format")
    if not asked:
        return None
    if asked != "json" and not isinstance(asked, dict):
        raise DemoError(400, "format has to be json, or a JSON schema")
    return structured(asked if isinstance(asked, dict) else ANY_OBJECT, prompt)


async def embed(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    texts = texts_of(body.get("input"))
    await DemoGeneration(request, body["model"], "", None).begin()
    return web.json_response(
        {
            "model": body["model"],
            "embeddings": [embedding(text, _DIMENSIONS) for text in texts],
            "total_duration": 1,
            "load_duration": 1,
            "prompt_eval_count": sum(count_tokens(text) for text in texts),
        }
    )


async def old_embed(request: web.Request) -> web.StreamResponse:
    """Embed one text, for older clients."""
    body = await read_object(request)
    (text,) = texts_of([body.get("prompt")], "prompt")
    await DemoGeneration(request, body["model"], "", None).begin()
    return web.json_response({"embedding": embedding(text, _DIMENSIONS)})


async def show(request: web.Request) -> web.StreamResponse:
    await read_object(request)
    return web.json_response(
        {
            "modelfile": "",
            "parameters": "",
            "template": "",
            "details": _DETAILS,
            "model_info": {"general.architecture": "demo", "demo.context_length": 8192},
            "capabilities": ["completion", "tools"],
        }
    )


async def tags(request: web.Request) -> web.StreamResponse:
    same = {"modified_at": _CREATED, "size": 1, "digest": "demo", "details": _DETAILS}
    models = [{"name": name, "model": name, **same} for name in MODELS]
    return web.json_response({"models": models})


async def ps(request: web.Request) -> web.StreamResponse:
    return web.json_response({"models": []})


async def version(request: web.Request) -> web.StreamResponse:
    return web.json_response({"version": "0.0.0-demo"})
