"""The Anthropic dialect: messages, streamed and not, and counting tokens.

https://docs.anthropic.com/en/api/messages and /messages-streaming
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.demo.generation import Generation, Refusal
from gateway.demo.openai import event, prompt_of, read_object, sse
from gateway.demo.text import count_tokens

_KINDS = {400: "invalid_request_error", 429: "rate_limit_error"}


def routes() -> list[web.RouteDef]:
    """What it serves."""
    return [web.post("/v1/messages", messages), web.post("/v1/messages/count_tokens", count)]


def refusal(error: Refusal) -> web.Response:
    """An error as Anthropic words it."""
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
        raise Refusal(400, "max_tokens: Field required")
    generation = Generation(request, body["model"], prompt_of(body.get("messages")), most)
    await generation.begin()
    stop = "max_tokens" if generation.cut else "end_turn"

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
        content = [{"type": "text", "text": await generation.whole()}]
        return web.json_response(message(content, stop, len(generation.tokens)))
    response = await sse(request)

    async def send(kind: str, **fields: Any) -> None:
        await event(response, {"type": kind, **fields}, name=kind)

    await send("message_start", message=message([], None, 0))
    await send("content_block_start", index=0, content_block={"type": "text", "text": ""})
    await send("ping")
    async for token in generation.stream():
        await send("content_block_delta", index=0, delta={"type": "text_delta", "text": token})
    await send("content_block_stop", index=0)
    await send(
        "message_delta",
        delta={"stop_reason": stop, "stop_sequence": None},
        usage={"output_tokens": len(generation.tokens)},
    )
    await send("message_stop")
    return response
