"""Images of the demo backend, in the wire format of OpenAI's SDK."""

from __future__ import annotations

import base64
import struct
from typing import Any

import httpx
import pytest

from gateway.demo.images import picture
from tests.demo.test_audio import events

IMAGES = "/v1/images/generations"
FIELDS = {"type", "b64_json", "created_at", "background", "output_format", "quality", "size"}


def dimensions(image: object) -> tuple[int, int]:
    """Width and height of a PNG in base64."""
    data = base64.b64decode(str(image), validate=True)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


@pytest.mark.parametrize("partials", [0, 1, 3])
async def test_previews_come_before_the_whole_image(
    client: httpx.AsyncClient, partials: int
) -> None:
    order = {"model": "demo-image", "prompt": "a boat", "stream": True, "size": "1024x1536"}
    response = await client.post(IMAGES, json=order | {"partial_images": partials})
    *previews, (last, done) = events(response.text)
    assert [name for name, _ in previews] == ["image_generation.partial_image"] * partials
    assert [one["partial_image_index"] for _, one in previews] == list(range(partials))
    assert last == done["type"] == "image_generation.completed"
    assert set(done) == FIELDS | {"usage"}
    assert all(set(one) == FIELDS | {"partial_image_index"} for _, one in previews)
    images = [one["b64_json"] for _, one in [*previews, (last, done)]]
    assert {dimensions(one) for one in images} == {(1024, 1536)}
    assert len(set(map(str, images))) == len(images), "each is finer than the one before"
    usage: Any = done["usage"]
    assert usage["input_tokens"] + usage["output_tokens"] == usage["total_tokens"]


async def test_an_image_comes_whole_without_a_stream(client: httpx.AsyncClient) -> None:
    order = {"model": "demo-image", "prompt": "a boat"}
    found = (await client.post(IMAGES, json=order)).json()
    assert dimensions(found["data"][0]["b64_json"]) == (1024, 1024)
    assert found["usage"]["input_tokens"] == 2


@pytest.mark.parametrize(
    "wrong", [{"prompt": 1}, {"size": "1x1"}, {"partial_images": 4}, {"partial_images": "1"}]
)
async def test_a_malformed_order_is_refused(
    client: httpx.AsyncClient, wrong: dict[str, object]
) -> None:
    order = {"model": "demo-image", "prompt": "a boat", "stream": True}
    response = await client.post(IMAGES, json=order | wrong)
    assert response.status_code == 400
    assert next(iter(wrong)) in response.json()["error"]["message"]


def test_the_same_prompt_gives_the_same_picture() -> None:
    assert picture("a", 64, 64, 8) == picture("a", 64, 64, 8)
    assert picture("a", 64, 64, 8) != picture("b", 64, 64, 8)
