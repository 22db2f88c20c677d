"""OpenAI's image generation: whole, or as a stream with partial previews.

https://platform.openai.com/docs/api-reference/images-streaming
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import struct
import time
import zlib
from typing import Any

from aiohttp import web

from gateway.demo.generation import DemoError, DemoGeneration
from gateway.demo.openai import event, read_object, sse
from gateway.demo.text import count_tokens

_SIZES = ("1024x1024", "1024x1536", "1536x1024")
_MOST_PARTIALS = 3
_CELLS = (8, 16, 32, 64)
"""Cells in a row of an image: the previews from the coarsest on, and the whole image last."""
_TICKS = 12
"""Number of tokens whose time each image takes."""
_IMAGE_TOKENS = 1056


def routes() -> list[web.RouteDef]:
    """Return the routes of this API."""
    return [web.post("/v1/images/generations", generations)]


async def generations(request: web.Request) -> web.StreamResponse:
    body = await read_object(request)
    prompt = body.get("prompt")
    if not isinstance(prompt, str):
        raise DemoError(400, "'prompt' has to be a text.")
    size = body.get("size") or "auto"
    if size not in (*_SIZES, "auto"):
        raise DemoError(400, f"'size' has to be one of {', '.join(_SIZES)}, auto.")
    partials = body.get("partial_images") or 0
    if not isinstance(partials, int) or not 0 <= partials <= _MOST_PARTIALS:
        raise DemoError(400, f"'partial_images' has to be from 0 to {_MOST_PARTIALS}.")
    size = _SIZES[0] if size == "auto" else size
    streams = bool(body.get("stream"))
    count = partials + 1 if streams else 1
    ticks = [""] * (_TICKS * count)
    generation = DemoGeneration(request, body["model"], prompt, None, tokens=ticks)
    await generation.begin()
    head: dict[str, Any] = {
        "background": "opaque",
        "output_format": "png",
        "quality": "low",
        "size": size,
    }
    read = count_tokens(prompt)
    usage = {
        "input_tokens": read,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": read},
        "output_tokens": _IMAGE_TOKENS,
        "total_tokens": read + _IMAGE_TOKENS,
    }
    if not streams:
        await generation.whole()
        data = [{"b64_json": await _encoded(prompt, size, _CELLS[-1])}]
        created = int(time.time())
        return web.json_response({"created": created, "data": data, **head, "usage": usage})
    response = await sse(request)

    async def send(kind: str, cells: int, **fields: Any) -> None:
        image = await _encoded(prompt, size, cells)
        told = {"type": kind, "b64_json": image, "created_at": int(time.time()), **head, **fields}
        await event(response, told, name=kind)

    passed = 0
    async for _ in generation.stream():
        passed += 1
        index = passed // _TICKS - 1
        if passed % _TICKS == 0 and index < partials:
            cells = _CELLS[index - partials - 1]
            await send("image_generation.partial_image", cells, partial_image_index=index)
    await send("image_generation.completed", _CELLS[-1], usage=usage)
    return response


async def _encoded(prompt: str, size: str, cells: int) -> str:
    width, _, height = size.partition("x")
    image = await asyncio.to_thread(picture, prompt, int(width), int(height), cells)
    return base64.b64encode(image).decode()


def picture(prompt: str, width: int, height: int, cells: int) -> bytes:
    """Return a PNG that depends only on the prompt: waves of two colours, in so many cells a row.

    Fewer cells show the same picture more coarsely.
    """
    dice = random.Random(hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest())  # noqa: S311 -- a demo's picture
    one, other = ([dice.randrange(256) for _ in range(3)] for _ in range(2))
    centers = [(dice.random(), dice.random(), dice.uniform(1.0, 3.0)) for _ in range(3)]
    scale = width // cells
    rows = bytearray()
    for row in range(-(-height // scale)):
        y = (row + 0.5) * scale / width
        line = bytearray()
        for column in range(cells):
            x = (column + 0.5) / cells
            wave = sum(((x - cx) ** 2 + (y - cy) ** 2) * pace for cx, cy, pace in centers)
            share = abs(wave % 1.0 * 2.0 - 1.0)
            cell = bytes(int(a + (b - a) * share) for a, b in zip(one, other, strict=True))
            line += cell * scale
        rows += (b"\0" + line) * min(scale, height - row * scale)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(rows), 6)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", data)
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG (ISO/IEC 15948, section 5.3)."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
