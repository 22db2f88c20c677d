"""The OpenAI dialect: chat, completions, responses, embeddings, models, transcriptions.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
from aiohttp import web

from gateway.demo.generation import Generation, Refusal
from gateway.demo.text import count_tokens, embedding
from gateway.sse import EVENT_STREAM

MODELS = ("demo", "demo-llama", "demo-slow", "demo-embedding", "demo-whisper")
_CREATED = 1_700_000_000
_DIMENSIONS = 64
_MOST_DIMENSIONS = 4096


def routes() -> list[web.RouteDef]:
    """What it serves."""
    return [
        web.post("/v1/chat/completions", chat),
        web.post("/v1/completions", completions),
        web.post("/v1/responses", responses),
        web.post("/v1/embeddings", embeddings),
        web.post("/v1/audio/transcriptions", transcriptions),
        web.get("/v1/models", models),
        web.get("/v1/models/{model:.+}", model),
    ]


def refusal(error: Refusal) -> web.Response:
    """An error as OpenAI words it."""
    kind = "rate_limit_error" if error.status == 429 else "invalid_request_error"
    kind = "server_error" if error.status >= 500 else kind
    body = {"error": {"message": error.message, "type": kind, "code": None, "param": None}}
    return web.json_response(body, status=error.status, headers=error.headers)


async def chat(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    generation = _generation(request, body, prompt_of(body.get("messages")))
    await generation.begin()
    head = {"id": "chatcmpl-demo", "created": _CREATED, "model": body["model"]}
    tool = _called_tool(body)
    if not body.get("stream"):
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        if tool is None:
            message["content"] = await generation.whole()
        else:
            message["tool_calls"] = [tool]
        choice = {"index": 0, "message": message, "logprobs": None}
        choice["finish_reason"] = _finish(generation, tool)
        return web.json_response(
            head | {"object": "chat.completion", "choices": [choice], "usage": _usage(generation)}
        )
    head |= {"object": "chat.completion.chunk"}
    response = await sse(request)

    async def send(delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await event(response, head | {"choices": [choice]})

    await send({"role": "assistant", "content": "" if tool is None else None})
    if tool is None:
        async for token in generation.stream():
            await send({"content": token})
    else:
        await send({"tool_calls": [{"index": 0} | tool]})
    await send({}, _finish(generation, tool))
    if _wants_usage(body):
        await event(response, head | {"choices": [], "usage": _usage(generation)})
    await response.write(b"data: [DONE]\n\n")
    return response


async def completions(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = "\n".join(texts_of(body.get("prompt"), "prompt"))
    generation = _generation(request, body, prompt)
    await generation.begin()
    head = {
        "id": "cmpl-demo",
        "object": "text_completion",
        "created": _CREATED,
        "model": body["model"],
    }

    def choice(text: str, finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

    if not body.get("stream"):
        text = await generation.whole()
        done = {"choices": [choice(text, _finish(generation))], "usage": _usage(generation)}
        return web.json_response(head | done)
    response = await sse(request)
    async for token in generation.stream():
        await event(response, head | {"choices": [choice(token, None)]})
    await event(response, head | {"choices": [choice("", _finish(generation))]})
    if _wants_usage(body):
        await event(response, head | {"choices": [], "usage": _usage(generation)})
    await response.write(b"data: [DONE]\n\n")
    return response


async def responses(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    asked = body.get("input")
    prompt = asked if isinstance(asked, str) else prompt_of(asked, "input")
    generation = _generation(request, body, prompt, limit="max_output_tokens")
    await generation.begin()

    ended = "incomplete" if generation.cut else "completed"

    def part(text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def item(text: str | None) -> dict[str, Any]:
        content = [] if text is None else [part(text)]
        status = "in_progress" if text is None else "completed"
        kind = {"id": "msg_demo", "type": "message", "role": "assistant"}
        if text is not None and generation.cut:
            status = "incomplete"
        return kind | {"status": status, "content": content}

    def document(text: str | None) -> dict[str, Any]:
        return {
            "id": "resp_demo",
            "object": "response",
            "created_at": _CREATED,
            "status": "in_progress" if text is None else ended,
            "model": body["model"],
            "output": [] if text is None else [item(text)],
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"}
            if ended == "incomplete"
            else None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": None if text is None else _response_usage(generation),
        }

    if not body.get("stream"):
        return web.json_response(document(await generation.whole()))
    response = await sse(request)
    sequence = 0

    async def send(kind: str, **fields: Any) -> None:
        nonlocal sequence
        await event(response, {"type": kind, "sequence_number": sequence, **fields}, name=kind)
        sequence += 1

    where = {"item_id": "msg_demo", "output_index": 0, "content_index": 0}
    await send("response.created", response=document(None))
    await send("response.in_progress", response=document(None))
    await send("response.output_item.added", output_index=0, item=item(None))
    await send("response.content_part.added", **where, part=part(""))
    async for token in generation.stream():
        await send("response.output_text.delta", **where, delta=token, logprobs=[])
    text = generation.text
    await send("response.output_text.done", **where, text=text, logprobs=[])
    await send("response.content_part.done", **where, part=part(text))
    await send("response.output_item.done", output_index=0, item=item(text))
    await send(f"response.{ended}", response=document(text))
    return response


async def embeddings(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    texts = texts_of(body.get("input"))
    await _generation(request, body, "").begin()
    dimensions = body.get("dimensions", _DIMENSIONS)
    if not isinstance(dimensions, int) or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise Refusal(400, f"'dimensions' has to be from 1 to {_MOST_DIMENSIONS}.")
    data = []
    for index, text in enumerate(texts):
        vector: Any = embedding(text, dimensions)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    tokens = sum(count_tokens(text) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return web.json_response(
        {"object": "list", "data": data, "model": body["model"], "usage": usage}
    )


async def transcriptions(request: web.Request) -> web.StreamResponse:
    form = await request.post()
    file, model = form.get("file"), form.get("model")
    if not isinstance(file, web.FileField) or not isinstance(model, str):
        raise Refusal(400, "The form needs 'file' and 'model'.")
    await Generation(request, model, "", None).begin()
    size = len(file.file.read())
    return web.json_response({"text": f"{model} heard {size} bytes of {file.filename}."})


async def models(request: web.Request) -> web.StreamResponse:
    return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(request: web.Request) -> web.StreamResponse:
    if request.match_info["model"] not in MODELS:
        raise Refusal(404, "The model does not exist.")
    return web.json_response(_model(request.match_info["model"]))


# -- shared with the other dialects --------------------------------------------------------


async def read_object(request: web.Request) -> dict[str, Any]:
    """The body, a JSON object that names a model. Raise Refusal."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as exc:
        raise Refusal(400, "The body is not JSON.") from exc
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise Refusal(400, "The body has to be an object that names a 'model'.")
    return body


def prompt_of(messages: object, field: str = "messages") -> str:
    """All texts of a list of messages. Raise Refusal if it is none."""
    if not (isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)):
        raise Refusal(400, f"'{field}' has to be a list of messages.")
    texts = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts += [
            p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)
        ]
    return "\n".join(texts)


def texts_of(asked: object, field: str = "input") -> list[str]:
    """A text or a list of texts, as a list. Raise Refusal if it is neither."""
    listed = asked if isinstance(asked, list) else [asked]
    texts = [text for text in listed if isinstance(text, str)]
    if not texts or len(texts) != len(listed):
        raise Refusal(400, f"'{field}' has to be a text or a list of texts.")
    return texts


async def sse(request: web.Request) -> web.StreamResponse:
    """An event stream, its head sent."""
    response = web.StreamResponse(headers={"Content-Type": f"{EVENT_STREAM}; charset=utf-8"})
    await response.prepare(request)
    return response


async def event(response: web.StreamResponse, data: object, name: str | None = None) -> None:
    """One event in one write."""
    head = b"" if name is None else b"event: %b\n" % name.encode()
    await response.write(b"%bdata: %b\n\n" % (head, orjson.dumps(data)))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "demo"}


def _generation(
    request: web.Request, body: dict[str, Any], prompt: str, *, limit: str = "max_tokens"
) -> Generation:
    most = body.get(limit, body.get("max_completion_tokens"))
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise Refusal(400, f"'{limit}' has to be a whole number above 0.")
    return Generation(request, body["model"], prompt, most)


def _called_tool(body: dict[str, Any]) -> dict[str, Any] | None:
    """The tool the last message mentions by name, called with no arguments."""
    messages = body["messages"]
    asked = prompt_of(messages[-1:])
    tools = body.get("tools") or []
    if not (isinstance(tools, list) and all(isinstance(tool, dict) for tool in tools)):
        raise Refusal(400, "'tools' has to be a list of tools.")
    for tool in tools:
        function = tool.get("function")
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str) and name in asked:
            function = {"name": name, "arguments": "{}"}
            return {"id": "call_demo", "type": "function", "function": function}
    return None


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _finish(generation: Generation, tool: object = None) -> str:
    if tool is not None:
        return "tool_calls"
    return "length" if generation.cut else "stop"


def _usage(generation: Generation) -> dict[str, int]:
    read, written = generation.prompt_tokens, len(generation.tokens)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def _response_usage(generation: Generation) -> dict[str, Any]:
    read, written = generation.prompt_tokens, len(generation.tokens)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
