"""OpenAI's Responses API: text, structured output and function calls, streamed and not.

https://platform.openai.com/docs/api-reference/responses
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.demo.generation import DemoGeneration
from gateway.demo.openai import (
    CREATED,
    choice_of,
    event,
    generation_of,
    in_format,
    prompt_of,
    read_object,
    sse,
)
from gateway.demo.tools import DemoToolCall, called, objects, tool_of


def routes() -> list[web.RouteDef]:
    """Return the routes of this API."""
    return [web.post("/v1/responses", responses)]


async def responses(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    asked = body.get("input")
    prompt = asked if isinstance(asked, str) else prompt_of(asked, "input")
    call = _called(body, prompt)
    tokens = call.tokens if call is not None else _formatted(body, prompt)
    generation = generation_of(request, body, prompt, limit="max_output_tokens", tokens=tokens)
    await generation.begin()
    answer = _ResponseObject(body, generation, call)
    if not body.get("stream"):
        return web.json_response(answer.document(await generation.whole()))
    response = await sse(request)
    sequence = 0

    async def send(kind: str, **fields: Any) -> None:
        nonlocal sequence
        await event(response, {"type": kind, "sequence_number": sequence, **fields}, name=kind)
        sequence += 1

    where: dict[str, Any] = {"item_id": answer.item_id, "output_index": 0}
    if call is None:
        where["content_index"] = 0
    await send("response.created", response=answer.document(None))
    await send("response.in_progress", response=answer.document(None))
    await send("response.output_item.added", output_index=0, item=answer.item(None))
    if call is None:
        await send("response.content_part.added", **where, part=_part(""))
    async for token in generation.stream():
        if call is None:
            await send("response.output_text.delta", **where, delta=token, logprobs=[])
        else:
            await send("response.function_call_arguments.delta", **where, delta=token)
    text = generation.text
    if call is None:
        await send("response.output_text.done", **where, text=text, logprobs=[])
        await send("response.content_part.done", **where, part=_part(text))
    else:
        done = {"name": call.name, "arguments": text}
        await send("response.function_call_arguments.done", **where, **done)
    await send("response.output_item.done", output_index=0, item=answer.item(text))
    await send(f"response.{answer.ended}", response=answer.document(text))
    return response


class _ResponseObject:
    """Response object, before and after its text is complete."""

    def __init__(
        self, body: dict[str, Any], generation: DemoGeneration, call: DemoToolCall | None
    ) -> None:
        self._body = body
        self._generation = generation
        self._call = call
        self.ended = "incomplete" if generation.cut else "completed"
        self.item_id = "msg_demo" if call is None else "fc_demo"

    def item(self, text: str | None) -> dict[str, Any]:
        """Return its only output item; `text` is None until it is complete."""
        call = self._call
        item = {"id": self.item_id, "status": "in_progress" if text is None else self.ended}
        if call is None:
            content = [] if text is None else [_part(text)]
            return item | {"type": "message", "role": "assistant", "content": content}
        named = {"type": "function_call", "call_id": "call_demo", "name": call.name}
        return item | named | {"arguments": text or ""}

    def document(self, text: str | None) -> dict[str, Any]:
        """Return the whole object; `text` is None until it is complete."""
        body = self._body
        incomplete = {"reason": "max_output_tokens"} if self._generation.cut else None
        return {
            "id": "resp_demo",
            "object": "response",
            "created_at": CREATED,
            "status": "in_progress" if text is None else self.ended,
            "model": body["model"],
            "output": [] if text is None else [self.item(text)],
            "error": None,
            "incomplete_details": None if text is None else incomplete,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": body.get("tool_choice") or "auto",
            "tools": body.get("tools") or [],
            "top_p": 1.0,
            "usage": None if text is None else _usage(self._generation),
        }


def _called(body: dict[str, Any], prompt: str) -> DemoToolCall | None:
    asked = body.get("input")
    last = asked[-1] if isinstance(asked, list) else {"content": asked}
    answered = last.get("type") == "function_call_output"
    tools = [tool_of(tool) for tool in objects(body.get("tools")) if tool.get("type") == "function"]
    choice = choice_of(body.get("tool_choice"))
    return called(tools, choice, prompt_of([last]), prompt, answered=answered)


def _formatted(body: dict[str, Any], prompt: str) -> list[str] | None:
    text = body.get("text")
    asked = text.get("format") if isinstance(text, dict) else None
    return in_format(asked, asked, prompt)


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _usage(generation: DemoGeneration) -> dict[str, Any]:
    read, written = generation.prompt_tokens, len(generation.tokens)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": read + written,
    }
