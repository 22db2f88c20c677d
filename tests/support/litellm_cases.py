"""Requests to a LiteLLM proxy and to the gateway that its configuration becomes, and what comes of
them: which backend gets what, and what the caller gets.

Backends are scripted: each takes the next of its behaviours, and answers well after them. The
record in `tests/cli/litellm/recorded/` was made with `tests/support/record_litellm.py`.
"""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

BACKENDS = {
    "pair-a": "real-pair",
    "pair-b": "real-pair",
    "solo": "real-solo",
    "backup": "real-backup",
    "small": "real-small",
    "large": "real-large",
    "claude": "real-claude",
}
"""Backends, each with its own name for its model."""
MASTER = "sk-master"
TEXT = ("Hello ", "there")
_TOO_LONG = "This model's maximum context length is 8 tokens. However, your messages are longer."
_ERRORS: Mapping[str, tuple[int, str, str]] = {
    "400": (400, "invalid_request_error", "Bad temperature."),
    "401": (401, "invalid_api_key", "Incorrect API key provided."),
    "404": (404, "model_not_found", "The model does not exist."),
    "429": (429, "rate_limit_exceeded", "Rate limit reached."),
    "500": (500, "server_error", "The server had an error."),
    "503": (503, "overloaded", "Overloaded."),
    "too_long": (400, "context_length_exceeded", _TOO_LONG),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and what the backends do with it."""

    name: str
    body: Mapping[str, Any] | str | None
    path: str = "/v1/chat/completions"
    key: str | None = MASTER
    script: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Behaviours of backends, by their names. `pair` is the first of both that is asked."""


def _chat(model: str, **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}


_TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
}
_SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
CASES = (
    Case("chat", _chat("solo")),
    Case("chat_stream", _chat("solo", stream=True)),
    Case("one_of_two_deployments", _chat("pair")),
    Case("alias", _chat("nickname")),
    Case("alias_stream", _chat("nickname", stream=True)),
    Case("parameters", _chat("solo", temperature=0.3, top_p=0.9, max_tokens=7, stop=["x"], seed=1)),
    Case("tools", _chat("solo", tools=[_TOOL], tool_choice="auto")),
    Case("user", _chat("solo", user="ann")),
    Case("embeddings", {"model": "solo", "input": "Hi"}, "/v1/embeddings"),
    Case("completions", {"model": "solo", "prompt": "Hi"}, "/v1/completions"),
    Case("unknown_model", _chat("nothing")),
    Case("no_model", {"messages": []}),
    Case("wrong_key", _chat("solo"), key="sk-wrong"),
    Case("no_key", _chat("solo"), key=None),
    Case("not_json", "{"),
    Case("models", None, "/v1/models"),
    Case("without_v1", _chat("solo"), "/chat/completions"),
    Case("rotates_on_429", _chat("pair"), script={"pair": ["429"]}),
    Case("rotates_on_500", _chat("pair"), script={"pair": ["500"]}),
    Case("rotates_on_503", _chat("pair"), script={"pair": ["503"]}),
    Case("rotates_stream_on_429", _chat("pair", stream=True), script={"pair": ["429"]}),
    Case("rotates_on_a_closed_connection", _chat("pair"), script={"pair": ["close"]}),
    Case("falls_back_on_500", _chat("solo"), script={"solo": ["500"] * 9}),
    Case("falls_back_on_429", _chat("solo"), script={"solo": ["429"] * 9}),
    Case("falls_back_streamed", _chat("solo", stream=True), script={"solo": ["500"] * 9}),
    Case("all_fail", _chat("solo"), script={"solo": ["500"] * 9, "backup": ["500"] * 9}),
    Case("no_fallback_on_429", _chat("backup"), script={"backup": ["429"] * 9}),
    Case("bad_request", _chat("backup", temperature=9), script={"backup": ["400"] * 9}),
    Case("bad_request_with_fallback", _chat("solo"), script={"solo": ["400"] * 9}),
    Case("wrong_backend_key", _chat("backup"), script={"backup": ["401"] * 9}),
    Case("too_long_goes_to_the_larger", _chat("small"), script={"small": ["too_long"] * 9}),
    Case("too_long_without_a_larger", _chat("backup"), script={"backup": ["too_long"] * 9}),
    Case("breaks_off", _chat("backup", stream=True), script={"backup": ["break"]}),
    Case("claude", {"model": "claude", "messages": _SYSTEM, "max_tokens": 9}),
    Case("claude_stream", _chat("claude", stream=True, max_tokens=9)),
    Case("drops_parameters", _chat("claude", logit_bias={"1": 1}, frequency_penalty=1, seed=4)),
)


class Backends:
    """Scripted backends. Each speaks OpenAI's API, but for `claude`, which speaks Anthropic's."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.sent: list[dict[str, Any]] = []
        self._scripts: dict[str, deque[str]] = defaultdict(deque)

    def play(self, script: Mapping[str, Sequence[str]]) -> None:
        """Set the behaviours of the next requests, and forget what was sent before."""
        self.sent = []
        self._scripts = defaultdict(deque, {name: deque(steps) for name, steps in script.items()})

    @asynccontextmanager
    async def running(self, ports: Mapping[str, int] = {}) -> AsyncIterator[Backends]:
        """Serve on these ports, or on free ones."""
        runners = []
        for name in BACKENDS:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", self._handler(name))
            runner = web.AppRunner(app, shutdown_timeout=0.1)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", ports.get(name, 0))
            await site.start()
            self.ports[name] = runner.addresses[0][1]
            runners.append(runner)
        try:
            yield self
        finally:
            for runner in runners:
                await runner.cleanup()

    def _handler(self, name: str) -> Any:
        async def handle(request: web.Request) -> web.StreamResponse:
            body = json.loads(await request.read() or b"{}")
            steps = self._scripts[name] or self._scripts[name.partition("-")[0]]
            step = steps.popleft() if steps else "ok"
            credential = request.headers.get("x-api-key") or request.headers.get("Authorization")
            self.sent.append(
                {
                    "backend": name,
                    "path": request.path,
                    "credential": (credential or "").removeprefix("Bearer "),
                    "body": body,
                    "step": step,
                }
            )
            if step == "close":
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            if step in _ERRORS:
                status, code, message = _ERRORS[step]
                error = {"message": message, "type": code, "param": None, "code": code}
                return web.json_response({"error": error}, status=status)
            if name == "claude":
                return await _claude(request, body)
            return await _openai(request, body, breaks=step == "break")

        return handle


async def _openai(
    request: web.Request, body: Mapping[str, Any], *, breaks: bool
) -> web.StreamResponse:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    named = {"id": "x", "created": 1, "model": body.get("model")}
    if request.path.endswith("/embeddings"):
        vector = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        return web.json_response({"object": "list", "data": [vector], **named, "usage": usage})
    if request.path.endswith("/v1/completions"):
        choice = {"index": 0, "text": "".join(TEXT), "finish_reason": "stop"}
        document = {**named, "object": "text_completion", "choices": [choice], "usage": usage}
        return web.json_response(document)
    if not body.get("stream"):
        message = {"role": "assistant", "content": "".join(TEXT)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        document = {**named, "object": "chat.completion", "choices": [choice], "usage": usage}
        return web.json_response(document)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for place, text in enumerate(TEXT):
        delta = {"content": text} | ({"role": "assistant"} if place == 0 else {})
        choice = {"index": 0, "delta": delta, "finish_reason": None}
        chunk = {**named, "object": "chat.completion.chunk", "choices": [choice]}
        await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        if breaks:
            assert request.transport is not None
            request.transport.close()
            return response
    choice = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunk = {**named, "object": "chat.completion.chunk", "choices": [choice]}
    await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n")
    return response


async def _claude(request: web.Request, body: Mapping[str, Any]) -> web.StreamResponse:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": body.get("model"),
        "content": [{"type": "text", "text": "".join(TEXT)}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    if not body.get("stream"):
        return web.json_response(message)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    block = {"type": "text", "text": ""}
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**message, "content": [], "stop_reason": None},
        },
        {"type": "content_block_start", "index": 0, "content_block": block},
        *(
            {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": text},
            }
            for text in TEXT
        ),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 2},
        },
        {"type": "message_stop"},
    ]
    for event in events:
        data = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
        await response.write(data.encode())
    return response


async def outcome(
    session: aiohttp.ClientSession, address: str, case: Case, key: str | None, backends: Backends
) -> dict[str, Any]:
    """Send the request of a case, and return what comes of it."""
    backends.play(case.script)
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    if case.body is not None:
        headers["Content-Type"] = "application/json"
    body = case.body if isinstance(case.body, str | None) else json.dumps(case.body)
    method = "GET" if case.body is None else "POST"
    async with session.request(method, address + case.path, data=body, headers=headers) as response:
        data, whole = b"", True
        try:
            async for part in response.content.iter_any():
                data += part
        except aiohttp.ClientPayloadError:
            whole = False
        answer = _answer(response.status, response.content_type, data.decode())
    if not whole:
        answer["cut"] = True
    return {"sent": [_sent(one) for one in backends.sent], "answer": answer}


def _sent(one: Mapping[str, Any]) -> dict[str, Any]:
    body = dict(one["body"])
    body.pop("stream_options", None)  # asks for usage, which the gateway takes out again
    if body.get("stream") is False:
        del body["stream"]  # the default
    return {**one, "body": body}


def _answer(status: int, kind: str, text: str) -> dict[str, Any]:
    if kind == "text/event-stream":
        return {"status": status, **_stream(text)}
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        return {"status": status, "kind": kind}
    if "error" in document:
        error = document["error"]
        return {"status": status, "error": sorted(error) if isinstance(error, dict) else "text"}
    if document.get("object") == "list" and "usage" not in document:
        return {"status": status, "models": sorted(one["id"] for one in document["data"])}
    if "choices" not in document:
        vectors = [one["embedding"] for one in document.get("data", ())]
        return {"status": status, "model": document.get("model"), "vectors": vectors}
    (choice,) = document["choices"]
    words = choice["message"]["content"] if "message" in choice else choice["text"]
    found = {"text": words, "finish": choice["finish_reason"]}
    return {"status": status, "model": document.get("model"), **found}


def _stream(text: str) -> dict[str, Any]:
    """Return what a streamed answer says: its texts, its end, and whether it has an error."""
    words, finish, done, error, model = "", None, False, False, None
    for line in text.splitlines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            done = True
            continue
        event = json.loads(line[6:])
        if "error" in event:
            error = True
            continue
        model = event.get("model") or model
        for choice in event.get("choices", ()):
            words += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
    return {"stream": words, "finish": finish, "done": done, "error_event": error, "model": model}
