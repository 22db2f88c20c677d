"""OpenAI's transcriptions: whole, or as a stream of partial transcripts.

https://platform.openai.com/docs/api-reference/audio/createTranscription
"""

from __future__ import annotations

from typing import Any

from aiohttp import web

from gateway.demo.generation import DemoError, DemoGeneration
from gateway.demo.openai import event, sse
from gateway.demo.text import count_tokens

_BYTES_A_TOKEN = 3200
"""A tenth of a second of 16-bit audio at 16 kHz."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this API."""
    return [web.post("/v1/audio/transcriptions", transcriptions)]


async def transcriptions(request: web.Request) -> web.StreamResponse:
    form = await request.post()
    file, model = form.get("file"), form.get("model")
    if not isinstance(file, web.FileField) or not isinstance(model, str):
        raise DemoError(400, "The form needs 'file' and 'model'.")
    size = len(file.file.read())
    text = f"{model} heard {size} bytes of {file.filename}."
    words = text.split(" ")
    tokens = [words[0], *(f" {word}" for word in words[1:])]
    generation = DemoGeneration(request, model, "", None, tokens=tokens)
    await generation.begin()
    if form.get("stream") != "true":
        return web.json_response({"text": await generation.whole()})
    response = await sse(request)
    with_logprobs = "logprobs" in form.getall("include[]", ())

    async def send(kind: str, **fields: Any) -> None:
        await event(response, {"type": kind, **fields}, name=kind)

    async for token in generation.stream():
        logprobs = {"logprobs": [_logprob(token)]} if with_logprobs else {}
        await send("transcript.text.delta", delta=token, **logprobs)
    heard, written = max(1, size // _BYTES_A_TOKEN), count_tokens(text)
    logprobs = {"logprobs": [_logprob(token) for token in tokens]} if with_logprobs else {}
    usage = {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": written,
        "total_tokens": heard + written,
    }
    await send("transcript.text.done", text=generation.text, usage=usage, **logprobs)
    return response


def _logprob(token: str) -> dict[str, Any]:
    return {"token": token, "logprob": 0.0, "bytes": list(token.encode())}
