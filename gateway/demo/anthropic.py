"""Anthropic dialect: messages with tools and structured output, and token counting.

https://docs.anthropic.com/en/api/messages and /messages-streaming
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from gateway.demo.generation import DemoError, DemoGeneration
from gateway.demo.openai import event, prompt_of, read_object, sse
from gateway.demo.structured import structured
from gateway.demo.text import count_tokens
from gateway.demo.tools import DemoToolCall, DemoToolChoice, called, objects, tool_of

_KINDS = {400: "invalid_request_error", 429: "rate_limit_error"}


def routes() -> list[web.RouteDef]:
    """Return the routes of this dialect."""
    return [web.post("/v1/messages", messages), web.post("/v1/messages/count_tokens", count)]


def refusal(error: DemoError) -> web.Response:
    """Return an error in Anthropic's format."""
    inner = {"type": _KINDS.get(error.status, "api_error"), "message": error.message}
    body = {"type": "error", "error": inner, "request_id": "req_demo"}
    return web.json_response(body, status=error.status, headers=error.headers)


async def count(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    return web.json_response({"input_tokens": count_tokens(prompt_of(body.get("messages")))})


async def messages(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    most = body.get("max_tokens")
    if not isinstance(most, int) or most < 1:
        raise DemoError(400, "max_tokens: Field required")
    prompt = prompt_of(body.get("messages"))
    call = _called(body, prompt)
    tokens = call.tokens if call is not None else _formatted(body, prompt)
    generation = DemoGeneration(request, body["model"], prompt, most, tokens=tokens)
    await generation.begin()
    stop = "max_tokens" if generation.cut else "end_turn" if call is None else "tool_use"

    def message(content: list[Any], stop_reason: str | None, written: int) -> dict[str, Any]:
        return {
            "id": "msg_demo",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": content,
            "stop_reason": stop_reason,
            "stop_sequence": None,
            "usage": {"input_tokens": generation.prompt_tokens, "output_tokens": written},
        }

    if not body.get("stream"):
        text = await generation.whole()
        content = [{"type": "text", "text": text} if call is None else _block(call, call.arguments)]
        return web.json_response(message(content, stop, len(generation.tokens)))
    response = await sse(request)

    async def send(kind: str, **fields: Any) -> None:
        await event(response, {"type": kind, **fields}, name=kind)

    await send("message_start", message=message([], None, 0))
    block = {"type": "text", "text": ""} if call is None else _block(call, {})
    await send("content_block_start", index=0, content_block=block)
    await send("ping")
    async for token in generation.stream():
        delta = {"type": "text_delta", "text": token}
        if call is not None:
            delta = {"type": "input_json_delta", "partial_json": token}
        await send("content_block_delta", index=0, delta=delta)
    await send("content_block_stop", index=0)
    await send(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None},
        usage={"output_tokens": len(generation.tokens)},
    )
    await send("message_stop")
    return response


def _called(body: dict[str, Any], prompt: str) -> DemoToolCall | None:
    """Return the tool call that the last message causes, or None.

    Anthropic's server-side tools are never called.
    """
    last = body["messages"][-1:]
    tools = [
        tool_of(tool) for tool in objects(body.get("tools")) if tool.get("type") in (None, "custom")
    ]
    content = last[0].get("content")
    answered = isinstance(content, list) and any(
        isinstance(block, dict) and block.get("type") == "tool_result" for block in content
    )
    choice = DemoToolChoice()
    if isinstance(asked := body.get("tool_choice"), dict):
        kind, name = asked.get("type"), asked.get("name")
        choice = DemoToolChoice(
            kind != "none", kind == "any", name if isinstance(name, str) else None
        )
    return called(tools, choice, prompt_of(last), prompt, answered=answered)


def _formatted(body: dict[str, Any], prompt: str) -> list[str] | None:
    """Return the tokens of a structured answer; None if `output_config` does not request one."""
    config = body.get("output_config")
    asked = config.get("format") if isinstance(config, dict) else body.get("output_format")
    if asked is None:
        return None
    schema = asked.get("schema") if isinstance(asked, dict) else None
    if not isinstance(schema, dict):
        raise DemoError(400, "output_config.format: a schema is required")
    return structured(schema, prompt)


def _block(call: DemoToolCall, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": "toolu_demo", "name": call.name, "input": arguments}
