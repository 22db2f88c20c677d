"""OpenAI dialect: chat, completions, embeddings, models.

Chats support tool calls and JSON answers. The Responses API is in `responses.py`, transcriptions
are in `audio.py`, and images in `images.py`.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import base64
import struct
from typing import Any

import orjson
from aiohttp import web

from gateway.demo.generation import DemoError, DemoGeneration
from gateway.demo.structured import ANY_OBJECT, structured
from gateway.demo.text import count_tokens, embedding
from gateway.demo.tools import DemoToolCall, DemoToolChoice, called, objects, tool_of
from gateway.sse import EVENT_STREAM

MODELS = ("demo", "demo-llama", "demo-slow", "demo-embedding", "demo-whisper", "demo-image")
CREATED = 1_700_000_000
_DIMENSIONS = 64
_MOST_DIMENSIONS = 4096


def routes() -> list[web.RouteDef]:
    """Return the routes of this dialect."""
    return [
        web.post("/v1/chat/completions", chat),
        web.post("/v1/completions", completions),
        web.post("/v1/embeddings", embeddings),
        web.get("/v1/models", models),
        web.get("/v1/models/{model:.+}", model),
    ]


def refusal(error: DemoError) -> web.Response:
    """Return an error in OpenAI's format."""
    kind = "rate_limit_error" if error.status == 429 else "invalid_request_error"
    kind = "server_error" if error.status >= 500 else kind
    body = {"error": {"message": error.message, "type": kind, "code": None, "param": None}}
    return web.json_response(body, status=error.status, headers=error.headers)


async def chat(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = prompt_of(body.get("messages"))
    call = _called(body, prompt)
    generation = generation_of(request, body, prompt, tokens=_tokens(body, prompt, call))
    await generation.begin()
    head = {"id": "chatcmpl-demo", "created": CREATED, "model": body["model"]}
    finish = "length" if generation.cut else "stop" if call is None else "tool_calls"
    if not body.get("stream"):
        text = await generation.whole()
        message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
        if call is not None:
            message |= {"content": None, "tool_calls": [_tool_call(call, text)]}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return web.json_response(
            head | {"object": "chat.completion", "choices": [choice], "usage": _usage(generation)}
        )
    head |= {"object": "chat.completion.chunk"}
    response = await sse(request)

    async def send(delta: dict[str, Any], finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await event(response, head | {"choices": [choice]})

    await send({"role": "assistant", "content": "" if call is None else None})
    if call is not None:
        await send({"tool_calls": [{"index": 0} | _tool_call(call, "")]})
    async for token in generation.stream():
        if call is None:
            await send({"content": token})
        else:
            await send({"tool_calls": [{"index": 0, "function": {"arguments": token}}]})
    await send({}, finish)
    if _wants_usage(body):
        await event(response, head | {"choices": [], "usage": _usage(generation)})
    await response.write(b"data: [DONE]\n\n")
    return response


async def completions(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = "\n".join(inputs_of(body.get("prompt"), "prompt"))
    generation = generation_of(request, body, prompt)
    await generation.begin()
    head = {
        "id": "cmpl-demo",
        "object": "text_completion",
        "created": CREATED,
        "model": body["model"],
    }

    def choice(text: str, finish: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

    finish = "length" if generation.cut else "stop"
    if not body.get("stream"):
        text = await generation.whole()
        done = {"choices": [choice(text, finish)], "usage": _usage(generation)}
        return web.json_response(head | done)
    response = await sse(request)
    async for token in generation.stream():
        await event(response, head | {"choices": [choice(token, None)]})
    await event(response, head | {"choices": [choice("", finish)]})
    if _wants_usage(body):
        await event(response, head | {"choices": [], "usage": _usage(generation)})
    await response.write(b"data: [DONE]\n\n")
    return response


async def embeddings(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    texts = inputs_of(body.get("input"))
    await generation_of(request, body, "").begin()
    dimensions = body.get("dimensions", _DIMENSIONS)
    if not isinstance(dimensions, int) or not 0 < dimensions <= _MOST_DIMENSIONS:
        raise DemoError(400, f"'dimensions' has to be from 1 to {_MOST_DIMENSIONS}.")
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


async def models(request: web.Request) -> web.StreamResponse:
    return web.json_response({"object": "list", "data": [_model(name) for name in MODELS]})


async def model(request: web.Request) -> web.StreamResponse:
    if request.match_info["model"] not in MODELS:
        raise DemoError(404, "The model does not exist.")
    return web.json_response(_model(request.match_info["model"]))


# -- shared with the other dialects --------------------------------------------------------


async def read_object(request: web.Request) -> dict[str, Any]:
    """Parse the body, a JSON object that names a model. Raise Refusal."""
    try:
        body = orjson.loads(await request.read())
    except orjson.JSONDecodeError as exc:
        raise DemoError(400, "The body is not JSON.") from exc
    if not isinstance(body, dict) or not isinstance(body.get("model"), str):
        raise DemoError(400, "The body has to be an object that names a 'model'.")
    return body


def prompt_of(messages: object, field: str = "messages") -> str:
    """Return all texts of a list of messages. Raise Refusal if it is no such list."""
    if not (isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages)):
        raise DemoError(400, f"'{field}' has to be a list of messages.")
    texts = []
    for message in messages:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"text": content}]
        texts += [
            p["text"] for p in parts if isinstance(p, dict) and isinstance(p.get("text"), str)
        ]
    return "\n".join(texts)


def texts_of(asked: object, field: str = "input") -> list[str]:
    """Return a text, or a list of texts, as a list. Raise Refusal if it is neither."""
    listed = asked if isinstance(asked, list) else [asked]
    texts = [text for text in listed if isinstance(text, str)]
    if not texts or len(texts) != len(listed):
        raise DemoError(400, f"'{field}' has to be a text or a list of texts.")
    return texts


def inputs_of(asked: object, field: str = "input") -> list[str]:
    """Return texts, or lists of token ids converted to texts. Raise Refusal if it is neither."""
    if _is_ids(asked):
        asked = [asked]
    if isinstance(asked, list) and asked and all(map(_is_ids, asked)):
        return [" ".join(map(str, ids)) for ids in asked]
    return texts_of(asked, field)


def _is_ids(asked: object) -> bool:
    return (
        isinstance(asked, list)
        and bool(asked)
        and all(isinstance(each, int) and not isinstance(each, bool) for each in asked)
    )


async def sse(request: web.Request) -> web.StreamResponse:
    """Return an event stream whose head was sent."""
    response = web.StreamResponse(headers={"Content-Type": f"{EVENT_STREAM}; charset=utf-8"})
    await response.prepare(request)
    return response


async def event(response: web.StreamResponse, data: object, name: str | None = None) -> None:
    """Send one event in one write."""
    head = b"" if name is None else b"event: %b\n" % name.encode()
    await response.write(b"%bdata: %b\n\n" % (head, orjson.dumps(data)))


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "demo"}


def generation_of(
    request: web.Request,
    body: dict[str, Any],
    prompt: str,
    *,
    limit: str = "max_tokens",
    tokens: list[str] | None = None,
) -> DemoGeneration:
    """Create the generation for a prompt, with the body's length limit. Raise Refusal."""
    most = body.get(limit, body.get("max_completion_tokens"))
    if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
        raise DemoError(400, f"'{limit}' has to be a whole number above 0.")
    return DemoGeneration(request, body["model"], prompt, most, tokens=tokens)


def _called(body: dict[str, Any], prompt: str) -> DemoToolCall | None:
    """Return the tool call that a chat's last message causes, or None."""
    messages = body["messages"]
    tools = [tool_of(tool.get("function")) for tool in objects(body.get("tools"))]
    answered = messages[-1].get("role") == "tool"
    last = prompt_of(messages[-1:])
    return called(tools, choice_of(body.get("tool_choice")), last, prompt, answered=answered)


def choice_of(asked: object) -> DemoToolChoice:
    """Read `tool_choice` in the form of a chat or of the Responses API."""
    if isinstance(asked, dict):
        function = asked.get("function", asked)
        name = function.get("name") if isinstance(function, dict) else None
        return DemoToolChoice(name=name if isinstance(name, str) else None)
    return DemoToolChoice(may=asked != "none", must=asked == "required")


def _tool_call(call: DemoToolCall, arguments: str) -> dict[str, Any]:
    function = {"name": call.name, "arguments": arguments}
    return {"id": "call_demo", "type": "function", "function": function}


def _tokens(body: dict[str, Any], prompt: str, call: DemoToolCall | None) -> list[str] | None:
    """Return the tokens of a tool call or structured answer; None for ordinary text."""
    if call is not None:
        return call.tokens
    asked = body.get("response_format")
    described = asked.get("json_schema") if isinstance(asked, dict) else None
    return in_format(asked, described, prompt)


def in_format(asked: object, described: object, prompt: str) -> list[str] | None:
    """Return the tokens of a JSON answer, or None if the format does not request JSON.

    `described` holds the schema. Raise Refusal for an unknown format.
    """
    if not isinstance(asked, dict) or asked.get("type") in (None, "text"):
        return None
    if asked["type"] == "json_object":
        return structured(ANY_OBJECT, prompt)
    schema = described.get("schema") if isinstance(described, dict) else None
    if asked["type"] != "json_schema" or not isinstance(schema, dict):
        raise DemoError(
            400, "The format has to be text, json_object, or json_schema with a schema."
        )
    return structured(schema, prompt)


def _wants_usage(body: dict[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _usage(generation: DemoGeneration) -> dict[str, int]:
    read, written = generation.prompt_tokens, len(generation.tokens)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
